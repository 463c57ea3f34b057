"""The loop's timers and work, and the bookkeeping of what waits to be sent."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from vdsm_bridge.testing.polling import until
from vdsm_qmf.bus import Loop
from vdsm_qmf.bus.outbox import Letter, Outbox, Outcome
from vdsm_qmf.message import Address

HERE = Address("exchange", "key")


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop("tested")
    loop.start()
    yield loop
    loop.stop()


def on(loop: Loop, work: object) -> None:
    """Do something on the loop's thread, and wait for it."""
    done = threading.Event()
    loop.call_soon(lambda: (work(), done.set()))  # type: ignore[operator]
    assert done.wait(10.0)


def test_cancelled_timers_do_not_pile_up(loop: Loop) -> None:
    """A hundred thousand calls that were answered in time leave no hundred thousand entries behind."""

    def call() -> None:
        for _ in range(100_000):
            loop.call_later(60.0, lambda: None).cancel()

    on(loop, call)
    assert len(loop._timers) < 5_000


def test_timers_keep_their_order_when_tidied(loop: Loop) -> None:
    """What is due first is done first, also after the cancelled ones were taken out."""
    done: list[int] = []

    def call() -> None:
        for number in range(5_000):
            timer = loop.call_later(0.05 + (number % 50) / 1000, lambda number=number: done.append(number))
            if number >= 50:
                timer.cancel()

    on(loop, call)
    until(lambda: len(done) == 50)
    assert done == sorted(done)
    assert len(done) == 50


def test_work_that_makes_work_does_not_starve_the_timers(loop: Loop) -> None:
    """Callbacks that follow each other without end let sockets and timers have their turn."""
    ended = threading.Event()
    running = [True]

    def again() -> None:
        if running[0]:
            loop.call_soon(again)

    loop.call_soon(again)
    loop.call_soon(lambda: loop.call_later(0.05, ended.set))
    came = ended.wait(10.0)
    running[0] = False
    assert came


def test_a_failing_callback_ends_nothing(loop: Loop) -> None:
    """One connection's trouble is not the others'."""
    loop.call_soon(lambda: 1 // 0)
    on(loop, lambda: None)


def letter(size: int = 1, lifetime: float = 60.0, told: list[Outcome] | None = None) -> Letter:
    return Letter(HERE, b"x" * size, lifetime, None if told is None else told.append)


def test_outbox_is_bounded_in_bytes() -> None:
    """Beyond the limit nothing is taken, unless it waits long enough for room; one letter always fits."""
    outbox = Outbox(4_000)
    assert outbox.put(letter(100_000))
    assert not outbox.put(letter())
    (sent,) = outbox.take()
    outbox.done(sent, Outcome.TAKEN)
    for _ in range(6):
        assert outbox.put(letter(100))
    assert not outbox.put(letter(500))
    threading.Timer(0.1, lambda: [outbox.done(one, Outcome.TAKEN) for one in outbox.take()]).start()
    assert outbox.put(letter(500), timeout=10.0)


def test_events_leave_room_for_answers() -> None:
    """However many wait for a slow broker, half of the room is for what somebody waits for."""
    outbox = Outbox(10_000)
    while outbox.put(letter(100, told=[])):
        pass
    assert outbox.weight <= 5_000
    assert outbox.put(letter(4_000))


def test_outbox_drops_what_is_too_old() -> None:
    """Who waits for the outcome is told, and the room is free."""
    outbox, told = Outbox(10_000), list[Outcome]()
    outbox.put(letter(lifetime=0.01, told=told))
    outbox.put(letter())
    time.sleep(0.02)
    assert len(outbox.take()) == 1
    assert told == [Outcome.UNSENT]
    assert outbox.weight == letter().weight


def test_outbox_without_a_connection() -> None:
    """Sure letters go back to who waits for their outcome; the others stay for the next connection."""
    outbox, told = Outbox(10_000), list[Outcome]()
    for number in range(4):
        outbox.put(letter(told=told if number % 2 else None))
    outbox.drop_sure()
    assert told == [Outcome.UNSENT, Outcome.UNSENT]
    assert len(outbox.take()) == 2


def test_closed_outbox_lets_nobody_wait() -> None:
    """At the end whoever waits for room goes on at once."""
    outbox = Outbox(1_000)
    outbox.put(letter(900))
    threading.Timer(0.1, outbox.close).start()
    begun = time.monotonic()
    assert not outbox.put(letter(900), timeout=30.0)
    assert time.monotonic() - begun < 20.0
