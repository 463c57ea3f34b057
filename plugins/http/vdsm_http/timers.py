"""Deadlines of many connections: setting one costs an attribute, each tick looks at what may be due."""

from __future__ import annotations

import heapq
import math
from typing import Final, Protocol

#: Seconds of one tick: how late a deadline may be noticed.
TICK: Final = 0.1


class Timed(Protocol):
    """An object with a deadline, on the clock of `time.monotonic`; infinity is none."""

    deadline: float
    tick: int

    @property
    def closed(self) -> bool:
        """Whether it needs no deadline any more."""

    def expired(self, now: float) -> None:
        """Handle the passed deadline."""


class Timers:
    """A timer wheel. A deadline that was moved to a later time is moved at its old tick.

    After moving a deadline to an earlier time, call `add` again. Only one thread at a time may use the wheel,
    except for `discard`.
    """

    def __init__(self) -> None:
        self._slots: dict[int, set[Timed]] = {}
        self._ticks: list[int] = []

    def add(self, item: Timed) -> None:
        """Add an item; it expires at its deadline."""
        tick = 0 if item.deadline == math.inf else int(item.deadline / TICK) + 1
        if item.tick == tick:
            return
        self.discard(item)
        if not tick:
            return
        item.tick = tick
        slot = self._slots.get(tick)
        if slot is None:
            self._slots[tick] = {item}
            heapq.heappush(self._ticks, tick)
        else:
            slot.add(item)

    def discard(self, item: Timed) -> None:
        """Forget an item, so that it can go before its deadline. Any thread may call this for its own."""
        slot = self._slots.get(item.tick)
        item.tick = 0
        if slot is not None:
            slot.discard(item)

    def wait(self, now: float) -> float | None:
        """Return the seconds until the next tick with items, None if there is none."""
        return max(0.0, self._ticks[0] * TICK - now) if self._ticks else None

    def run(self, now: float) -> None:
        """Let the items expire whose deadlines have passed."""
        while self._ticks and self._ticks[0] * TICK <= now:
            tick = heapq.heappop(self._ticks)
            for item in list(self._slots.pop(tick)):
                # An item that was added again for an earlier tick was looked at there.
                if item.closed or item.tick != tick:
                    continue
                item.tick = 0
                if item.deadline > now:
                    self.add(item)
                else:
                    item.expired(now)
