"""Hooks: who is asked, in which order, and what an implementation may do."""

from __future__ import annotations

import inspect
from types import SimpleNamespace
from typing import Any
from xml.etree.ElementTree import Element

import pluggy
import pytest

from vdsm_core import hookspecs
from vdsm_core.errors import Conflict, VdsmError
from vdsm_core.hooks import Hooks
from vdsm_core.hookspecs import hookimpl

NAMES = [name.removeprefix("vdsm_") for name in vars(hookspecs) if name.startswith("vdsm_")]
FACTS: dict[str, Any] = {
    "vm_id": "v",
    "domain": Element("domain"),
    "custom": {"a": "b"},
    "disk": {"path": "/x"},
}


def call(hooks: Hooks, name: str) -> Any:
    """Call a hook with the facts that it has."""
    method = getattr(hooks, name)
    return method(**{fact: FACTS[fact] for fact in inspect.signature(method).parameters})


def implementation(name: str, function: Any) -> object:
    """An object with one hook implementation."""

    def implement(vm_id: str) -> Any:
        return function(vm_id)

    implement.__name__ = f"vdsm_{name}"
    return SimpleNamespace(**{f"vdsm_{name}": hookimpl(implement)})


def fail(_: str) -> None:
    """What a hook with a bug does."""
    raise ZeroDivisionError("a bug")


def refuse(_: str) -> None:
    """What a hook that refuses does."""
    raise Conflict(reason="not on my watch")


@pytest.mark.parametrize("name", NAMES)
def test_every_hook_reaches_its_implementations(name: str) -> None:
    """Every spec has a method that calls all implementations, in the order of their plugins' names."""
    hooks, called = Hooks(), []
    for plugin in ("20_b", "10_a", "30_c"):
        hooks.register(plugin, implementation(name, lambda _, plugin=plugin: called.append(plugin)))
    call(hooks, name)
    assert called == ["10_a", "20_b", "30_c"]


@pytest.mark.parametrize("name", NAMES)
def test_specs_and_methods_agree(name: str) -> None:
    """A hook's method takes exactly what its spec passes on."""
    spec = inspect.signature(getattr(hookspecs, f"vdsm_{name}"))
    method = inspect.signature(getattr(Hooks, name))
    assert list(spec.parameters) == [parameter for parameter in method.parameters if parameter != "self"]


@pytest.mark.parametrize("name", ["before_vm_start", "before_vm_pause", "before_vm_cont"])
def test_a_before_hook_refuses(name: str) -> None:
    """Its error reaches the caller, and later plugins are not asked."""
    hooks, called = Hooks(), []
    hooks.register("1", implementation(name, refuse))
    hooks.register("2", implementation(name, called.append))
    with pytest.raises(VdsmError, match="not on my watch"):
        call(hooks, name)
    assert called == []


@pytest.mark.parametrize("problem", [fail, refuse])
@pytest.mark.parametrize("name", [n for n in NAMES if n.startswith("after")] + ["before_vm_destroy"])
def test_an_after_hook_hurts_nobody(name: str, problem: Any, caplog: pytest.LogCaptureFixture) -> None:
    """What it raises is logged with the plugin's name, and the next plugin learns of it all the same."""
    hooks, called = Hooks(), []
    hooks.register("1_bad", implementation(name, problem))
    hooks.register("2", implementation(name, called.append))
    call(hooks, name)
    assert called == ["v"]
    assert "1_bad" in caplog.text


def test_a_before_hook_edits_in_place() -> None:
    """Each plugin sees what those before it have done."""

    class First:
        @hookimpl
        def vdsm_before_vm_start(self, domain: Element) -> None:
            domain.set("by", "first")

    class Second:
        @hookimpl
        def vdsm_before_vm_start(self, domain: Element, custom: dict[str, str]) -> None:
            domain.set("by", f"{domain.get('by')} and {custom['a']}")

    hooks, domain = Hooks(), Element("domain")
    hooks.register("2", Second())
    hooks.register("1", First())
    hooks.before_vm_start("v", domain, {"a": "second"})
    assert domain.get("by") == "first and second"


def test_the_first_answer_counts() -> None:
    """A disk is prepared by the first plugin that knows it."""
    hooks = Hooks()
    assert call(hooks, "prepare_disk") is None
    hooks.register("1", implementation("prepare_disk", lambda _: None))
    hooks.register("2", implementation("prepare_disk", lambda _: "/dev/2"))
    hooks.register("3", implementation("prepare_disk", lambda _: "/dev/3"))
    assert call(hooks, "prepare_disk") == "/dev/2"


class Mistyped:
    """A function for a hook that there is not."""

    @hookimpl
    def vdsm_before_vm_strat(self, vm_id: str) -> None:
        """Never called."""


class Misfit:
    """A good function, and one with an argument that its hook does not have."""

    @hookimpl
    def vdsm_after_vm_pause(self, vm_id: str) -> None:
        """Must not be called either."""
        raise AssertionError

    @hookimpl
    def vdsm_before_vm_pause(self, vm_id: str, colour: str) -> None:
        """Never called."""


@pytest.mark.parametrize("plugin", [Mistyped(), Misfit()])
def test_a_plugin_that_does_not_fit_is_refused_whole(plugin: object) -> None:
    """Nothing of it stays, and a corrected one may take its name."""
    hooks, called = Hooks(), []
    with pytest.raises(pluggy.PluginValidationError):
        hooks.register("lamp", plugin)
    hooks.after_vm_pause("v")
    hooks.register("lamp", implementation("after_vm_pause", called.append))
    hooks.after_vm_pause("v")
    assert called == ["v"]


def test_unregistering() -> None:
    """A plugin that is gone is not asked any more; one that never was is no error."""
    hooks, called = Hooks(), []
    hooks.register("lamp", implementation("after_vm_pause", called.append))
    hooks.unregister("lamp")
    hooks.unregister("lamp")
    hooks.after_vm_pause("v")
    assert called == []
