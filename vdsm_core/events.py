"""The event bus: what happens on the host, told to whoever subscribed.

Ids are VDSM's: `|component|operation|object`, for example `|virt|VM_status|<vmId>`. Every event has a
number; numbers grow and never repeat, across restarts too. A slow subscriber never slows the publisher:
its queue is bounded, and what did not fit is announced to it as one `Gap`.
"""

from __future__ import annotations

import re
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, ClassVar, Final

import msgspec

from vdsm_core.state import StateStore
from vdsm_core.types import Record

#: Numbers reserved in the state store at a time: a crash skips at most this many, and repeats none.
_BLOCK: Final = 10_000


class EventParams(Record, frozen=True):
    """Base of the typed parameters of an event; a subclass says which event it is.

    ::

        class LampBroke(EventParams, frozen=True):
            \"\"\"A lamp went dark.\"\"\"
            component: ClassVar[str] = "light"
            operation: ClassVar[str] = "broken"
            hours: int
    """

    component: ClassVar[str]
    operation: ClassVar[str]


class Event(Record, frozen=True):
    """One thing that happened. `time` is the Unix time in seconds."""

    seq: int
    id: str
    time: float
    params: Any


class Gap(Record, frozen=True):
    """Events `first` to `last` (numbers, inclusive) were lost to this subscriber: read the state anew."""

    first: int
    last: int
    reason: str


def event_id(component: str, operation: str, object_id: str) -> str:
    """The id of an event about one object. An event about no single object uses VDSM's `no_id`."""
    return f"|{component}|{operation}|{object_id or 'no_id'}"


def compile_pattern(pattern: str) -> Callable[[str], bool]:
    """A function that tells whether an event id matches.

    :param pattern: an event id in which `*` stands for any text within a part; missing parts match all;
        empty matches every event
    """
    parts = (pattern.strip("|").split("|") if pattern.strip("|") else []) + ["*"] * 3
    expression = r"\|".join("[^|]*".join(map(re.escape, part.split("*"))) for part in parts[:3])
    compiled = re.compile(rf"\|{expression}")
    return lambda candidate: compiled.fullmatch(candidate) is not None


class Subscription:
    """A bounded queue of the events that match a pattern. Iterate with `next`, end with `close`."""

    def __init__(self, pattern: str, limit: int, forget: Callable[[Subscription], None]) -> None:
        self.pattern = pattern
        self._matches = compile_pattern(pattern)
        self._limit = limit
        self._forget = forget
        self._queue: deque[Event | Gap] = deque()
        self._changed = threading.Condition()
        self._closed = False

    def offer(self, event: Event) -> None:
        """Take an event if it matches; never blocks."""
        if not self._matches(event.id):
            return
        with self._changed:
            last = self._queue[-1] if self._queue else None
            if isinstance(last, Gap) and len(self._queue) >= self._limit:
                self._queue[-1] = Gap(first=last.first, last=event.seq, reason=last.reason)
            elif len(self._queue) >= self._limit:
                self._queue.append(Gap(first=event.seq, last=event.seq, reason="the subscriber is too slow"))
            else:
                self._queue.append(event)
            self._changed.notify()

    def next(self, timeout: float | None = None, most: int = 100) -> list[Event | Gap]:
        """Wait for events, return those there are; an empty list after `timeout` seconds or `close`."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closed, timeout)
            return [self._queue.popleft() for _ in range(min(most, len(self._queue)))]

    def close(self) -> None:
        """End the subscription; a waiting `next` returns."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._forget(self)


class EventBus:
    """Publishes events to subscriptions, and keeps the newest ones for those who resume.

    :param history: events kept in memory
    """

    def __init__(self, state: StateStore, history: int = 10_000) -> None:
        self._state = state
        self._lock = threading.Lock()
        self._recent: deque[Event] = deque(maxlen=history)
        self._subscriptions: tuple[Subscription, ...] = ()
        self._next = 1
        self._reserved = 0

    def start(self) -> None:
        """Continue the numbers where any earlier run of the daemon may have got to."""
        self._state.migrate(
            "events", ["CREATE TABLE event_numbers (id INTEGER PRIMARY KEY CHECK (id = 1), reserved INTEGER)"]
        )
        rows = self._state.rows("SELECT reserved FROM event_numbers")
        self._reserved = rows[0][0] if rows else 0
        self._next = self._reserved + 1

    def publish(self, params: EventParams, object_id: str = "") -> Event:
        """Tell every subscriber. Cheap; never waits for one of them."""
        kind = type(params)
        name = event_id(kind.component, kind.operation, object_id)
        with self._lock:
            if self._next > self._reserved:
                self._reserve()
            event = Event(seq=self._next, id=name, time=time.time(), params=params)
            self._next += 1
            self._recent.append(event)
            # Under the lock, so that every subscriber sees the numbers in order.
            for subscription in self._subscriptions:
                subscription.offer(event)
        return event

    def subscribe(self, pattern: str = "", after: int | None = None, limit: int = 1_000) -> Subscription:
        """Subscribe to the events whose id matches `pattern`.

        :param after: also deliver what came after this number; what is gone is announced as a `Gap`
        :param limit: events that may wait for this subscriber
        """
        subscription = Subscription(pattern, limit, self._drop)
        with self._lock:
            if after is not None:
                self._replay(subscription, after)
            self._subscriptions += (subscription,)
        return subscription

    @property
    def last(self) -> int:
        """The number of the newest event."""
        return self._next - 1

    def _replay(self, subscription: Subscription, after: int) -> None:
        oldest = self._recent[0].seq if self._recent else self._next
        if after + 1 < oldest:
            gap = Gap(first=after + 1, last=oldest - 1, reason="these events are not kept any more")
            subscription._queue.append(gap)  # noqa: SLF001 - the bus fills a queue nobody else has yet
        for event in self._recent:
            if event.seq > after:
                subscription.offer(event)

    def _reserve(self) -> None:
        self._reserved = self._next - 1 + _BLOCK
        self._state.write("INSERT OR REPLACE INTO event_numbers VALUES (1, ?)", self._reserved)

    def _drop(self, subscription: Subscription) -> None:
        with self._lock:
            self._subscriptions = tuple(s for s in self._subscriptions if s is not subscription)


def event_types(root: type[msgspec.Struct] = EventParams) -> list[type[msgspec.Struct]]:
    """Every kind of event declared in this process, by id."""
    found = []
    for child in root.__subclasses__():
        if "operation" in vars(child):
            found.append(child)
        found += event_types(child)
    return sorted(found, key=lambda cls: (cls.component, cls.operation))  # type: ignore[attr-defined]
