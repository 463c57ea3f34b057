"""Rates of what the parties of connections may do: token buckets, and the queues of what has to wait."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Final, Generic, Protocol, TypeVar

from vdsm_http.timers import TICK, Timers

#: Parties above which those with a full bucket are forgotten.
_MANY: Final = 1_024


class Pace:
    """A rate of events for each party. A second's worth can be used at once. Only the loop uses it.

    :param rate: returns the events per second in force; 0 is no limit
    :param clock: seconds, monotonic
    """

    def __init__(self, rate: Callable[[], float], clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._clock = clock
        #: By party: tokens that were left, and when.
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, party: str) -> bool:
        """Count an event. Return False, without counting it, if it is too early."""
        rate = self._rate()
        if not rate:
            return True
        now = self._clock()
        most = max(1.0, rate)
        bucket = self._buckets.get(party)
        if bucket is None:
            self._forget(now, most / rate)
            bucket = most, now
        tokens = min(most, bucket[0] + (now - bucket[1]) * rate)
        enough = tokens >= 1
        self._buckets[party] = tokens - enough, now
        return enough

    def _forget(self, now: float, refill: float) -> None:
        if len(self._buckets) >= _MANY:
            fresh = {party: bucket for party, bucket in self._buckets.items() if now - bucket[1] < refill}
            self._buckets = fresh


class Paced(Protocol):
    """A connection that waits for its turn; `party` is the share it counts for."""

    party: str

    @property
    def closed(self) -> bool:
        """Whether it ended while it waited."""


T = TypeVar("T", bound=Paced)


class Delay(Generic[T]):
    """Connections that wait because their party is too quick, in order. Only the loop uses it.

    :param pace: how often a party may go on
    :param go: goes on with a connection
    :param served: called with a party of which none waits any more
    """

    closed = False

    def __init__(
        self,
        timers: Timers,
        pace: Pace,
        go: Callable[[T], None],
        served: Callable[[str], None] = lambda _party: None,
    ) -> None:
        self._timers = timers
        self._pace = pace
        self._go = go
        self._served = served
        self.deadline = 0.0
        self.tick = 0
        self._early: dict[str, deque[T]] = {}

    def add(self, item: T) -> bool:
        """Go on with a connection, or let it wait. Return whether it waits."""
        if item.party not in self._early and self._pace.take(item.party):
            self._go(item)
            return False
        if not self._early:
            self._look_later()
        self._early.setdefault(item.party, deque()).append(item)
        return True

    def expired(self, _now: float) -> None:
        """Go on with the connections that may by now."""
        for party, early in list(self._early.items()):
            while early and (early[0].closed or self._pace.take(party)):
                item = early.popleft()
                if not item.closed:
                    self._go(item)
            if not early:
                del self._early[party]
                self._served(party)
        if self._early:
            self._look_later()

    def end(self) -> None:
        """Let none wait any longer."""
        early, self._early = self._early, {}
        for party, items in early.items():
            for item in items:
                if not item.closed:
                    self._go(item)
            self._served(party)

    def _look_later(self) -> None:
        self.deadline = time.monotonic() + TICK
        self._timers.add(self)
