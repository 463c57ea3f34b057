"""The event bus: order, resuming, gaps, snapshots; no subscriber delays another."""

from __future__ import annotations

import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from vdsm_core.events import Event, EventBus, EventParams, Journal, Subscription


class Dimmed(EventParams, frozen=True):
    """A lamp changed its brightness."""

    component: ClassVar[str] = "light"
    operation: ClassVar[str] = "dimmed"
    percent: int


class Burned(EventParams, frozen=True):
    """Statistics of a lamp."""

    component: ClassVar[str] = "light"
    operation: ClassVar[str] = "burned"
    bulk: ClassVar[bool] = True
    hours: int


def make(path: Path, *, max_bytes: int = 10**7, boot: str = "this boot", recent: int = 10) -> EventBus:
    bus = EventBus(Journal(str(path), max_bytes=max_bytes, keep=1000.0, boot=boot), recent=recent)
    bus.start()
    return bus


def seqs(subscription: Subscription) -> list[object]:
    """Numbers of events; gaps as pairs."""
    found = subscription.next(0, max_events=1000)
    return [(e.params["from"], e.params["to"]) if e.is_gap else e.seq for e in found]


def publish(bus: EventBus, count: int, object_id: str = "") -> None:
    for number in range(count):
        bus.publish(Dimmed(percent=number), object_id)
        if number % 10 == 9:  # a batch is kept in memory as a whole
            bus.flush()
    bus.flush()


def test_events_come_in_order(bus: EventBus) -> None:
    """A subscriber gets what matches, in the order of its numbers, with its parameters."""
    subscription = bus.subscribe("|light|dimmed|a")
    for number in range(6):
        bus.publish(Dimmed(percent=number), "ab"[number % 2])
    assert bus.flush() == 6
    found = subscription.next(0)
    assert [(event.seq, event.params) for event in found] == [
        (1, {"percent": 0}),
        (3, {"percent": 2}),
        (5, {"percent": 4}),
    ]
    assert subscription.next(0) == []


def test_next_waits_and_returns_at_most_the_maximum(bus: EventBus) -> None:
    """`next` returns as soon as there is an event, and at most the requested number."""
    subscription = bus.subscribe()
    timer = threading.Timer(0.05, lambda: bus.publish(Dimmed(percent=1)))
    timer.start()
    assert len(subscription.next(10)) == 1
    timer.join()
    publish(bus, 2)
    assert len(subscription.next(0, max_events=1)) == 1
    assert len(subscription.next(0, max_events=1)) == 1


def test_close_wakes_and_forgets(bus: EventBus) -> None:
    """Closing ends a waiting `next`, and the bus forgets the subscription."""
    subscription = bus.subscribe()
    timer = threading.Timer(0.05, subscription.close)
    timer.start()
    began = time.monotonic()
    assert subscription.next(10) == []
    assert time.monotonic() - began < 5
    timer.join()
    assert bus.subscriptions == 0


def test_stopping_the_bus_wakes_its_subscribers(tmp_path: Path) -> None:
    """No call waits for a bus that has stopped."""
    bus = make(tmp_path / "events.sqlite")
    subscription = bus.subscribe()
    timer = threading.Timer(0.05, bus.stop)
    timer.start()
    began = time.monotonic()
    assert subscription.next(10) == []
    assert time.monotonic() - began < 5
    timer.join()


def test_a_slow_subscriber_reads_on_from_the_journal(bus: EventBus) -> None:
    """It uses no memory, delays no other subscriber, and loses nothing that the journal still has."""
    slow = bus.subscribe()
    publish(bus, 100)
    assert seqs(slow) == list(range(1, 101))


def test_what_the_journal_dropped_is_one_gap(tmp_path: Path) -> None:
    """A subscriber that was too slow for the journal's size learns which numbers are missing."""
    bus = make(tmp_path / "events.sqlite", max_bytes=5_000)
    slow = bus.subscribe()
    publish(bus, 500)
    found = seqs(slow)
    assert found[0] == (1, bus.first - 1)
    assert found[1:] == list(range(bus.first, 501))
    assert bus.first > 100
    bus.stop()


def test_resuming_after_a_gap_goes_on_behind_it(tmp_path: Path) -> None:
    """A gap has the number of the last event that it stands for."""
    bus = make(tmp_path / "events.sqlite", max_bytes=5_000)
    publish(bus, 500)
    (gap,) = bus.subscribe(after=0).next(0, max_events=1)
    assert gap.is_gap
    assert seqs(bus.subscribe(after=gap.seq)) == list(range(gap.seq + 1, 501))
    bus.stop()


