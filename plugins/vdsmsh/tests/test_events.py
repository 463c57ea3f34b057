"""`vdsmsh events`: what it prints, where it goes on, how it ends."""

from __future__ import annotations

import csv
import io
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from vdsm_bridge.client.polling import PolledEvents
from vdsm_bridge.testing import Clock, TestHost
from vdsm_bridge.testing.polling import until
from vdsm_bridge.transport import (
    CallOptions,
    CallRefused,
    Credentials,
    Event,
    EventStream,
    Transport,
    Unreachable,
)
from vdsmsh.commands.events import as_pattern
from vdsmsh.connection.follower import Follower
from vdsmsh.connection.rest import RestTransport
from vdsmsh.output.event_lines import line_format, pairs

from .conftest import HALL, YARD, Run, Terminal

OPTIONS = CallOptions(timeout=5.0)
PATIENCE = 10.0


def switch(host: TestHost, *states: bool, lamp: str = HALL) -> None:
    """Switch a lamp, which is an event each time."""
    for lit in states:
        host.call("Lamp.switch", lampID=lamp, lit=lit)


@contextmanager
def once_followed(host: TestHost, work: Callable[[], Any]) -> Iterator[None]:
    """Run a function as soon as the host has one more subscriber."""
    bus = host.host.runtime.events
    before = bus.subscriptions

    def wait() -> None:
        until(lambda: bus.subscriptions != before, PATIENCE)
        work()

    thread = threading.Thread(target=wait)
    thread.start()
    yield
    thread.join()


def test_lines(host: TestHost, run: Run) -> None:
    """A line for each event: the time, the id, and the parameters."""
    with once_followed(host, lambda: switch(host, True, False)):
        outcome = run("events", "sample", "--count", "2", "--timeout", "20")
    assert (outcome.code, outcome.err) == (0, "")
    first, second = outcome.out.splitlines()
    assert re.fullmatch(rf"\d\d:\d\d:\d\d\.\d{{3}} \|sample\|switched\|{HALL} lit=true", first)
    assert second.endswith(" lit=false")


def test_formats(host: TestHost, run: Run) -> None:
    """JSON and CSV have all of an event on one line."""
    before = host.call("Events.subscribe").seq
    switch(host, True)
    words = ("events", "sample.*", "--after", str(before), "--count", "1", "--timeout", "20", "-f")
    (line,) = run(*words, "json").out.splitlines()
    event = json.loads(line)
    assert (event["id"], event["params"]) == (f"|sample|switched|{HALL}", {"lit": True})
    assert event["seq"] > before
    ((seq, moment, id_, params),) = csv.reader(io.StringIO(run(*words, "csv").out))
    assert (int(seq), float(moment), id_) == (event["seq"], event["time"], event["id"])
    assert json.loads(params) == event["params"]


def test_the_object_is_said_once(host: TestHost, run: Run) -> None:
    """It stands in the id; a parameter that says the same is left out of the text, and of nothing else."""
    event = Event(seq=1, id=f"|sample|switched|{HALL}", time=0.0, params={"lampID": HALL, "lit": True})
    assert line_format("text", io.StringIO())(event).endswith(f"|{HALL} lit=true")
    assert json.loads(line_format("json", io.StringIO())(event))["params"] == event.params


def test_several_patterns(host: TestHost, run: Run) -> None:
    """Of several patterns one must match."""
    before = host.call("Events.subscribe").seq
    host.call("Lamp.burn", lampID=HALL, hours=1, pause=0.0)
    switch(host, True, lamp=YARD)
    switch(host, False, lamp=HALL)
    words = ("events", f"|*|*|{HALL}", "task.status", "--after", str(before), "-f", "json", "--timeout", "2")
    events = [json.loads(line) for line in run(*words).out.splitlines()]
    assert {event["id"].split("|")[1] for event in events} == {"sample", "task"}
    assert not any(event["id"].endswith(YARD) for event in events)


def test_snapshot(host: TestHost, run: Run) -> None:
    """The current states come first."""
    outcome = run("events", "host.plugin", "--snapshot", "--count", "1", "--timeout", "20", "-f", "json")
    assert json.loads(outcome.out)["params"]["state"] == "running"


def test_gap(host: TestHost, run: Run) -> None:
    """Events that the host no longer has are announced by a gap, whatever the pattern."""
    outcome = run("events", "sample", "--after", "1000000", "--count", "1", "--timeout", "20")
    assert "|events|gap|no_id from=" in outcome.out
    assert "to=1000000" in outcome.out


