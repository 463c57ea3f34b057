"""Hooks that do not return delay their caller only."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any
from xml.etree.ElementTree import Element

import pytest

from vdsm_bridge.testing.polling import until
from vdsm_core.config import HookOptions
from vdsm_core.errors import DeadlineExceeded, Unavailable
from vdsm_core.hooks import hookimpl
from vdsm_core.hooks.errors import HookDeadline, HookUnavailable
from vdsm_core.hooks.manager import Hooks
from vdsm_core.hooks.specs.storage import vdsm_prepare_disk
from vdsm_core.hooks.specs.vm import (
    vdsm_after_vm_pause,
    vdsm_before_vm_cont,
    vdsm_before_vm_pause,
    vdsm_before_vm_start,
)
from vdsm_core.plugins import timeout
from vdsm_core.volumes import DiskId, PreparedDisk

#: Seconds for a hook that hangs; others have as many on a busy machine.
SHORT = 1.0
#: Seconds for what must happen.
LONG = 30.0


class Gate:
    """Lets calls through once it is opened, and counts them."""

    def __init__(self) -> None:
        self._opened = threading.Event()
        self._lock = threading.Lock()
        self.begun = 0
        self.ended = 0

    def wait(self, *_: object) -> None:
        with self._lock:
            self.begun += 1
        self._opened.wait(LONG)
        with self._lock:
            self.ended += 1

    def open(self) -> None:
        self._opened.set()


@pytest.fixture
def gate() -> Iterator[Gate]:
    """Closed; opened at the end of the test, so that nothing is left behind."""
    made = Gate()
    yield made
    made.open()


def plugin(**functions: Callable[..., Any]) -> object:
    """Implementations by the names of their hooks."""
    return SimpleNamespace(**{name: hookimpl(function) for name, function in functions.items()})


def hooks_with(*, deadline: float = SHORT, max_calls: int = 32, **plugins: object) -> Hooks:
    """Hooks with some plugins by name."""
    hooks = Hooks(HookOptions(deadline=deadline, max_calls=max_calls))
    for name, implementations in plugins.items():
        hooks.register(name, implementations)
    return hooks


def start(hooks: Hooks, domain: Element) -> Element:
    """Run the hook that edits a document."""
    return hooks.run(vdsm_before_vm_start, domain, vm_id="v", custom={})


def test_a_before_hook_that_hangs_ends_in_an_error(gate: Gate) -> None:
    """It names hook, plugin and deadline; plugins after it are not called, for it might have refused."""
    called: list[str] = []
    hooks = hooks_with(
        a=plugin(vdsm_before_vm_pause=lambda vm_id: gate.wait()),
        b=plugin(vdsm_before_vm_pause=lambda vm_id: called.append(vm_id)),
    )
    with pytest.raises(
        HookDeadline, match=r"Hook vdsm_before_vm_pause of plugin 'a' did not return within 1 s"
    ) as refusal:
        hooks.run(vdsm_before_vm_pause, "v", Element("domain"), {})
    assert isinstance(refusal.value, DeadlineExceeded)
    assert refusal.value.facts == {"hook": "vdsm_before_vm_pause", "plugin": "a", "seconds": SHORT}
    assert called == []


def test_an_after_hook_that_hangs_is_logged(gate: Gate, caplog: pytest.LogCaptureFixture) -> None:
    """The call goes on, and the other plugin learns of it."""
    called: list[str] = []
    hooks = hooks_with(
        a=plugin(vdsm_after_vm_pause=lambda vm_id: gate.wait()),
        b=plugin(vdsm_after_vm_pause=lambda vm_id: called.append(vm_id)),
    )
    hooks.run(vdsm_after_vm_pause, "v", Element("domain"), {})
    assert called == ["v"]
    assert "Hook vdsm_after_vm_pause of plugin 'a' did not return within 1 s" in caplog.text


def test_a_hung_hook_is_not_called_again_until_it_has_returned(gate: Gate) -> None:
    """Meanwhile each call fails at once; afterwards it works as before. The plugin's status reports it."""
    hooks = hooks_with(a=plugin(vdsm_before_vm_pause=lambda vm_id: gate.wait()))
    assert hooks.trouble("a") == ""
    with pytest.raises(HookDeadline):
        hooks.run(vdsm_before_vm_pause, "v", Element("domain"), {})
    for _ in range(5):
        with pytest.raises(HookUnavailable, match=r"an earlier call has not returned for \d+ s") as refusal:
            hooks.run(vdsm_before_vm_pause, "v", Element("domain"), {})
        assert isinstance(refusal.value, Unavailable)
    assert gate.begun == 1
    assert hooks.trouble("a").startswith("vdsm_before_vm_pause has not returned for ")
    assert hooks.trouble("b") == ""
    gate.open()
    until(lambda: not hooks.trouble("a"), LONG)
    hooks.run(vdsm_before_vm_pause, "v", Element("domain"), {})
    assert gate.begun == 2