def test_a_gap_reaches_every_pattern(tmp_path: Path) -> None:
    """It is unknown whether the missing events would have matched."""
    bus = make(tmp_path / "events.sqlite", max_bytes=5_000)
    publish(bus, 500)
    assert seqs(bus.subscribe("|nothing|like|this", after=0)) == [(1, bus.first - 1)]
    bus.stop()


def test_resuming(bus: EventBus) -> None:
    """A subscriber that names the last number it saw gets what came after it, also long ago."""
    publish(bus, 50)
    assert seqs(bus.subscribe(after=2)) == list(range(3, 51))
    assert seqs(bus.subscribe(after=48)) == [49, 50]
    assert seqs(bus.subscribe(after=50)) == []
    assert seqs(bus.subscribe()) == []


def test_resuming_after_a_restart(tmp_path: Path) -> None:
    """The numbers go on where they were, and what came before the restart is still there."""
    path = tmp_path / "events.sqlite"
    for run in range(3):
        bus = make(path)
        subscription = bus.subscribe(after=0)
        publish(bus, 4)
        assert seqs(subscription) == list(range(1, 4 * run + 5))
        bus.stop()


def test_a_number_of_a_lost_journal_is_a_gap(bus: EventBus) -> None:
    """A subscriber who has seen more than the journal ever held must read the state anew."""
    publish(bus, 3)
    subscription = bus.subscribe(after=1000)
    assert seqs(subscription) == [(4, 1000)]
    publish(bus, 1)
    assert seqs(subscription) == [4]


def test_a_burst_of_statistics_does_not_delay_a_change(tmp_path: Path) -> None:
    """Events that are not in bulk overtake those that are, except of the same object."""
    bus = EventBus(Journal(str(tmp_path / "e.sqlite"), max_bytes=10**7, keep=1000.0))
    for number in range(1000):
        bus.publish(Burned(hours=number), f"lamp{number % 10}")
    bus.publish(Dimmed(percent=1), "lamp3")
    bus.start()
    bus.flush()
    found = bus.subscribe(after=0).next(0, max_events=2000)
    place = next(index for index, event in enumerate(found) if event.id == "|light|dimmed|lamp3")
    before = found[:place]
    assert [event.id for event in before] == ["|light|burned|lamp3"] * 100
    assert [event.params["hours"] for event in before] == list(range(3, 1000, 10))
    bus.stop()


