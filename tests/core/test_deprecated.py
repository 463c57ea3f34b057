"""Deprecated names warn at each use, and are removed in the announced release."""

from __future__ import annotations

import threading
import tomllib
import warnings
from pathlib import Path

import pytest

import vdsm_bridge
from vdsm_bridge.api.collect import collect
from vdsm_bridge.api.declare import Namespace, action
from vdsm_bridge.daemon.events import ConfigReloaded
from vdsm_bridge.testing import TestHost
from vdsm_bridge.tool import installed, reference
from vdsm_bridge.tool.main import main
from vdsm_bridge.transport import Event, EventStream
from vdsm_core import deprecated, hookspecs
from vdsm_core.deprecated import (
    ARGUMENTS,
    ATTRIBUTES,
    COMMANDS,
    FORMATS,
    NAMES,
    OPTIONS,
    VERBS,
    Deprecation,
)
from vdsm_core.events import EventBus
from vdsm_core.hooks import hookimpl

ROOT = Path(__file__).parents[2]
EVERYTHING = {**NAMES, **VERBS, **OPTIONS, **ARGUMENTS, **ATTRIBUTES, **COMMANDS, **FORMATS}
SOON = Deprecation(since="0.2", removal="0.4", instead="use a lamp")
NOTICE = "Deprecated since 0.2, gone with 0.4: use a lamp."


def minor(version: str) -> tuple[int, int]:
    """The first two numbers."""
    first, second, *_ = version.split(".")
    return int(first), int(second)


def test_what_was_promised_is_kept() -> None:
    """Nothing is listed beyond the release that was to be without it, and nothing goes too early."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    for name, thing in EVERYTHING.items():
        assert minor(version) < minor(thing.removal), f"{name} should be gone"
        since, removal = minor(thing.since), minor(thing.removal)
        assert removal[0] > since[0] or removal[1] >= since[1] + 2, f"{name} goes too early"


def test_the_page_is_complete() -> None:
    """The page names the replacement for authors of plugins."""
    page = " ".join((ROOT / "docs" / "reference" / "plugin-api.md").read_text().split())
    assert ("Nothing is deprecated now." in page) == (not EVERYTHING)
    assert [name for name in EVERYTHING if f"`{name}`" not in page] == []


def test_a_name_warns(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the line that imports it; a name that stays does not."""
    monkeypatch.setitem(NAMES, "vdsm_bridge.Param", SOON)
    with pytest.warns(DeprecationWarning, match=f"vdsm_bridge.Param: {NOTICE}") as caught:
        assert vdsm_bridge.Param.__name__ == "Param"
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert vdsm_bridge.Feature.__name__ == "Feature"


def test_the_former_module_of_hooks() -> None:
    """What hook plugins imported before works, and warns at their line; nothing else is there."""
    with pytest.warns(
        DeprecationWarning, match=r"vdsm_core\.hookspecs\.hookimpl: Deprecated since 0\.1"
    ) as caught:
        from vdsm_core.hookspecs import hookimpl as former  # noqa: PLC0415
    assert caught[0].filename == __file__
    assert former is hookimpl
    with pytest.raises(AttributeError, match="has no attribute 'hookspec'"):
        _ = hookspecs.hookspec


@pytest.mark.parametrize(
    ("old", "new"), [("Places", "Slots"), ("Proof", "Credentials"), ("Waiting", "WaitSlots")]
)
def test_a_renamed_class(old: str, new: str) -> None:
    """Imported under its old name it is the same class, and the line that imports it is warned."""
    with pytest.warns(DeprecationWarning, match=f"vdsm_bridge.{old}: Deprecated since 0.1") as caught:
        exec(f"from vdsm_bridge import {old} as imported", namespace := {"__name__": "plugin"})
    assert caught[0].filename == "<string>"
    assert namespace["imported"] is getattr(vdsm_bridge, new)


def test_every_renamed_class_is_listed() -> None:
    """What is imported under another name warns."""
    assert {f"vdsm_bridge.{old}" for old in vdsm_bridge._RENAMED} <= NAMES.keys()


def test_renamed_attributes() -> None:
    """The position of a stream and the slot of a waiting call, under their old names, too."""

    class Stream(EventStream):
        """A stream of a plugin that was written for an earlier release."""

        def next(self, timeout: float) -> list[Event]:
            """Go on."""
            self.place = 7
            return []

        def close(self) -> None:
            """End."""

    with Stream() as stream:
        with pytest.warns(DeprecationWarning, match="EventStream.place: Deprecated since 0.1") as caught:
            stream.next(0)
        assert caught[0].filename == __file__
        assert stream.position == 7
        with pytest.warns(DeprecationWarning, match="it is called position"):
            assert stream.place == 7
    slots = vdsm_bridge.WaitSlots(1)
    with pytest.warns(DeprecationWarning, match="WaitSlots.place: Deprecated since 0.1") as caught:
        slot = slots.place(lambda: None, vdsm_bridge.Identity("one", "monitor"))
    assert caught[0].filename == __file__
    with slot:
        assert slots.count == 1
    assert slots.count == 0


