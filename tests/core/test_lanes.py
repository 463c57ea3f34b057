"""Lanes: order, overtaking, deadlines, work in the background."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vdsm_core.errors import QueueDeadline
from vdsm_core.lanes import Lanes


@pytest.fixture
def lanes() -> Iterator[Lanes]:
    """Lanes that are closed when the test ends."""
    made = Lanes(workers=2)
    yield made
    made.close()


def until(condition: Callable[[], object]) -> None:
    """Wait for a condition."""
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


def test_turns_come_in_order_of_arrival(lanes: Lanes) -> None:
    """Of those who wait, the one who came first goes first."""
    order: list[int] = []

    def work(number: int) -> None:
        with lanes.turn("vm 1", f"call {number}"):
            order.append(number)

    with ThreadPoolExecutor(5) as pool, lanes.turn("vm 1", "first"):
        for number in range(5):
            pool.submit(work, number)
            until(lambda count=number + 2: len(lanes.snapshot()) == count)
        assert order == []
    assert order == [0, 1, 2, 3, 4]
    assert lanes.snapshot() == []


def test_other_lanes_are_not_waited_for(lanes: Lanes) -> None:
    """Different objects run in parallel, on one thread even."""
    with lanes.turn("vm 1", "a"), lanes.turn("vm 2", "b"):
        assert {call.lane for call in lanes.snapshot()} == {"vm 1", "vm 2"}


def test_overtaking(lanes: Lanes) -> None:
    """One that overtakes waits for nobody; who waits goes on only when it is over, too."""
    entered = threading.Event()

    def late() -> None:
        with lanes.turn("vm 1", "late"):
            entered.set()

    with ThreadPoolExecutor(1) as pool:
        with lanes.turn("vm 1", "destroy", overtake=True):
            with lanes.turn("vm 1", "destroy again", overtake=True):
                call = pool.submit(late)
                until(lambda: len(lanes.snapshot()) == 3)
            assert not entered.wait(0.05)
        call.result(10)
    assert entered.is_set()


def test_deadline_tells_place_and_holder(lanes: Lanes) -> None:
    """Who gives up learns its place, how long it waited, and what runs; those behind move up."""

    def pause() -> None:
        with lanes.turn("vm 1", "VM.pause"):
            pass

    soon = time.monotonic() + 0.05
    with ThreadPoolExecutor(1) as pool, lanes.turn("vm 1", "VM.create"):
        pool.submit(pause)
        until(lambda: len(lanes.snapshot()) == 2)
        with pytest.raises(QueueDeadline) as caught, lanes.turn("vm 1", "VM.reset", deadline=soon):
            pass
        facts = caught.value.facts
        assert (facts["lane"], facts["place"], facts["holder"]) == ("vm 1", 2, "VM.create")
        assert 0 < facts["waited"] < 5
        assert [(call.call, call.place) for call in lanes.snapshot()] == [("VM.create", 0), ("VM.pause", 1)]


def test_a_deadline_in_the_past(lanes: Lanes) -> None:
    """A free lane is taken all the same; a busy one is given up at once."""
    with lanes.turn("vm 1", "a", deadline=time.monotonic() - 1):
        with pytest.raises(QueueDeadline), lanes.turn("vm 1", "b", deadline=time.monotonic() - 1):
            pass
        assert len(lanes.snapshot()) == 1


def test_an_exception_gives_the_turn_back(lanes: Lanes) -> None:
    """A call that fails leaves the lane free."""
    with pytest.raises(ValueError), lanes.turn("vm 1", "a"):
        raise ValueError
    assert lanes.snapshot() == []


def test_going_on_in_the_background(lanes: Lanes) -> None:
    """Work that is handed over keeps the lane until it ends, under its own name."""
    goes_on, ended = threading.Event(), threading.Event()

    def work() -> None:
        assert goes_on.wait(10)
        ended.set()

    with lanes.turn("vm 1", "VM.create"):
        lanes.continue_in_background("vm 1", "launch", work)
    assert [(call.call, call.place) for call in lanes.snapshot()] == [("launch", 0)]
    with (
        pytest.raises(QueueDeadline, match="launch"),
        lanes.turn("vm 1", "b", deadline=time.monotonic() + 0.02),
    ):
        pass
    goes_on.set()
    with lanes.turn("vm 1", "c", deadline=time.monotonic() + 10):
        assert ended.is_set()


def test_background_work_that_fails(lanes: Lanes, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged with its name, and the lane is free again."""
    with lanes.turn("vm 1", "VM.create"):
        lanes.continue_in_background("vm 1", "launch", lambda: 1 / 0)
    until(lambda: not lanes.snapshot())
    assert "launch failed in the background of vm 1" in caplog.text