def test_what_a_change_waits_for_in_a_burst_of_statistics(tmp_path: Path) -> None:
    """For the batch that is being written, however long the burst is: no more than 500 events."""
    bus = EventBus(Journal(str(tmp_path / "e.sqlite"), max_bytes=10**9, keep=1000.0))
    for number in range(50_000):
        bus.publish(Burned(hours=number), f"lamp{number % 50}")
    subscription = bus.subscribe("|light|dimmed")
    bus.start()
    waited, delays, number = [], [], 0
    while bus.last < 40_000:
        began = time.monotonic()
        bus.publish(Dimmed(percent=number), "hall")
        written = bus.last
        (event,) = subscription.next(10)
        delays.append(time.monotonic() - began)
        waited.append(event.seq - written)
        assert event.params["percent"] == number
        number += 1
    assert number
    assert max(waited) <= 500 + 1
    assert sorted(delays)[number // 2] < 0.5
    bus.stop()


def test_many_publishers_and_subscribers(bus: EventBus) -> None:
    """Events of many threads are all there for everyone, each number once, in order."""
    subscriptions = [bus.subscribe() for _ in range(5)]
    got: list[list[int]] = [[] for _ in subscriptions]

    def listen(number: int) -> None:
        while len(got[number]) < 500:
            got[number] += [event.seq for event in subscriptions[number].next(10)]

    threads = [
        threading.Thread(target=lambda: [bus.publish(Dimmed(percent=1)) for _ in range(50)])
        for _ in range(10)
    ]
    threads += [threading.Thread(target=listen, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [list(range(1, 501))] * 5


def test_publishing_does_not_wait_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the journal hangs, publishing returns at once; afterwards everything is there."""
    bus = make(tmp_path / "events.sqlite")
    subscription = bus.subscribe()
    gate, append = threading.Event(), bus._journal.append

    def slow(events: list[Event]) -> None:
        gate.wait()
        append(events)

    monkeypatch.setattr(bus._journal, "append", slow)
    for number in range(1000):
        bus.publish(Dimmed(percent=number))
    assert subscription.next(0) == []
    gate.set()
    bus.flush()
    assert seqs(subscription) == list(range(1, 1001))
    bus.stop()


@pytest.fixture
def full(tmp_path: Path) -> Iterator[tuple[EventBus, Callable[[bool], None]]]:
    """A bus on a disk that a switch fills."""
    bus = make(tmp_path / "events.sqlite")
    publish(bus, 3)
    connection = bus._journal._open(bus._journal._writer)
    (pages,) = connection.execute("PRAGMA page_count").fetchone()

    def fill(is_full: bool) -> None:
        # SQLite reports "database or disk is full" in both cases.
        with bus._journal._alone() as connection:
            connection.execute(f"PRAGMA max_page_count={pages if is_full else 2**30}")

    yield bus, fill
    bus.stop()


BIG = "x" * 5000


class Noted(EventParams, frozen=True):
    """A text that needs more room than there is."""

    component: ClassVar[str] = "light"
    operation: ClassVar[str] = "noted"
    text: str


def test_on_a_full_disk_listeners_still_hear(full, caplog: pytest.LogCaptureFixture) -> None:
    """Present subscribers miss nothing, later ones get a gap; the failure is logged once."""
    bus, fill = full
    listener = bus.subscribe()
    fill(True)
    for _ in range(3):
        bus.publish(Noted(text=BIG))
        bus.flush()
    assert seqs(listener) == [4, 5, 6]
    fill(False)
    publish(bus, 30)
    assert seqs(listener) == list(range(7, 37))
    assert seqs(bus.subscribe(after=0)) == [1, 2, 3, (4, 6), *range(7, 37)]
    messages = [record.message for record in caplog.records]
    assert len(messages) == 2, messages
    assert "database or disk is full" in messages[0]
    assert "can be written again" in messages[1]


@pytest.mark.parametrize("recovered", [False, True])
def test_a_kill_on_a_full_disk_repeats_no_number(full, tmp_path: Path, recovered: bool) -> None:
    """An event that was delivered but not stored is a gap after a resume, never another event."""
    bus, fill = full
    listener = bus.subscribe()
    fill(True)
    bus.publish(Noted(text=BIG))
    bus.publish(Noted(text=BIG))
    bus.flush()
    fill(False)
    if recovered:
        bus.publish(Dimmed(percent=1))
        bus.flush()
    seen = [event.seq for event in listener.next(0)]
    assert seen == ([4, 5, 6] if recovered else [4, 5])
    shutil.copytree(tmp_path, tmp_path / "killed")  # all that a killed process leaves
    again = make(tmp_path / "killed" / "events.sqlite")
    resumed = again.subscribe(after=4)
    publish(again, 1)
    first, *others = seqs(resumed)
    assert (first, others) == ((5, 5), [6, 7]) if recovered else (first[0], others) == (5, [first[1] + 1])
    again.stop()


def test_without_numbers_events_wait_until_there_are_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that takes no reservation: publishers go on, snapshots are answered, then there is one gap."""
    bus = EventBus(Journal(str(tmp_path / "e"), max_bytes=10**7, keep=1000.0), sync_interval=0.02)
    bus.start()
    listener = bus.subscribe()
    bus.provide("light", ["dimmed"], lambda mark: mark() or [("a", Dimmed(percent=7))])
    reserve = bus._journal._reserve

    def full(_up_to: int) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(bus._journal, "_reserve", full)
    for number in range(5):
        bus.publish(Dimmed(percent=number), "a")
    known_seq, states = bus.snapshot()
    assert (known_seq, states[0].params) == ({"|light|dimmed|": 0}, {"percent": 7})
    assert listener.next(0) == []
    monkeypatch.setattr(bus._journal, "_reserve", reserve)
    bus.publish(Dimmed(percent=9), "a")
    bus.flush()
    assert seqs(listener) == [(1, 5), 6]
    bus.stop()


def test_a_gap_without_further_events_is_kept_in_mind(tmp_path: Path) -> None:
    """Its numbers were delivered, so they are never reused, even if the daemon is killed then."""
    bus = make(tmp_path / "events.sqlite")
    listener = bus.subscribe()
    publish(bus, 2)
    with bus._pending:
        bus._lost += 3
        bus._pending.notify()
    found = listener.next(5)
    while not found[-1].is_gap:
        found += listener.next(5)
    assert (found[-1].params["from"], found[-1].params["to"]) == (3, 5)
    shutil.copytree(tmp_path, tmp_path / "killed")
    bus.stop()
    again = make(tmp_path / "killed" / "events.sqlite")
    publish(again, 1)
    assert seqs(again.subscribe(after=5)) == [6]
    again.stop()


def test_a_disk_that_is_slow_to_flush_delays_no_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events go on while the disk takes its time."""
    gate, begun = threading.Event(), threading.Event()

    def slow(_file: int) -> None:
        begun.set()
        gate.wait(10)

    monkeypatch.setattr("vdsm_core.events.journal.os.fdatasync", slow)
    bus = EventBus(Journal(str(tmp_path / "e"), max_bytes=10**7, keep=1000.0), sync_interval=0.01)
    bus.start()
    publish(bus, 1)
    assert begun.wait(5)
    listener = bus.subscribe()
    publish(bus, 100)
    assert seqs(listener) == list(range(2, 102))
    assert not gate.is_set()
    gate.set()
    bus.stop()


def test_a_bug_does_not_end_the_events_of_the_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is in the log, and what it cost is a gap."""
    bus = EventBus(Journal(str(tmp_path / "e"), max_bytes=10**7, keep=1000.0), sync_interval=0.01)
    bus.start()
    listener = bus.subscribe()
    append = bus._journal.append

    def wrong(_events: object) -> None:
        monkeypatch.setattr(bus._journal, "append", append)
        raise ZeroDivisionError

    monkeypatch.setattr(bus._journal, "append", wrong)
    publish(bus, 1)
    publish(bus, 1)
    found = listener.next(5)
    while not found or found[-1].is_gap:
        found += listener.next(5)
    assert [event.is_gap for event in found] == [True, False]
    assert "ZeroDivisionError" in caplog.text
    bus.stop()


def test_parameters_that_are_no_json_fail_their_publisher(bus: EventBus) -> None:
    """A bug of one plugin raises in that plugin; the bus continues."""
    with pytest.raises(TypeError, match=r"light\|noted"):
        bus.publish(Noted(text="\ud800"))
    publish(bus, 1)
    assert bus.last == 1


def test_a_burst_of_one_object_is_written_in_parts(tmp_path: Path) -> None:
    """However much there is of one object's statistics, another one waits for one part at most."""
    bus = EventBus(Journal(str(tmp_path / "e"), max_bytes=10**7, keep=1000.0))
    for number in range(5000):
        bus.publish(Burned(hours=number), "lamp")
    with bus._pending:
        batches = []
        while bus._bulk:
            batches.append(len(bus._take()[0]))
    assert max(batches) == 500
    assert sum(batches) == 5000


def test_snapshots_ask_only_those_who_may_match(bus: EventBus) -> None:
    """A snapshot of one kind of event does not delay the states of others."""
    for component in ("light", "sound"):
        bus.provide(component, ["on", "off"], lambda mark: mark() or [])
    assert set(bus.snapshot("|li*t|off|x")[0]) == {"|light|on|", "|light|off|"}
    assert len(bus.snapshot(["|sound", "|light|on"])[0]) == 4
    assert bus.snapshot("|light|other")[0] == {}


def test_one_subscription_is_read_by_one_at_a_time(bus: EventBus) -> None:
    """A call without timeout does not wait for another call with one."""
    subscription = bus.subscribe()
    waiting = threading.Thread(target=lambda: subscription.next(60))
    waiting.start()
    assert subscription.next(0) == []
    assert subscription.next(0.05) == []
    assert waiting.is_alive()
    subscription.close()
    waiting.join()


def test_snapshot_then_stream(bus: EventBus) -> None:
    """The states are true at their number: what came before is in them, what comes after is delivered."""
    lamps, lock = {"a": 0}, threading.Lock()

    def dim(lamp: str, percent: int) -> None:
        with lock:
            lamps[lamp] = percent
            bus.publish(Dimmed(percent=percent), lamp)

    def provide(mark):
        with lock:
            mark()
            return [(lamp, Dimmed(percent=percent)) for lamp, percent in lamps.items()]

    withdraw = bus.provide("light", ["dimmed"], provide)
    stop = threading.Event()

    def work() -> None:
        number = 0
        while not stop.wait(0.0002):
            number += 1
            dim("ab"[number % 2], number)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        for _ in range(20):
            known_seq, states = bus.snapshot("|light|dimmed|*")
            seen = {event.id: event.params["percent"] for event in states}
            at = known_seq["|light|dimmed|"]
            subscription = bus.subscribe("|light|dimmed|*", after=at, known_seq=known_seq)
            for event in subscription.next(5, max_events=50):
                assert event.seq > at
                assert event.params["percent"] > seen.get(event.id, 0)
                seen[event.id] = event.params["percent"]
            subscription.close()
    finally:
        stop.set()
        thread.join()
    withdraw()
    assert bus.snapshot("") == ({}, [])
