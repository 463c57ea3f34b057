"""Hooks: which implementations are called, in which order, and what they may do."""

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

from vdsm_core.errors import Conflict, OperationFailed, VdsmError
from vdsm_core.hooks import hookimpl, only_if, specs
from vdsm_core.hooks.declare import Hook
from vdsm_core.hooks.manager import Hooks
from vdsm_core.hooks.specs.devices import vdsm_after_disk_prepare
from vdsm_core.hooks.specs.host import vdsm_after_get_caps
from vdsm_core.hooks.specs.storage import vdsm_prepare_disk
from vdsm_core.hooks.specs.vm import vdsm_after_vm_pause, vdsm_before_vm_start
from vdsm_core.hooks.specs.vm import vdsm_after_vm_pause as pause
from vdsm_core.volumes import DiskId, Extension, LeaseId, PreparedDisk, VolumeId

NAMES = list(specs.every())
VOLUME = VolumeId(domain_id="d", image_id="i", volume_id="v")
FACTS: dict[str, Any] = {
    "vm_id": "v",
    "domain": Element("domain"),
    "device": Element("interface"),
    "custom": {"a": "b"},
    "kept": {"vm": [], "device": []},
    "device_custom": {"c": "d"},
    "from_snapshot": False,
    "params": {"e": "f"},
    "drive": {"path": "/x"},
    "stats": [],
    "caps": {},
    "devices": {},
    "disk": DiskId(guid="1"),
    "domain_id": "d",
    "lease": LeaseId(sd_id="d", lease_id="l"),
    "volume": VOLUME,
    "extension": Extension(VOLUME, 1, lambda answer: None),
    "capacity": 1,
    "legality": "LEGAL",
    "image": VOLUME,
    "chain": ["v"],
}
#: Hooks that may refuse, although their names say that it is too late for that.
REFUSING = ["vdsm_after_disk_prepare"]
#: Hooks that may not, although it is not too late.
LOGGED = ["vdsm_before_vm_destroy", "vdsm_before_vm_set_ticket", "vdsm_before_vdsm_start"]


def call(hooks: Hooks, name: str) -> Any:
    """Call a hook with the facts that it has."""
    hook = specs.every()[name]
    return hooks.run(hook, *(FACTS[fact] for fact in inspect.signature(hook.function).parameters))


def implementation(name: str, function: Any) -> object:
    """An object with one hook implementation, which takes the machine's id, or the hook's first argument."""

    def implement(taken: Any) -> Any:
        return function(taken)

    def implement_without() -> Any:
        return function("v")

    parameters = (
        inspect.signature(specs.every()[name].function).parameters if name in NAMES else {"vm_id": None}
    )
    if not parameters:
        return SimpleNamespace(**{name: hookimpl(implement_without)})
    taken = "vm_id" if "vm_id" in parameters else next(iter(parameters))
    # The hook manager reads the parameters of the code.
    implement.__code__ = implement.__code__.replace(co_varnames=(taken,))
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


@pytest.mark.parametrize("name", [n for n in NAMES if "_before_" in n and n not in LOGGED] + REFUSING)
def test_a_before_hook_refuses(name: str) -> None:
    """Its error reaches the caller, and later plugins are not called."""
    hooks, called = Hooks(), []
    hooks.register("1", implementation(name, refuse))
    hooks.register("2", implementation(name, called.append))
    with pytest.raises(VdsmError, match="not on my watch"):
        call(hooks, name)
    assert called == []


@pytest.mark.parametrize("problem", [fail, refuse])
@pytest.mark.parametrize("name", [n for n in NAMES if "_after_" in n and n not in REFUSING] + LOGGED)
def test_an_after_hook_cannot_fail_a_call(name: str, problem: Any, caplog: pytest.LogCaptureFixture) -> None:
    """What it raises is logged with the plugin's name, and the next plugin learns of it all the same."""
    hooks, called = Hooks(), []
    hooks.register("1_bad", implementation(name, problem))
    hooks.register("2", implementation(name, called.append))
    call(hooks, name)
    assert len(called) == 1
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