def test_time_is_up(host: TestHost, run: Run) -> None:
    """Without a count, the end of the time is the end."""
    began = time.monotonic()
    assert run("events", "--timeout", "0.3", "sample").code == 0
    assert 0.3 <= time.monotonic() - began < 5.0


def test_dry_run(host: TestHost, run: Run) -> None:
    """The request can be seen."""
    assert "/api/verbs/Events.subscribe" in run("events", "virt.VM_*", "--dry-run").out


def test_help(host: TestHost, run: Run) -> None:
    """Help has the options, and the verbs that share the first word."""
    outcome = run("events", "--help")
    for text in ("PATTERN", "--after N", "--snapshot", "unsubscribe", "Return every kind of event"):
        assert text in outcome.out
    assert json.loads(run("events", "list", "-f", "json").out) == []


@pytest.mark.parametrize("named", [False, True], ids=["by default", "by name"])
def test_terminal(
    host: TestHost, terminal: Callable[..., Terminal], vdsmsh: str, home: Path, named: bool
) -> None:
    """On a terminal there are colours; Ctrl-C ends it and prints how to continue, with the same host."""
    words = ("--url", f"unix://{home}/api.sock") if named else ()
    screen = terminal(vdsmsh, *words, "events", "sample", "--snapshot")
    until(lambda: host.host.bridge._events.subscriptions)
    switch(host, True)
    screen.expect("\x1b[36m|sample|switched|\x1b[0m" + HALL)
    place = host.call("Events.subscribe").seq
    time.sleep(0.2)
    screen.type("\x03")
    again = " ".join(["vdsmsh", *words, "events", "sample", "--after", str(place)])
    screen.expect(f"the last event was number {place}; continue with: {again}")
    assert screen.wait() == 130


@pytest.mark.parametrize(
    ("word", "pattern"),
    [("virt", "|virt"), ("virt.VM_*", "|virt|VM_*"), ("a.b.c.d", "|a|b|c.d"), ("|a|b.c", "|a|b.c")],
)
def test_as_pattern(word: str, pattern: str) -> None:
    """Dots stand for bars where there are no bars."""
    assert as_pattern(word) == pattern


def test_pairs() -> None:
    """Values are one word each, and do nothing to a terminal."""
    assert pairs({"a": 1, "b": True, "c": "x y", "d": {"e": [1]}, "f": "", "g": None}) == (
        'a=1 b=true c="x y" d={"e":[1]} f="" g='
    )
    assert "\x1b" not in pairs({"a": "\x1b[2J", "b": {"c": "\x9b1m"}})


def test_ids_do_nothing_to_a_terminal() -> None:
    """An id is shown, whatever it holds."""
    event = Event(seq=1, id="|a|b|\x1b[2J", time=0.0, params={})
    assert "\x1b" not in line_format("text", io.StringIO())(event)
    assert line_format("text", io.StringIO())(event).startswith("19")


class Fragile(Transport):
    """A transport whose streams break after each event, and which is away for a while."""

    def __init__(self, real: Transport) -> None:
        super().__init__(real.url, Credentials())
        self._real = real
        self.refusals: list[Exception] = []

    def call(self, verb: str, arguments: Any, options: CallOptions) -> Any:
        return self._real.call(verb, arguments, options)

    def events(self, patterns: Any, options: CallOptions, **where: Any) -> EventStream:
        if self.refusals:
            raise self.refusals.pop()
        return Breaking(super().events(patterns, options, **where))

    @property
    def revision(self) -> str:
        return ""

    def preview(self, verb: str, arguments: Any, options: CallOptions) -> str:
        return ""

    def close(self) -> None:
        pass


class Breaking(EventStream):
    """Passes on the events of its stream, and breaks."""

    def __init__(self, inner: EventStream) -> None:
        self._inner = inner
        self._sent = False
        self.position = inner.position

    def next(self, timeout: float) -> list[Event]:
        if self._sent:
            raise Unreachable("it broke")
        events = self._inner.next(timeout)
        self.position = self._inner.position
        self._sent = bool(events)
        return events

    def close(self) -> None:
        self._inner.close()


@pytest.fixture
def real(host: TestHost, home: Path) -> Transport:
    """The transport of the host."""
    return RestTransport(f"unix://{home}/api.sock", Credentials())


