"""A subscription: a place in the stream of events, and a pattern."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from vdsm_core.events.vocabulary import Event, compile_pattern

#: Events looked at in one go while a subscriber catches up.
_CHUNK = 1_000


class Source(Protocol):
    """What a subscription reads from."""

    changed: threading.Condition

    @property
    def last(self) -> int:
        """The number of the newest event that may be delivered."""

    def read(self, after: int, most: int) -> list[Event]:
        """Events with numbers above `after`, in order, a gap among them where some are missing."""


class Subscription:
    """The events that match a pattern, in order. Iterate with `next`, end with `close`.

    It holds no events of its own, only a place: a subscriber that is slow costs nobody anything, and reads on
    from the journal. What the journal has dropped meanwhile comes as a gap.

    :param after: deliver what has a higher number
    :param floors: per kind of event (`|component|operation|`), the number up to which the subscriber knows it
        already, from a snapshot
    """

    def __init__(
        self,
        source: Source,
        pattern: str | Sequence[str],
        after: int,
        forget: Callable[[Subscription], None],
        floors: Mapping[str, int] | None = None,
    ) -> None:
        #: The number up to which everything that matches has been delivered.
        self.place = after
        self._source = source
        self._matches = compile_pattern(pattern)
        self._forget = forget
        self._floors = dict(floors or {})
        self._lock = threading.Lock()
        self._first: list[Event] = []
        self._closed = False

    def announce(self, event: Event) -> None:
        """Deliver an event before all others."""
        self._first.append(event)

    def next(
        self, timeout: float | None = None, most: int = 100, give_up: Callable[[], bool] = lambda: False
    ) -> list[Event]:
        """Wait for events, return those there are; an empty list after `timeout` seconds or `close`.

        :param give_up: ends the waiting once it is true; looked at when something happens, and after `wake`
        """
        end = None if timeout is None else time.monotonic() + timeout
        # One at a time; whoever comes while another waits has its own patience.
        if not self._lock.acquire(timeout=-1 if timeout is None else timeout):
            return []
        try:
            while not self._closed:
                found = self._scan(most)
                if found or not self._wait(end, give_up):
                    return found
        finally:
            self._lock.release()
        return []

    def close(self) -> None:
        """End the subscription; a waiting `next` returns."""
        self._closed = True
        self.wake()
        self._forget(self)

    def wake(self) -> None:
        """Let a waiting `next` see whether it shall give up."""
        with self._source.changed:
            self._source.changed.notify_all()

    @property
    def steady(self) -> int:
        """The number from which on a resumption misses nothing that a snapshot has promised.

        Each kind's states are true at a number of their own; between these, only whoever knows the floors
        can go on.
        """
        return max(self._floors.values(), default=0)

    @property
    def closed(self) -> bool:
        """Whether it has ended."""
        return self._closed

    def _scan(self, most: int) -> list[Event]:
        found, self._first = self._first, []
        while not found and self.place < self._source.last:
            events = self._source.read(self.place, _CHUNK)
            if not events:
                break
            for event in events:
                if self._wanted(event):
                    found.append(event)
                self.place = event.seq
                if len(found) == most:
                    break
        return found

    def _wanted(self, event: Event) -> bool:
        if event.is_gap:
            return True
        if not self._matches(event.id):
            return False
        if self._floors:
            kind = event.id[: event.id.index("|", event.id.index("|", 1) + 1) + 1]
            return event.seq > self._floors.get(kind, 0)
        return True

    def _wait(self, end: float | None, give_up: Callable[[], bool]) -> bool:
        """Wait for something new; False once the time is over or there is no use in waiting."""
        changed = self._source.changed
        with changed:
            happened = changed.wait_for(
                lambda: self._closed or self.place < self._source.last or give_up(),
                None if end is None else max(0.0, end - time.monotonic()),
            )
            return happened and not give_up()