def test_renamed_parts_of_subscriptions(bus: EventBus) -> None:
    """`place`, `most` and `floors` work under their old names, too, and warn at the line of the caller."""
    with pytest.warns(
        DeprecationWarning, match=r"EventBus\.subscribe\(floors\).* called known_seq"
    ) as caught:
        subscription = bus.subscribe(floors={"|light|dimmed|": 7})
    assert caught[0].filename == __file__
    assert subscription.steady == 7
    with pytest.warns(DeprecationWarning, match=r"Subscription\.place.* called position") as caught:
        assert subscription.place == subscription.position
    assert caught[0].filename == __file__
    for _ in range(2):
        bus.publish(ConfigReloaded(applied=True, reason=""))
    bus.flush()
    other = bus.subscribe(after=0)
    with pytest.warns(DeprecationWarning, match=r"Subscription\.next\(most\).* called max_events") as caught:
        assert len(other.next(5, most=1)) == 1
    assert caught[0].filename == __file__


def test_renamed_wait_slots_and_host() -> None:
    """A context made with `waiting` has these `wait_slots`; `TestHost.server` is `host`. Both warn."""
    slots = vdsm_bridge.WaitSlots(1)
    with pytest.warns(DeprecationWarning, match=r"Context\.waiting.* called wait_slots") as caught:
        context = vdsm_bridge.Context(waiting=slots)
    assert caught[0].filename == __file__
    assert context.wait_slots is slots
    with (
        TestHost() as host,
        pytest.warns(DeprecationWarning, match=r"TestHost\.server.* called host") as caught,
    ):
        assert host.server is host.host
    assert caught[0].filename == __file__


def test_a_verb_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """In its description, wherever that is read; it works as before."""
    monkeypatch.setitem(VERBS, "Room.add", SOON)
    with TestHost() as host:
        (verb,) = (verb for verb in host.call("Host.getVerbs") if verb.name == "Room.add")
        assert verb.description.endswith(NOTICE)
        assert host.call("Room.add", left=1) == 2


def test_an_option_says_so(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """On its page; where it is set, by the check and in the log, with the file."""
    monkeypatch.setitem(OPTIONS, "daemon.task_limit", SOON)
    page = reference.render(installed.read())["options.md"]
    assert f"(VDSM's limit was 500, too). {NOTICE} |" in page
    file = tmp_path / "vdsm.toml"
    file.write_text("[daemon]\ntask_limit = 7\n")
    assert main(["--config", str(file), "config", "check"]) == 0
    assert f"{file}: daemon.task_limit: {NOTICE}" in capsys.readouterr().out
    with TestHost(config={"daemon": {"task_limit": 7}}):
        pass
    assert caplog.text.count(f"test: daemon.task_limit: {NOTICE}") == 1
    assert deprecated.options_in_use({}) == []


def test_arguments_and_attributes_of_before() -> None:
    """What plugins gave and used before works, and warns at their line."""
    with pytest.warns(DeprecationWarning, match=r"action\(lane\): Deprecated since 0.1") as caught:
        free = action(since="1.0", lane=False)
    assert caught[0].filename == __file__
    with pytest.warns(DeprecationWarning, match=r"action\(overtakes\): Deprecated since 0.1"):
        first = action(since="1.0", overtakes=True)

    class Room(Namespace, key="roomID"):
        """A room."""

        @free
        def look(self, room_id: str) -> None:
            """Look into it."""

        @first
        def leave(self, room_id: str) -> None:
            """Leave it."""

    look, leave = collect(Room())
    assert look.locks({"room_id": "1"}) == ()
    assert leave.declaration.preempts
    assert [str(lock.of) for lock in leave.locks({"room_id": "A"})] == ["room a"]
    with TestHost() as host:
        runtime = host.host.runtime
        with pytest.warns(DeprecationWarning, match="Runtime.tasks: Deprecated since 0.1"):
            assert runtime.tasks is runtime.work.tasks
        with pytest.warns(DeprecationWarning, match="Runtime.lanes: Deprecated since 0.1"):
            lanes = runtime.lanes
        done = threading.Event()
        with lanes.turn("room 1", "paint"):
            assert [(call.lane, call.call) for call in lanes.snapshot()] == [("room 1", "paint")]
            lanes.continue_in_background("room 1", "dry", done.set)
            with pytest.raises(RuntimeError, match="room 2"):
                lanes.continue_in_background("room 2", "dry", done.set)
        assert done.wait(10)