def test_only_the_holder_hands_over(lanes: Lanes) -> None:
    """A thread that holds no turn there cannot hand one over, nor hand the same one over twice."""
    with pytest.raises(RuntimeError, match="holds no turn"):
        lanes.continue_in_background("vm 1", "launch", lambda: None)
    with lanes.turn("vm 1", "a"):
        lanes.continue_in_background("vm 1", "launch", lambda: None)
        with pytest.raises(RuntimeError, match="holds no turn"):
            lanes.continue_in_background("vm 1", "launch", lambda: None)


def test_no_hand_over_after_the_end() -> None:
    """Once closed, the lanes take no work; the turn stays with its thread, and ends with it."""
    lanes = Lanes()
    lanes.close()
    with lanes.turn("vm 1", "a"), pytest.raises(RuntimeError):
        lanes.continue_in_background("vm 1", "launch", lambda: None)
    assert lanes.snapshot() == []


def test_closing_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    """Closing waits for background work, but no longer than it may, and names what is left."""
    lanes, ending = Lanes(), threading.Event()
    with lanes.turn("vm 1", "a"):
        lanes.continue_in_background("vm 1", "launch", lambda: ending.wait(10))
    began = time.monotonic()
    lanes.close(grace=0.1)
    assert time.monotonic() - began < 5
    assert "launch" in caplog.text
    ending.set()
    until(lambda: not lanes.snapshot())


def test_fifty_threads(lanes: Lanes) -> None:
    """Fifty threads on five lanes: never two in one lane, every call done."""
    inside: dict[str, int] = defaultdict(int)
    counts: dict[str, int] = defaultdict(int)
    faults: list[str] = []

    def work(number: int) -> None:
        lane = f"vm {number % 5}"
        for _ in range(10):
            with lanes.turn(lane, "work"):
                inside[lane] += 1
                if inside[lane] != 1:
                    faults.append(lane)
                counts[lane] += 1
                inside[lane] -= 1

    with ThreadPoolExecutor(50) as pool:
        list(pool.map(work, range(50)))
    assert (faults, dict(counts), lanes.snapshot()) == ([], {f"vm {n}": 100 for n in range(5)}, [])


@given(st.lists(st.tuples(st.sampled_from("ab"), st.booleans()), max_size=8))
@settings(max_examples=30, deadline=None)
def test_places_are_always_right(arrivals: list[tuple[str, bool]]) -> None:
    """Whatever comes: the snapshot numbers those that wait from 1, in order; leaving empties every lane."""
    lanes = Lanes()
    turns = [lanes._enter(lane, str(n), overtake=overtake) for n, (lane, overtake) in enumerate(arrivals)]
    for lane in "ab":
        calls = [call for call in lanes.snapshot() if call.lane == lane]
        waiting = [call for call in calls if call.place]
        assert [call.place for call in waiting] == list(range(1, len(waiting) + 1))
        assert [call.call for call in waiting] == sorted((call.call for call in waiting), key=int)
        assert not waiting or len(waiting) < len(calls)
    while any(granted := [turn for turn in turns if turn.granted]):
        lanes._leave(granted[0])
        turns.remove(granted[0])
    assert (turns, lanes.snapshot()) == ([], [])
    lanes.close()