def test_switching_a_plugin_off_and_on_does_not_call_it_again(gate: Gate) -> None:
    """It is the same function, which still hangs; another object is another implementation."""
    hung = plugin(vdsm_before_vm_pause=lambda vm_id: gate.wait())
    hooks = hooks_with(a=hung)
    with pytest.raises(HookDeadline):
        hooks.run(vdsm_before_vm_pause, "v", Element("domain"), {})
    hooks.unregister("a")
    hooks.run(vdsm_before_vm_pause, "v", Element("domain"), {})
    hooks.register("a", hung)
    with pytest.raises(HookUnavailable):
        hooks.run(vdsm_before_vm_pause, "v", Element("domain"), {})
    hooks.unregister("a")
    hooks.register("a", plugin(vdsm_before_vm_pause=lambda vm_id: None))
    hooks.run(vdsm_before_vm_pause, "v", Element("domain"), {})
    assert gate.begun == 1


def test_a_hook_that_wakes_up_late_changes_nothing(gate: Gate, caplog: pytest.LogCaptureFixture) -> None:
    """Its document is a copy that is no longer used."""

    def edit(domain: Element) -> None:
        domain.set("by", "in time")
        gate.wait()
        domain.set("by", "late")

    hooks, domain = hooks_with(a=plugin(vdsm_before_vm_start=edit)), Element("domain")
    with pytest.raises(HookDeadline):
        start(hooks, domain)
    gate.open()
    until(lambda: not hooks.trouble("a"), LONG)
    assert domain.attrib == {}
    assert "hook vdsm_before_vm_start of plugin 'a' finished after its time limit" in caplog.text


def test_a_thread_that_a_hook_has_left_changes_nothing(gate: Gate) -> None:
    """A hook that gives up waiting for its own thread returns; what the thread does later is lost."""
    threads: list[threading.Thread] = []

    def edit(domain: Element) -> None:
        domain.set("by", "in time")
        threads.append(threading.Thread(target=lambda: (gate.wait(), domain.set("by", "late"))))
        threads[0].start()

    edited = start(hooks_with(a=plugin(vdsm_before_vm_start=edit)), Element("domain"))
    gate.open()
    threads[0].join(LONG)
    assert edited.get("by") == "in time"


def test_a_hook_that_fails_late_is_logged(gate: Gate, caplog: pytest.LogCaptureFixture) -> None:
    """Otherwise the error would be lost."""

    def fail(vm_id: str) -> None:
        gate.wait()
        raise ZeroDivisionError("a bug")

    hooks = hooks_with(a=plugin(vdsm_after_vm_pause=fail))
    hooks.run(vdsm_after_vm_pause, "v", Element("domain"), {})
    gate.open()
    until(lambda: not hooks.trouble("a"), LONG)
    assert "Hook vdsm_after_vm_pause of plugin a failed after its deadline: ZeroDivisionError" in caplog.text


