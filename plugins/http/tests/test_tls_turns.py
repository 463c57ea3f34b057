"""Handshakes take turns: a few between two looks at other connections, and callers one after the other."""

from __future__ import annotations

from typing import Any

import pytest

from vdsm_bridge.testing import Clock
from vdsm_http.pace import Pace
from vdsm_http.tls.turns import Turns


class Loop:
    """Remembers what wants to go on."""

    def __init__(self) -> None:
        self.wanting: list[Any] = []
        self.timers = self
        self.later: list[Any] = []

    def again(self, what: Any) -> None:
        self.wanting.append(what)

    def add(self, what: Any) -> None:
        self.later.append(what)


class Step:
    """A handshake that notes when its turn was."""

    def __init__(self, party: str, done: list[str], error: Exception | None = None) -> None:
        self.party = party
        self.begun = False
        self.closed = False
        self._done = done
        self._error = error

    def take_turn(self) -> None:
        self._done.append(self.party)
        if self._error is not None:
            raise self._error


@pytest.fixture
def loop() -> Loop:
    """A loop that a test turns by hand."""
    return Loop()


@pytest.fixture
def turns(loop: Loop) -> Turns:
    """Turns on that loop, without a limit of their rate."""
    return Turns(loop, Pace(lambda: 0.0))  # type: ignore[arg-type]


def look(loop: Loop) -> int:
    """Let go on what wants to. Return how many that were."""
    wanting, loop.wanting = loop.wanting, []
    for what in wanting:
        what.ready(0)
    return len(wanting)


def test_a_few_at_a_time(loop: Loop, turns: Turns) -> None:
    """Between two looks at other connections four have their turn, and none is forgotten."""
    done: list[str] = []
    for _ in range(10):
        turns.add(Step("a", done))
    counts = []
    while look(loop):
        counts.append(len(done))
    assert counts == [4, 8, 10]
    turns.add(Step("a", done))
    assert look(loop) == 1
    assert len(done) == 11


def test_callers_one_after_the_other(loop: Loop, turns: Turns) -> None:
    """Who comes late with one handshake does not wait for all of those who came with many."""
    done: list[str] = []
    for _ in range(20):
        turns.add(Step("many", done))
    look(loop)
    for party in ("few", "other", "few"):
        turns.add(Step(party, done))
    while look(loop):
        pass
    assert done[4:10] == ["many", "few", "other", "many", "few", "many"]
    assert len(done) == 23


def test_one_that_fails(loop: Loop, turns: Turns) -> None:
    """A handshake that raises, which is a bug, does not keep the others from their turn."""
    done: list[str] = []
    turns.add(Step("a", done, ValueError("a bug")))
    turns.add(Step("b", done))
    with pytest.raises(ValueError, match="a bug"):
        look(loop)
    while look(loop):
        pass
    assert done == ["a", "b"]


def test_too_many_wait(loop: Loop) -> None:
    """Handshakes beyond the rate of a party wait in their order; those of others, or begun, do not."""
    clock = Clock()
    turns = Turns(loop, Pace(lambda: 2.0, clock))  # type: ignore[arg-type]
    done: list[str] = []
    steps = [Step("many", done) for _ in range(6)]
    for step in steps:
        turns.add(step)
    turns.add(Step("few", done))
    while look(loop):
        pass
    assert done == ["many", "few", "many"]
    steps[0].begun = True
    turns.add(steps[0])
    while look(loop):
        pass
    assert len(done) == 4
    steps[2].closed = True
    clock.move(1.0)
    assert len(loop.later) == 1
    loop.later[0].expired(0.0)
    while look(loop):
        pass
    assert done[4:] == ["many", "many"], "the one that was closed takes no part of the rate"
    assert len(loop.later) == 2
    clock.move(1.0)
    loop.later[1].expired(0.0)
    while look(loop):
        pass
    assert len(done) == 7
    assert len(loop.later) == 2, "nothing waits any more"
