"""A subscription: a position in the stream of events, and a pattern."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from vdsm_core.deprecated import warn_of_argument, warn_of_attribute
from vdsm_core.events.vocabulary import Event, compile_pattern

#: Events read at a time while a subscriber catches up.
_CHUNK = 1_000


class Source(Protocol):
    """The interface that a subscription reads events through."""

    changed: threading.Condition

    @property
    def last(self) -> int:
        """The number of the newest event that may be delivered."""

    def read(self, after: int, limit: int) -> list[Event]:
        """Return events with numbers above `after`, in order, with a gap where some are missing."""


class Subscription:
    """The events that match a pattern, in order. Iterate with `next`, end with `close`.

    It holds no events, only a position: a slow subscriber delays no other one and reads from the journal
    later. Events that the journal has dropped meanwhile are delivered as a gap.

    :param after: deliver events with higher numbers
    :param known_seq: per kind of event (`|component|operation|`), the number up to which a snapshot has
        delivered its effects already
    :param allowed: returns whether the subscriber may see an event; None: every event
    """

    def __init__(
        self,
        source: Source,
        pattern: str | Sequence[str],
        after: int,
        forget: Callable[[Subscription], None],
        known_seq: Mapping[str, int] | None = None,
        *,
        allowed: Callable[[Event], bool] | None = None,
    ) -> None:
        #: The number up to which every matching event has been delivered.
        self.position = after
        self._source = source
        self._matches = compile_pattern(pattern)
        self._forget = forget
        self._known_seq = dict(known_seq or {})
        self._allowed = allowed
        self._lock = threading.Lock()
        self._first: list[Event] = []
        self._closed = False

    def announce(self, event: Event) -> None:
        """Deliver an event before all others."""
        self._first.append(event)

    def next(
        self,
        timeout: float | None = None,
        max_events: int = 100,
        give_up: Callable[[], bool] = lambda: False,
        *,
        most: int | None = None,
    ) -> list[Event]:
        """Wait for events and return them; an empty list after `timeout` seconds or `close`.

        :param timeout: seconds; without it, until there are events
        :param give_up: ends the wait once it returns true; called at each new event and after `wake`
        :param most: deprecated: `max_events`, as earlier releases named it
        """
        if most is not None:
            warn_of_argument("Subscription.next", "most")
            max_events = most
        end = None if timeout is None else time.monotonic() + timeout
        # One reader at a time; the timeout of each includes the wait for the other.
        if not self._lock.acquire(timeout=-1 if timeout is None else timeout):
            return []
        try:
            while not self._closed:
                found = self._scan(max_events)
                if found or not self._wait(end, give_up):
                    return found
        finally:
            self._lock.release()
        return []

    def close(self) -> None:
        """End the subscription; a pending `next` returns."""
        self._closed = True
        self.wake()
        self._forget(self)

    def wake(self) -> None:
        """Make a pending `next` check its `give_up`."""
        with self._source.changed:
            self._source.changed.notify_all()

    @property
    def place(self) -> int:
        """Deprecated: `position`, as earlier releases named it."""
        warn_of_attribute("Subscription.place")
        return self.position

    @property
    def steady(self) -> int:
        """The lowest number after which a subscriber can resume without `known_seq`.

        The states of each kind are as of a number of their own. Resuming between these numbers would deliver
        changes again that the snapshot contains.
        """
        return max(self._known_seq.values(), default=0)

    @property
    def closed(self) -> bool:
        """Whether it has ended."""
        return self._closed

    def _scan(self, max_events: int) -> list[Event]:
        found, self._first = self._first, []
        while not found and self.position < self._source.last:
            events = self._source.read(self.position, _CHUNK)
            if not events:
                break
            for event in events:
                if self._wanted(event):
                    found.append(event)
                self.position = event.seq
                if len(found) == max_events:
                    break
        return found

    def _wanted(self, event: Event) -> bool:
        if event.is_gap:
            return True
        if not self._matches(event.id):
            return False
        if self._known_seq:
            kind = event.id[: event.id.index("|", event.id.index("|", 1) + 1) + 1]
            if event.seq <= self._known_seq.get(kind, 0):
                return False
        return self._allowed is None or self._allowed(event)

    def _wait(self, end: float | None, give_up: Callable[[], bool]) -> bool:
        """Wait for new events; return False after the timeout, and when `give_up` returns true."""
        changed = self._source.changed
        with changed:
            happened = changed.wait_for(
                lambda: self._closed or self.position < self._source.last or give_up(),
                None if end is None else max(0.0, end - time.monotonic()),
            )
            return happened and not give_up()