def test_a_hook_that_computes_without_an_end_is_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends in the same error, and does not take its part of the interpreter for ever."""

    def spin(vm_id: str) -> None:
        while True:
            sum(range(1000))

    # On a busy machine its share of CPU time may be too small to distinguish computing from waiting.
    monkeypatch.setattr(timeout, "_LOOPS", 0.0)
    hooks = hooks_with(a=plugin(vdsm_before_vm_pause=spin))
    with pytest.raises(HookDeadline):
        hooks.run(vdsm_before_vm_pause, "v", Element("domain"), {})
    until(lambda: not hooks.trouble("a"), LONG)


def test_the_disk_of_another_plugin_is_prepared(gate: Gate) -> None:
    """A storage plugin that hangs fails the disks that may be its own, and no others."""
    known: list[str] = []
    prepared = PreparedDisk(path="/dev/1", kind="block")
    hooks = hooks_with(
        a=plugin(vdsm_prepare_disk=lambda disk: gate.wait()),
        b=plugin(vdsm_prepare_disk=lambda disk: prepared if disk.guid in known else None),
    )
    with pytest.raises(HookDeadline):
        hooks.run(vdsm_prepare_disk, "v", DiskId(guid="1"))
    known.append("1")
    assert hooks.run(vdsm_prepare_disk, "v", DiskId(guid="1")) == prepared
    with pytest.raises(HookUnavailable):
        hooks.run(vdsm_prepare_disk, "v", DiskId(guid="2"))


def test_hung_calls_take_their_own_slots_only(gate: Gate) -> None:
    """Twenty callers, two slots: two calls hang, all callers get an error; other hooks run meanwhile."""
    called: list[str] = []
    hooks = hooks_with(
        max_calls=2,
        a=plugin(
            vdsm_before_vm_pause=lambda vm_id: gate.wait(),
            vdsm_before_vm_cont=lambda vm_id: called.append(vm_id),
        ),
        b=plugin(vdsm_before_vm_cont=lambda vm_id: called.append(vm_id)),
    )

    def pause(number: int) -> type[Exception] | None:
        try:
            hooks.run(vdsm_before_vm_pause, f"v{number}", Element("domain"), {})
        except (HookDeadline, HookUnavailable) as error:
            return type(error)
        return None

    with ThreadPoolExecutor(20) as pool:
        outcomes = list(pool.map(pause, range(20)))
    assert gate.begun == 2
    assert sorted(map(str, outcomes)) == sorted(map(str, [HookDeadline] * 2 + [HookUnavailable] * 18))
    hooks.run(vdsm_before_vm_cont, "v", Element("domain"), {})
    assert called == ["v", "v"]


def test_further_calls_wait_for_a_slot(gate: Gate) -> None:
    """Slow is not hung: they have their turn, and no more run at once than may."""
    hooks = hooks_with(deadline=LONG, max_calls=2, a=plugin(vdsm_before_vm_pause=lambda vm_id: gate.wait()))
    with ThreadPoolExecutor(6) as pool:
        calls = [
            pool.submit(hooks.run, vdsm_before_vm_pause, f"v{number}", Element("domain"), {})
            for number in range(6)
        ]
        until(lambda: gate.begun == 2, LONG)
        time.sleep(0.1)
        assert gate.begun == 2
        gate.open()
        for call in calls:
            call.result(LONG)
    assert gate.ended == 6


def test_no_slot_in_time(gate: Gate) -> None:
    """The error of a call whose deadline passes while it waits for a slot has the reason."""
    hooks = hooks_with(deadline=LONG, max_calls=1, a=plugin(vdsm_before_vm_pause=lambda vm_id: gate.wait()))
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(hooks.run, vdsm_before_vm_pause, "v", Element("domain"), {})
        until(lambda: gate.begun == 1, LONG)
        hooks.use(HookOptions(deadline=0.1, max_calls=1))
        with pytest.raises(HookUnavailable, match="its calls have reached their limit, 1 at the same time"):
            hooks.run(vdsm_before_vm_pause, "w", Element("domain"), {})
        gate.open()
        first.result(LONG)
    assert gate.begun == 1


def test_the_deadline_of_one_hook(gate: Gate) -> None:
    """`deadlines` has other ones by hook; what it does not name has `deadline`."""
    implementations = plugin(
        vdsm_before_vm_pause=lambda vm_id: gate.wait(), vdsm_before_vm_cont=lambda vm_id: gate.wait()
    )
    hooks = Hooks(HookOptions(deadline=0.1, deadlines={"vdsm_before_vm_cont": 0.2}))
    hooks.register("a", implementations)
    with pytest.raises(HookDeadline, match=r"within 0\.1 s"):
        hooks.run(vdsm_before_vm_pause, "v", Element("domain"), {})
    with pytest.raises(HookDeadline, match=r"within 0\.2 s"):
        hooks.run(vdsm_before_vm_cont, "v", Element("domain"), {})
    assert hooks.trouble("a").count("has not returned") == 2
