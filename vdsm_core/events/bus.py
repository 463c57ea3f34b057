"""The event bus: takes events from all over the host, gives them numbers, writes them, tells subscribers.

Publishing never waits: not for the disk, not for a subscriber. One thread takes what was published, in
batches: gives numbers, appends to the journal, and only then lets subscribers see it, so that whatever a
subscriber has seen survives the daemon. The newest events are kept in
memory, so that subscribers who are up to date never read from the disk.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from vdsm_core import types
from vdsm_core.events.journal import Journal
from vdsm_core.events.subscription import Subscription
from vdsm_core.events.vocabulary import GAP_ID, Event, EventParams, Gap, compile_pattern, event_id

log = logging.getLogger(__name__)

#: Events written in one transaction at the most.
_BATCH: Final = 500
#: Events that may wait for the journal; beyond that the disk is too slow, and the oldest are given up.
_MOST_PENDING: Final = 100_000
_NOT_HELD: Final = "the journal does not hold these events (any more)"

#: Current states of objects: called with a barrier (see `EventBus.provide`), gives the number at which they
#: are true, and each object's id with the event that would say so.
Provider = Callable[[Callable[[], int]], tuple[int, list[tuple[str, EventParams]]]]
_Pending = tuple[str, str, float, dict[str, Any]]


class EventBus:
    """Publishes, keeps and replays events.

    :param recent: events kept in memory
    :param sync_interval: seconds after which events are forced to the disk at the latest
    """

    def __init__(self, journal: Journal, *, recent: int = 10_000, sync_interval: float = 1.0) -> None:
        self._journal = journal
        self._keep = recent
        self._sync_interval = sync_interval
        #: Notified when there is something new to read.
        self.changed = threading.Condition()
        self._recent: list[Event] = []
        self._last = 0
        self._pending = threading.Condition()
        self._urgent: list[_Pending] = []
        self._bulk: dict[str, list[_Pending]] = {}
        self._waiting = 0
        self._lost = 0
        self._taken = self._written = 0
        self._subscriptions: set[Subscription] = set()
        self._providers: dict[tuple[str, str], Provider] = {}
        self._unsynced = False
        self._stopping = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Open the journal and begin to write.

        :raises ConfigError: the journal cannot be used
        """
        self._journal.open()
        self._last = self._journal.next - 1
        self._thread = threading.Thread(target=self._run, name="events", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Write what is pending, end every subscription, close the journal."""
        with self._pending:
            self._stopping = True
            self._pending.notify_all()
        if self._thread is not None:
            self._thread.join(10.0)
        for subscription in list(self._subscriptions):
            subscription.close()
        self._journal.close()

    def publish(self, params: EventParams, object_id: str = "") -> None:
        """Tell every subscriber, soon. Cheap; waits for nothing."""
        kind = type(params)
        name = event_id(kind.component, kind.operation, object_id)
        entry = (object_id, name, time.time(), types.builtins(params))
        with self._pending:
            if self._waiting >= _MOST_PENDING:
                self._lost += 1
                return
            if kind.bulk:
                self._bulk.setdefault(object_id, []).append(entry)
            else:
                # What was said of the same object before must not come after.
                if self._bulk and object_id in self._bulk:
                    self._urgent += self._bulk.pop(object_id)
                self._urgent.append(entry)
            self._waiting += 1
            self._pending.notify()

    def subscribe(
        self, pattern: str = "", after: int | None = None, floors: dict[str, int] | None = None
    ) -> Subscription:
        """Subscribe to the events whose id matches `pattern`; see `compile_pattern`.

        :param after: also deliver what came after this number; what is gone is announced as a gap
        :param floors: from `snapshot`: what of each kind is known already
        """
        last = self._last
        subscription = Subscription(
            self, pattern, last if after is None else min(after, last), self._subscriptions.discard, floors
        )
        if after is not None and after > last:
            reason = "the journal is younger than that: it was begun anew"
            subscription.announce(_gap(last + 1, after, reason, seq=last))
        self._subscriptions.add(subscription)
        return subscription

    def provide(self, component: str, operation: str, provider: Provider) -> Callable[[], None]:
        """Offer the current states behind one kind of event.

        The provider is called with a barrier: it must keep its states from changing, call the barrier, which
        gives the number of the last event about a change so far, read the states, and let go.

        :returns: a function that takes the offer back
        """
        self._providers[component, operation] = provider
        return lambda: self._withdraw((component, operation), provider)

    def snapshot(self, pattern: str = "") -> tuple[dict[str, int], list[Event]]:
        """The current states behind the events that match, as events, each with the number it is true at.

        :returns: the number per kind of event (`|component|operation|`), for `subscribe`; and the states
        """
        matches = compile_pattern(pattern)
        floors: dict[str, int] = {}
        states: list[Event] = []
        for (component, operation), provider in sorted(self._providers.items()):
            seq, found = provider(self.flush)
            floors[f"|{component}|{operation}|"] = seq
            states += [
                Event(seq=seq, id=name, time=time.time(), params=types.builtins(params))
                for object_id, params in found
                if matches(name := event_id(component, operation, object_id))
            ]
        return floors, states

    def flush(self, timeout: float = 10.0) -> int:
        """Wait until everything published so far can be read; the number of the last event."""
        with self._pending:
            wanted = self._taken + self._waiting
        with self.changed:
            self.changed.wait_for(lambda: self._written >= wanted or self._stopping, timeout)
            return self._last

    @property
    def last(self) -> int:
        """The number of the newest event that subscribers may see."""
        return self._last

    @property
    def first(self) -> int:
        """The number of the oldest event that is still kept."""
        return self._journal.first

    @property
    def subscriptions(self) -> int:
        """How many subscriptions there are."""
        return len(self._subscriptions)

    def read(self, after: int, most: int) -> list[Event]:
        """Events with numbers above `after`, in order, a gap among them where numbers are missing."""
        if after > self._last:
            return []
        recent = self._recent
        if recent and recent[0].seq <= after + 1:
            # Within one run of the daemon the numbers have no holes, so a number is a place.
            start = after + 1 - recent[0].seq
            found = recent[start : start + most]
            if found and found[0].seq == after + 1 and found[-1].seq - after == len(found):
                return found
        last = self._last
        found = [event for event in self._journal.read(after, most) if event.seq <= last]
        return _with_gaps(after, found, last if len(found) < most else None)

    def _withdraw(self, kind: tuple[str, str], provider: Provider) -> None:
        if self._providers.get(kind) is provider:
            del self._providers[kind]

    def _run(self) -> None:
        synced = time.monotonic()
        while True:
            batch, lost = self._take(synced + self._sync_interval)
            if batch or lost:
                self._write(batch, lost)
            if time.monotonic() >= synced + self._sync_interval:
                self._sync()
                synced = time.monotonic()
            if self._stopping and not batch:
                return

    def _take(self, until: float) -> tuple[list[_Pending], int]:
        with self._pending:
            while not (self._waiting or self._lost or self._stopping):
                # Without events there is nothing to force to the disk, and no hurry.
                if not self._pending.wait(max(0.0, until - time.monotonic()) if self._unsynced else 60.0):
                    return [], 0
            batch, self._urgent = self._urgent[:_BATCH], self._urgent[_BATCH:]
            while self._bulk and len(batch) < _BATCH:
                object_id = next(iter(self._bulk))
                batch += self._bulk.pop(object_id)
            self._waiting -= len(batch)
            self._taken += len(batch)
            lost, self._lost = self._lost, 0
            return batch, lost

    def _write(self, batch: list[_Pending], lost: int) -> None:
        try:
            first = self._journal.take_numbers(len(batch) + lost)
        except sqlite3.Error:
            log.exception("The journal cannot be written; %d events are lost", len(batch) + lost)
            with self._pending:
                self._lost += len(batch) + lost
            time.sleep(self._sync_interval)
            return
        events = [
            Event(seq=first + number, id=name, time=at, params=params)
            for number, (_object, name, at, params) in enumerate(batch)
        ]
        try:
            if events:
                self._journal.append(events)
        except sqlite3.Error:
            # The disk is full or broken: the host must go on. Their numbers are taken, so that subscribers
            # learn of the hole.
            log.exception("%d events cannot be written", len(events))
            events = []
        self._unsynced = True
        with self.changed:
            self._remember(events)
            self._last = first + len(batch) + lost - 1
            self._written = self._taken
            self.changed.notify_all()

    def _remember(self, events: list[Event]) -> None:
        recent = self._recent
        if events and recent and recent[-1].seq + 1 != events[0].seq:
            recent = []  # a hole: what comes before it is read from the journal, with a gap
        elif len(recent) >= 2 * self._keep:
            recent = recent[-self._keep :]
        # Readers slice this list without a lock: it only grows, and is replaced to shrink.
        recent.extend(events)
        self._recent = recent

    def _sync(self) -> None:
        try:
            self._journal.sync()
            self._unsynced = False
        except sqlite3.Error:
            log.exception("The journal cannot be forced to the disk")


def _with_gaps(after: int, events: list[Event], last: int | None) -> list[Event]:
    """Put a gap wherever numbers are missing; up to `last` if these are all events there are."""
    whole: list[Event] = []
    for event in events:
        if event.seq > after + 1:
            whole.append(_gap(after + 1, event.seq - 1))
        whole.append(event)
        after = event.seq
    if last is not None and last > after:
        whole.append(_gap(after + 1, last))
    return whole


def _gap(first: int, last: int, reason: str = _NOT_HELD, *, seq: int | None = None) -> Event:
    params = types.builtins(Gap(first=first, last=last, reason=reason))
    return Event(seq=last if seq is None else seq, id=GAP_ID, time=time.time(), params=params)
