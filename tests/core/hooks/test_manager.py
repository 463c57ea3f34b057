"""Hooks: who is asked, in which order, and what an implementation may do."""

from __future__ import annotations

import contextvars
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree.ElementTree import Element

import pluggy
import pytest

from vdsm_core.errors import Conflict, VdsmError
from vdsm_core.hooks import hookimpl, specs
from vdsm_core.hooks.declare import Hook
from vdsm_core.hooks.manager import Hooks
from vdsm_core.hooks.specs.storage import vdsm_prepare_disk
from vdsm_core.hooks.specs.vm import vdsm_after_vm_pause, vdsm_before_vm_start

NAMES = list(specs.every())
FACTS: dict[str, Any] = {
    "vm_id": "v",
    "domain": Element("domain"),
    "custom": {"a": "b"},
    "disk": {"path": "/x"},
}


def call(hooks: Hooks, name: str) -> Any:
    """Call a hook with the facts that it has."""
    hook = specs.every()[name]
    return hooks.run(hook, *(FACTS[fact] for fact in inspect.signature(hook.function).parameters))


def implementation(name: str, function: Any) -> object:
    """An object with one hook implementation."""

    def implement(vm_id: str) -> Any:
        return function(vm_id)

    implement.__name__ = name
    return SimpleNamespace(**{name: hookimpl(implement)})


def fail(_: str) -> None:
    """What a hook with a bug does."""
    raise ZeroDivisionError("a bug")


def refuse(_: str) -> None:
    """What a hook that refuses does."""
    raise Conflict(reason="not on my watch")


@pytest.mark.parametrize("name", NAMES)
def test_every_hook_reaches_its_implementations(name: str) -> None:
    """Every hook calls all implementations, in the order of their plugins' names."""
    hooks, called = Hooks(), []
    for plugin in ("20_b", "10_a", "30_c"):
        hooks.register(plugin, implementation(name, lambda _, plugin=plugin: called.append(plugin)))
    call(hooks, name)
    assert called == ["10_a", "20_b", "30_c"]


@pytest.mark.parametrize("name", ["vdsm_before_vm_start", "vdsm_before_vm_pause", "vdsm_before_vm_cont"])
def test_a_before_hook_refuses(name: str) -> None:
    """Its error reaches the caller, and later plugins are not asked."""
    hooks, called = Hooks(), []
    hooks.register("1", implementation(name, refuse))
    hooks.register("2", implementation(name, called.append))
    with pytest.raises(VdsmError, match="not on my watch"):
        call(hooks, name)
    assert called == []


@pytest.mark.parametrize("problem", [fail, refuse])
@pytest.mark.parametrize("name", [n for n in NAMES if "_after_" in n] + ["vdsm_before_vm_destroy"])
def test_an_after_hook_hurts_nobody(name: str, problem: Any, caplog: pytest.LogCaptureFixture) -> None:
    """What it raises is logged with the plugin's name, and the next plugin learns of it all the same."""
    hooks, called = Hooks(), []
    hooks.register("1_bad", implementation(name, problem))
    hooks.register("2", implementation(name, called.append))
    call(hooks, name)
    assert called == ["v"]
    assert "1_bad" in caplog.text


def test_a_before_hook_edits_in_place() -> None:
    """Each plugin sees what those before it have done; the caller's own document stays as it is."""

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
    edited = hooks.run(vdsm_before_vm_start, domain, vm_id="v", custom={"a": "second"})
    assert edited.get("by") == "first and second"
    assert domain.attrib == {}


def test_the_first_answer_counts() -> None:
    """A disk is prepared by the first plugin that knows it."""
    hooks = Hooks()
    assert hooks.run(vdsm_prepare_disk, "v", {}) is None
    for plugin, path in (("1", None), ("2", "/dev/2"), ("3", "/dev/3")):
        hooks.register(plugin, implementation("vdsm_prepare_disk", lambda _, path=path: path))
    assert hooks.run(vdsm_prepare_disk, "v", {}) == "/dev/2"


def test_implementations_share_nothing() -> None:
    """What one does to its arguments, the next one and the caller do not see, unless the hook is for that."""
    seen: list[dict[str, str]] = []

    class Careless:
        @hookimpl
        def vdsm_before_vm_start(self, custom: dict[str, str]) -> None:
            seen.append(dict(custom))
            custom.clear()

    hooks, custom = Hooks(), {"a": "b"}
    hooks.register("1", Careless())
    hooks.register("2", Careless())
    hooks.run(vdsm_before_vm_start, Element("domain"), vm_id="v", custom=custom)
    assert seen == [{"a": "b"}] * 2
    assert custom == {"a": "b"}


def test_an_implementation_runs_in_the_context_of_the_call() -> None:
    """What belongs to a call of the API, as its flow id does, holds for its hooks."""
    flow: contextvars.ContextVar[str] = contextvars.ContextVar("flow", default="")
    seen: list[str] = []
    hooks = Hooks()
    hooks.register("1", implementation("vdsm_after_vm_pause", lambda _: seen.append(flow.get())))
    contextvars.copy_context().run(lambda: (flow.set("f1"), hooks.run(vdsm_after_vm_pause, "v")))
    assert seen == ["f1"]


def test_every_file_of_specs_counts() -> None:
    """Each hook of each module in the folder is known, under the name of its function."""
    folder = Path(str(specs.__file__)).parent
    modules = [
        importlib.import_module(f"{specs.__name__}.{path.stem}")
        for path in folder.glob("*.py")
        if path.stem != "__init__"
    ]
    declared = [value for module in modules for value in vars(module).values() if isinstance(value, Hook)]
    assert sorted(hook.name for hook in declared) == sorted(NAMES)
    assert all(name == hook.name for name, hook in specs.every().items())


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


class Wrapper:
    """What pluggy would call around other plugins' functions."""

    @hookimpl(hookwrapper=True)
    def vdsm_before_vm_pause(self) -> Iterator[None]:
        """Never called."""
        yield


@pytest.mark.parametrize("plugin", [Mistyped(), Misfit(), Wrapper()])
def test_a_plugin_that_does_not_fit_is_refused_whole(plugin: object) -> None:
    """Nothing of it stays, and a corrected one may take its name."""
    hooks, called = Hooks(), []
    with pytest.raises(pluggy.PluginValidationError):
        hooks.register("lamp", plugin)
    hooks.run(vdsm_after_vm_pause, "v")
    hooks.register("lamp", implementation("vdsm_after_vm_pause", called.append))
    hooks.run(vdsm_after_vm_pause, "v")
    assert called == ["v"]


def test_unregistering() -> None:
    """A plugin that is gone is not asked any more; one that never was is no error."""
    hooks, called = Hooks(), []
    hooks.register("lamp", implementation("vdsm_after_vm_pause", called.append))
    hooks.unregister("lamp")
    hooks.unregister("lamp")
    hooks.run(vdsm_after_vm_pause, "v")
    assert called == []