def test_an_answer_is_amended() -> None:
    """Each plugin edits what those before it have left; the edits of one that fails are discarded."""

    class First:
        @hookimpl
        def vdsm_after_get_caps(self, caps: dict[str, Any]) -> None:
            caps["first"] = [1, {"deep": None}]

    class Failing:
        @hookimpl
        def vdsm_after_get_caps(self, caps: dict[str, Any]) -> None:
            caps.clear()
            raise ZeroDivisionError

    class Last:
        @hookimpl
        def vdsm_after_get_caps(self, caps: dict[str, Any]) -> None:
            caps["last"] = sorted(caps)

    hooks, caps = Hooks(), {"own": 1}
    for name, plugin in (("1", First()), ("2", Failing()), ("3", Last())):
        hooks.register(name, plugin)
    edited = hooks.run(vdsm_after_get_caps, caps)
    assert edited == {"own": 1, "first": [1, {"deep": None}], "last": ["first", "own"]}
    assert caps == {"own": 1}


def _endless() -> dict[str, Any]:
    made: dict[str, Any] = {}
    made["self"] = made
    return made


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({1: "x"}, "a name of type int"),
        ({"x": object()}, "a value of type object"),
        ({"x": float("nan")}, "the number nan"),
        ({"x": Element("a")}, "a value of type Element"),
        (_endless(), "more than 100 levels"),
        ({"x": [0] * 500_001}, "more than 500000 values"),
    ],
)
def test_what_is_no_json_is_refused(value: dict[Any, Any], reason: str, caplog: Any) -> None:
    """An operation fails with the plugin's name; an answer stays as it was."""
    hooks = Hooks()
    hooks.register(
        "bad",
        SimpleNamespace(
            vdsm_after_disk_prepare=hookimpl(lambda drive: drive.update(value)),
            vdsm_after_get_caps=hookimpl(lambda caps: caps.update(value)),
        ),
    )
    with pytest.raises(OperationFailed, match=f"plugin 'bad': the document has {reason}"):
        hooks.run(vdsm_after_disk_prepare, {}, "v", {}, {})
    assert hooks.run(vdsm_after_get_caps, {"own": 1}) == {"own": 1}
    assert f"the document has {reason}" in caplog.text


def test_an_implementation_that_is_not_needed_is_not_called() -> None:
    """As long as its condition does not hold; a condition with a bug counts as holding."""
    hooks, called, needed = Hooks(), [], [False]

    @hookimpl
    @only_if(lambda: needed[0])
    def vdsm_after_vm_pause(vm_id: str) -> None:
        called.append(vm_id)

    hooks.register("lazy", SimpleNamespace(vdsm_after_vm_pause=vdsm_after_vm_pause))
    for condition in (False, True):
        needed[0] = condition
        assert hooks.implemented(pause) is condition
        hooks.run(pause, "v", Element("domain"), {})
        assert len(called) == condition
    needed.clear()
    hooks.run(pause, "v", Element("domain"), {})
    assert called == ["v", "v"]


def test_the_first_answer_counts() -> None:
    """A disk is prepared by the first plugin that recognizes it."""
    hooks = Hooks()
    disk = DiskId(guid="1")
    assert hooks.run(vdsm_prepare_disk, "v", disk) is None
    for plugin, path in (("1", None), ("2", "/dev/2"), ("3", "/dev/3")):
        prepared = path and PreparedDisk(path=path)
        hooks.register(plugin, implementation("vdsm_prepare_disk", lambda _, prepared=prepared: prepared))
    assert hooks.run(vdsm_prepare_disk, "v", disk) == PreparedDisk(path="/dev/2")


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
    contextvars.copy_context().run(
        lambda: (flow.set("f1"), hooks.run(vdsm_after_vm_pause, "v", Element("domain"), {}))
    )
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
    hooks.run(vdsm_after_vm_pause, "v", Element("domain"), {})
    hooks.register("lamp", implementation("vdsm_after_vm_pause", called.append))
    hooks.run(vdsm_after_vm_pause, "v", Element("domain"), {})
    assert called == ["v"]


def test_unregistering() -> None:
    """A removed plugin is not called any more; removing an unknown one is no error."""
    hooks, called = Hooks(), []
    hooks.register("lamp", implementation("vdsm_after_vm_pause", called.append))
    hooks.unregister("lamp")
    hooks.unregister("lamp")
    hooks.run(vdsm_after_vm_pause, "v", Element("domain"), {})
    assert called == []
