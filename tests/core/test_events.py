"""The event bus: order, patterns, gaps, numbers."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vdsm_core.events import (
    Event,
    EventBus,
    EventParams,
    Gap,
    Subscription,
    compile_pattern,
    event_id,
    event_types,
)
from vdsm_core.state import MEMORY, StateStore


class Dimmed(EventParams, frozen=True):
    """A lamp changed its brightness."""

    component: ClassVar[str] = "light"
    operation: ClassVar[str] = "dimmed"
    percent: int


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [
        ("", True),
        ("|", True),
        ("|light", True),
        ("|light|dimmed", True),
        ("|light|dimmed|a.b", True),
        ("light|dimmed|a.b", True),
        ("|*|dimmed|*", True),
        ("|l*t|d*m*d|a*", True),
        ("|light|dim", False),
        ("|light|dimmed|a", False),
        ("|light|dimmed|aXb", False),
        ("|l*d", False),
        ("|ligh?|dimmed", False),
        ("|[l]ight", False),
        ("|vm", False),
    ],
)
def test_patterns(pattern: str, matches: bool) -> None:
    """`*` stands for any text within a part, missing parts match everything, nothing else is special."""
    assert compile_pattern(pattern)("|light|dimmed|a.b") is matches


@given(
    st.tuples(*[st.text(st.characters(exclude_characters="|*", exclude_categories=["Cs"]), min_size=1)] * 3)
)
@settings(max_examples=50, deadline=None)
def test_every_id_matches_itself(parts: tuple[str, str, str]) -> None:
    """An id is a pattern for itself, whatever it holds."""
    name = event_id(*parts)
    assert compile_pattern(name)(name)


def test_an_event_about_no_object() -> None:
    """An event about no single object has VDSM's `no_id`."""
    assert event_id("light", "dimmed", "") == "|light|dimmed|no_id"


def test_events_come_in_order(bus: EventBus) -> None:
    """A subscriber gets what matches, in the order of its numbers, with its parameters."""
    subscription = bus.subscribe("|light|dimmed|a")
    sent = [bus.publish(Dimmed(percent=n), "ab"[n % 2]) for n in range(6)]
    assert subscription.next(0) == sent[0::2]
    assert [event.seq for event in sent] == list(range(sent[0].seq, sent[0].seq + 6))
    assert bus.last == sent[-1].seq
    assert subscription.next(0) == []
    subscription.close()


def test_next_waits_and_takes_no_more_than_asked(bus: EventBus) -> None:
    """`next` returns as soon as there is an event, and at most as many as asked for."""
    subscription = bus.subscribe()
    timer = threading.Timer(0.05, lambda: bus.publish(Dimmed(percent=1)))
    timer.start()
    assert len(subscription.next(10)) == 1
    timer.join()
    bus.publish(Dimmed(percent=2))
    bus.publish(Dimmed(percent=3))
    assert len(subscription.next(0, most=1)) == 1
    assert len(subscription.next(0, most=1)) == 1


def test_close_wakes_and_forgets(bus: EventBus) -> None:
    """Closing ends a waiting `next`, and the bus forgets the subscription."""
    subscription = bus.subscribe()
    timer = threading.Timer(0.05, subscription.close)
    timer.start()
    began = time.monotonic()
    assert subscription.next(10) == []
    assert time.monotonic() - began < 5
    timer.join()
    bus.publish(Dimmed(percent=1))
    assert subscription.next(0) == []


def seqs(subscription: Subscription) -> list[object]:
    """Numbers of events; gaps as pairs."""
    return [e.seq if isinstance(e, Event) else (e.first, e.last) for e in subscription.next(0)]


def test_a_slow_subscriber_gets_one_gap(bus: EventBus) -> None:
    """What does not fit is announced as one gap that tells the first and the last number."""
    subscription = bus.subscribe(limit=2)
    quick = bus.subscribe()
    for n in range(6):
        bus.publish(Dimmed(percent=n))
    assert seqs(subscription) == [1, 2, (3, 6)]
    assert seqs(quick) == [1, 2, 3, 4, 5, 6]
    bus.publish(Dimmed(percent=7))
    assert seqs(subscription) == [7]


def test_a_gap_goes_on_while_the_queue_is_full(bus: EventBus) -> None:
    """Reading a little of a full queue does not cut the gap in two; after it events go on."""
    subscription = bus.subscribe(limit=2)
    for n in range(4):
        bus.publish(Dimmed(percent=n))
    first = subscription.next(0, most=1)
    bus.publish(Dimmed(percent=5))
    assert [event.seq for event in first if isinstance(event, Event)] == [1]
    subscription.next(0, most=1)
    bus.publish(Dimmed(percent=6))
    assert seqs(subscription) == [(3, 5), 6]


def test_resuming(bus: EventBus) -> None:
    """A subscriber that names the last number it saw gets what came after it."""
    for n in range(5):
        bus.publish(Dimmed(percent=n))
    assert seqs(bus.subscribe(after=2)) == [3, 4, 5]
    assert seqs(bus.subscribe(after=5)) == []


def test_resuming_after_too_long(bus: EventBus) -> None:
    """What is not kept any more is announced as a gap before the rest."""
    for n in range(15):
        bus.publish(Dimmed(percent=n))
    assert seqs(bus.subscribe(after=2)) == [(3, 5), *range(6, 16)]


def test_numbers_never_repeat(tmp_path: Path) -> None:
    """Not after a restart either, even if the process was killed: the next one begins beyond."""
    seen: list[int] = []
    for _ in range(3):
        store = StateStore(str(tmp_path / "state.sqlite"))
        store.open()
        bus = EventBus(store)
        bus.start()
        subscription = bus.subscribe(after=seen[-1] if seen else 0)
        if seen:
            (gap,) = subscription.next(0)
            assert isinstance(gap, Gap)
            assert gap.first == seen[-1] + 1
        new = [bus.publish(Dimmed(percent=n)).seq for n in range(3)]
        assert not seen or new[0] > seen[-1]
        seen += new
        store.close()


def test_many_publishers(bus: EventBus) -> None:
    """Events of many threads are all there, each number once, in order."""
    subscription = bus.subscribe(limit=10_000)
    threads = [
        threading.Thread(target=lambda: [bus.publish(Dimmed(percent=1)) for _ in range(50)])
        for _ in range(10)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    numbers = [event.seq for event in subscription.next(0, most=1000) if isinstance(event, Event)]
    assert numbers == list(range(1, 501))


def test_numbers_go_on_beyond_a_block() -> None:
    """Numbers are reserved in blocks; at the end of one the next begins without a hole."""
    store = StateStore(MEMORY)
    store.open()
    bus = EventBus(store, history=5)
    bus.start()
    bus._next = bus._reserved + 9_999
    assert [bus.publish(Dimmed(percent=1)).seq for _ in range(3)] == [9_999, 10_000, 10_001]
    store.close()


def test_event_types_are_known() -> None:
    """Every declared event can be listed."""
    assert Dimmed in event_types()