def test_following_across_broken_connections(host: TestHost, real: Transport) -> None:
    """Nothing is missed and nothing comes twice, however often the connection breaks."""
    fragile = Fragile(real)
    notices: list[str] = []
    seen: list[Event] = []
    with Follower(fragile, ["sample"], OPTIONS, notices.append) as follower:
        for turn in range(4):
            if turn == 2:
                fragile.refusals = [Unreachable("away"), CallRefused("unavailable", 40, "not now")]
            switch(host, bool(turn % 2))
            end = time.monotonic() + PATIENCE
            while len(seen) <= turn and time.monotonic() < end:
                seen += follower.next(1.0)
    assert [event.params["lit"] for event in seen] == [False, True, False, True]
    assert len({event.seq for event in seen}) == 4
    assert notices.count("connected again") == 3
    assert f"it broke; trying again after event {seen[0].seq}" in notices
    assert host.call("Events.list") == []


def test_attempts_become_rarer(host: TestHost, real: Transport, monkeypatch: pytest.MonkeyPatch) -> None:
    """However short the patience of who waits, a host that is away is not asked all the time."""
    clock = Clock()
    monkeypatch.setattr("vdsmsh.connection.follower.time", clock)
    fragile = Fragile(real)
    with Follower(fragile, ["sample"], OPTIONS, lambda _: None) as follower:
        switch(host, True)
        assert follower.next(PATIENCE)
        fragile.refusals = refusals = [Unreachable("away")] * 100
        began = clock()
        attempts = []
        while len(attempts) < 5:
            assert follower.next(0.05) == []
            if len(refusals) < 100 - len(attempts):
                attempts.append(clock() - began)
        assert attempts == pytest.approx([0.2, 0.52, 1.03, 1.85, 3.16], abs=0.06)
        refusals.clear()
        while follower.connections == 1:
            follower.next(1.0)


def test_a_refusal_that_stays(host: TestHost, real: Transport) -> None:
    """A refusal for good is raised, instead of being retried for ever."""
    fragile = Fragile(real)
    with Follower(fragile, ["sample"], OPTIONS, lambda _: None) as follower:
        switch(host, True)
        assert follower.next(PATIENCE)
        fragile.refusals = [CallRefused("unauthenticated", 100, "no")]
        with pytest.raises(CallRefused):
            follower.next(PATIENCE)


def test_restarted_binding(host: TestHost, real: Transport) -> None:
    """A stream that the host ends is begun again where it was."""
    notices: list[str] = []
    with Follower(real, ["sample"], OPTIONS, notices.append) as follower:
        switch(host, True)
        (first,) = follower.next(PATIENCE)
        plugins = {plugin.name: plugin for plugin in host.host.plugins()}
        assert plugins["rest"].state == "running"
        rest = next(
            plugin.instance for plugin in host.host._lifecycle._plugins if plugin.found.name == "rest"
        )
        rest._service.streams._ended = False
        for stream in list(rest._service.streams._open):
            stream.close()
        switch(host, False)
        events: list[Event] = []
        while not events:
            events = follower.next(PATIENCE)
    assert events[0].seq == first.seq + 1
    assert notices[-1] == "connected again"


def test_a_stream_that_breaks_before_its_first_event(host: TestHost, real: Transport) -> None:
    """Its place is known all the same: what happens before the next one is not missed."""
    with Follower(real, ["sample"], OPTIONS, lambda _: None) as follower:
        rest = next(
            plugin.instance for plugin in host.host._lifecycle._plugins if plugin.found.name == "rest"
        )
        for stream in list(rest._service.streams._open):
            stream.close()
        switch(host, True)
        events: list[Event] = []
        end = time.monotonic() + PATIENCE
        while not events and time.monotonic() < end:
            events = follower.next(PATIENCE)
    assert [event.params for event in events] == [{"lit": True}]


def test_no_place_for_a_stream(home: Path, make_vdsm_host: Callable[..., TestHost]) -> None:
    """Where the host has no place for one more stream, it is asked instead."""
    rest = pytest.importorskip("vdsm_rest")
    options = {"socket": str(home / "few.sock"), "address": "", "streams": 0}
    host = make_vdsm_host(bindings={"rest": rest.RestBinding}, config={"plugin": {"rest": options}})
    host.call("Lamp.create", lamp={"lampID": HALL, "name": "hall"})
    transport = RestTransport(f"unix://{home}/few.sock", Credentials())
    with transport.events(["sample", "task"], OPTIONS, snapshot=True) as stream:
        assert isinstance(stream, PolledEvents)
        switch(host, True)
        (event,) = stream.next(PATIENCE)
        assert (event.params, stream.position) == ({"lit": True}, event.seq)
        began = time.monotonic()
        assert stream.next(0.2) == []
        assert 0.2 <= time.monotonic() - began < PATIENCE
    assert host.call("Events.list") == []
