"""The event bus: numbers the events of the host, writes them to the journal, and delivers them.

Publishing waits neither for the disk nor for a subscriber. One thread takes published events in batches,
numbers them, appends them to the journal, and delivers them only then, so that every event that a subscriber
has seen survives the daemon. The newest events are kept in memory: subscribers that are up to date never read
from the disk. Another thread forces the journal to the disk periodically, without delaying events.
"""

from __future__ import annotations

import functools
import logging
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from vdsm_core import types
from vdsm_core.database import Damaged
from vdsm_core.deprecated import warn_of_argument
from vdsm_core.errors import Unavailable
from vdsm_core.events.journal import Journal
from vdsm_core.events.subscription import Subscription
from vdsm_core.events.vocabulary import GAP_ID, Event, EventParams, Gap, compile_pattern, event_id, may_match

log = logging.getLogger(__name__)

#: Limit of the events written in one transaction.
_BATCH: Final = 500
#: Limit of the events that wait for the journal; further ones are dropped, and announced as a gap.
_MAX_PENDING: Final = 100_000
_NOT_HELD: Final = "the journal does not hold these events (any more)"

#: Returns current states: each object's id with an event of its state. It is called with a function that puts
#: a barrier among the events; see `EventBus.provide`.
Provider = Callable[[Callable[[], None]], list[tuple[str, EventParams]]]


class _Pending(NamedTuple):
    """An event that has no number yet; `encoded` are its parameters as JSON."""

    object_id: str
    name: str
    time: float
    params: dict[str, Any]
    encoded: bytes


class _Barrier:
    """A point among the events; once `passed` is set, `seq` is the number of the last event before it."""

    def __init__(self) -> None:
        self.passed = threading.Event()
        self.seq = 0


class EventBus:
    """Publishes, keeps and replays events.

    :param recent: events kept in memory
    :param sync_interval: seconds after which events are forced to the disk
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
        self._urgent: deque[_Pending | _Barrier] = deque()
        self._bulk: dict[str, list[_Pending]] = {}
        self._pending_count = 0
        self._lost = 0
        self._taken = self._written = 0
        self._subscriptions: set[Subscription] = set()
        self._providers: dict[tuple[str, ...], Provider] = {}
        self._failing = False
        self._stopping = False
        self._ended = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Open the journal and begin writing.

        :raises ConfigError: the journal cannot be used
        """
        self._journal.open()
        self._last = self._journal.next - 1
        self._threads = [
            threading.Thread(target=self._run, name="events", daemon=True),
            threading.Thread(target=self._keep_synced, name="events-sync", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Write pending events, end every subscription, close the journal."""
        with self._pending:
            self._stopping = True
            self._pending.notify_all()
        self._ended.set()
        for thread in self._threads:
            thread.join(10.0)
        for subscription in list(self._subscriptions):
            subscription.close()
        self._journal.close()

    def publish(self, params: EventParams, object_id: str = "") -> None:
        """Publish an event. Returns at once; a thread of the bus writes and delivers it.

        :raises TypeError: the parameters cannot be written as JSON
        """
        kind = type(params)
        name = event_id(kind.component, kind.operation, object_id)
        plain = types.builtins(params)
        try:
            encoded = msgspec.json.encode(plain)
        except UnicodeEncodeError as error:
            raise TypeError(f"{name}: {error}") from error
        entry = _Pending(object_id, name, time.time(), plain, encoded)
        with self._pending:
            if self._pending_count >= _MAX_PENDING:
                self._lost += 1
                return
            if kind.bulk:
                self._bulk.setdefault(object_id, []).append(entry)
            else:
                # Keep the order of the events about one object.
                if self._bulk and object_id in self._bulk:
                    self._urgent += self._bulk.pop(object_id)
                self._urgent.append(entry)
            self._pending_count += 1
            self._pending.notify()

    def subscribe(
        self,
        pattern: str | Sequence[str] = "",
        after: int | None = None,
        known_seq: dict[str, int] | None = None,
        *,
        floors: dict[str, int] | None = None,
        allowed: Callable[[Event], bool] | None = None,
    ) -> Subscription:
        """Subscribe to the events whose id matches `pattern`, or one of several; see `compile_pattern`.

        :param after: also deliver events with higher numbers; those that are gone are announced as a gap
        :param known_seq: from `snapshot`: per kind, the number up to which the states contain its events
        :param floors: deprecated: `known_seq`, as earlier releases named it
        :param allowed: returns whether the subscriber may see an event; None: every event
        """
        if floors is not None:
            warn_of_argument("EventBus.subscribe", "floors")
            known_seq = floors
        last = self._last
        subscription = Subscription(
            self,
            pattern,
            last if after is None else min(after, last),
            self._subscriptions.discard,
            known_seq,
            allowed=allowed,
        )
        if after is not None and after > last:
            reason = "the journal was begun anew after these events"
            subscription.announce(_gap(last + 1, after, reason, seq=last))
        self._subscriptions.add(subscription)
        return subscription

    def provide(self, component: str, operations: Sequence[str], provider: Provider) -> Callable[[], None]:
        """Offer the current states behind some kinds of events, none of which may be `bulk`.

        The provider is called with a function that puts a barrier among the events. It must lock its states
        and the publishing of their changes, call that function, which returns at once, read the states, and
        unlock.

        :param operations: those whose events report changes of the states
        :returns: a function that withdraws the provider
        """
        kinds = (component, *operations)
        self._providers[kinds] = provider
        return lambda: self._withdraw(kinds, provider)

    def snapshot(
        self, pattern: str | Sequence[str] = "", timeout: float = 10.0
    ) -> tuple[dict[str, int], list[Event]]:
        """Return the current states behind the events that match, as events, each with the number it is as
        of.

        :returns: the number per kind of event (`|component|operation|`), for `subscribe`; and the states
        :raises Unavailable: earlier events were not written within `timeout` seconds
        """
        matches = compile_pattern(pattern)
        known_seq: dict[str, int] = {}
        states: list[Event] = []
        for (component, *operations), provider in sorted(self._providers.items()):
            if not any(may_match(pattern, component, operation) for operation in operations):
                continue
            barrier = _Barrier()
            found = provider(functools.partial(self._put_barrier, barrier))
            if not barrier.passed.wait(timeout):
                raise Unavailable(reason=f"the event journal has been blocked for {timeout:.1f} s")
            known_seq |= {f"|{component}|{operation}|": barrier.seq for operation in operations}
            states += [
                Event(seq=barrier.seq, id=name, time=time.time(), params=types.builtins(params))
                for object_id, params in found
                if matches(name := event_id(params.component, params.operation, object_id))
            ]
        return known_seq, states

    def flush(self, timeout: float = 10.0) -> int:
        """Wait until every event published so far can be read; return the number of the last one."""
        with self._pending:
            wanted = self._taken + self._pending_count
        with self.changed:
            self.changed.wait_for(lambda: self._written >= wanted or self._stopping, timeout)
            return self._last

    @property
    def last(self) -> int:
        """The number of the newest event that can be delivered."""
        return self._last

    @property
    def first(self) -> int:
        """The number of the oldest event that is still kept."""
        return self._journal.first

    @property
    def subscriptions(self) -> int:
        """The number of subscriptions."""
        return len(self._subscriptions)

    def read(self, after: int, limit: int) -> list[Event]:
        """Return events with numbers above `after`, in order, with a gap where numbers are missing."""
        if after > self._last:
            return []
        recent = self._recent
        if recent and recent[0].seq <= after + 1:
            # Within one run of the daemon the numbers have no holes: the offset follows from the number.
            start = after + 1 - recent[0].seq
            found = recent[start : start + limit]
            if found and found[0].seq == after + 1 and found[-1].seq - after == len(found):
                return found
        last = self._last
        found = [event for event in self._read_journal(after, limit) if event.seq <= last]
        return _with_gaps(after, found, last if len(found) < limit else None)

    def _read_journal(self, after: int, limit: int) -> list[Event]:
        """Read from the journal; a damaged or closed one has no events, which makes a gap."""
        generation = self._journal.generation
        try:
            return self._journal.read(after, limit)
        except (sqlite3.Error, msgspec.DecodeError, ValueError, TypeError) as error:
            self._repair(error, generation)
            return []

    def _repair(self, error: Exception, generation: int) -> None:
        """Begin a new journal if this one is damaged or gone."""
        try:
            if self._journal.repair(error, generation):
                return
        except (sqlite3.Error, OSError, Damaged) as second:
            error = second
        self._failed(error)

    def _withdraw(self, kinds: tuple[str, ...], provider: Provider) -> None:
        if self._providers.get(kinds) is provider:
            del self._providers[kinds]

    def _put_barrier(self, barrier: _Barrier) -> None:
        with self._pending:
            self._urgent.append(barrier)
            self._pending_count += 1
            self._pending.notify()

    def _run(self) -> None:
        while True:
            batch, lost = self._take()
            try:
                if batch or lost:
                    self._write(batch, lost)
            except Exception as error:
                # A bug must not end the delivery of events; the numbers of this batch are a gap.
                log.exception("Cannot write events")
                self._give_up(batch, lost + sum(isinstance(entry, _Pending) for entry in batch), error)
            if self._stopping and not batch:
                return

    def _keep_synced(self) -> None:
        while not self._ended.wait(self._sync_interval):
            generation = self._journal.generation
            try:
                self._journal.sync()
            except (sqlite3.Error, OSError, Damaged) as error:
                self._repair(error, generation)

    def _take(self) -> tuple[list[_Pending | _Barrier], int]:
        with self._pending:
            self._pending.wait_for(lambda: self._pending_count or self._lost or self._stopping)
            batch = [self._urgent.popleft() for _ in range(min(_BATCH, len(self._urgent)))]
            while self._bulk and len(batch) < _BATCH:
                object_id, waiting = next(iter(self._bulk.items()))
                room = _BATCH - len(batch)
                batch += waiting[:room]
                if len(waiting) > room:
                    self._bulk[object_id] = waiting[room:]
                else:
                    del self._bulk[object_id]
            self._pending_count -= len(batch)
            self._taken += len(batch)
            lost, self._lost = self._lost, 0
            return batch, lost

    def _write(self, batch: list[_Pending | _Barrier], lost: int) -> None:
        """Number, write and deliver a batch. The numbers of lost events precede it: they are a gap."""
        count = sum(isinstance(entry, _Pending) for entry in batch)
        generation = self._journal.generation
        try:
            first = self._journal.take_numbers(lost + count)
        except (sqlite3.Error, OSError) as error:
            self._repair(error, generation)
            self._give_up(batch, lost + count, error)
            return
        events, barriers = _number(batch, first + lost)
        try:
            if events or lost:
                self._journal.append(events)
            self._recovered()
        except sqlite3.Error as error:
            # Deliver to present subscribers all the same; later ones get a gap.
            self._repair(error, generation)
        except OSError as error:
            self._journal.give_back(first)
            self._give_up(batch, lost + count, error)
            return
        with self.changed:
            self._remember([event for event, _ in events])
            self._last = first + lost + count - 1
            self._written = self._taken
            self.changed.notify_all()
        for barrier, seq in barriers:
            barrier.seq = seq
            barrier.passed.set()

    def _give_up(self, batch: list[_Pending | _Barrier], lost: int, error: Exception) -> None:
        """Drop the batch: numbers could not be reserved. The gap is announced with the next event."""
        self._failed(error)
        with self._pending:
            self._lost += lost
        with self.changed:
            self._written = self._taken
            self.changed.notify_all()
        for barrier in batch:
            if isinstance(barrier, _Barrier):
                barrier.seq = self._last
                barrier.passed.set()
        self._ended.wait(self._sync_interval)

    def _failed(self, error: Exception) -> None:
        if not self._failing:
            log.error(
                "Cannot write the event journal: %s. Until it can be written, events are not kept", error
            )
        self._failing = True

    def _recovered(self) -> None:
        if self._failing:
            log.warning("The journal can be written again")
        self._failing = False

    def _remember(self, events: list[Event]) -> None:
        recent = self._recent
        if events and recent and recent[-1].seq + 1 != events[0].seq:
            recent = []  # a hole: earlier events are read from the journal, with a gap
        elif len(recent) >= 2 * self._keep:
            recent = recent[-self._keep :]
        # Readers slice this list without a lock: it grows in place, and is replaced to shrink.
        recent.extend(events)
        self._recent = recent


def _number(
    batch: list[_Pending | _Barrier], number: int
) -> tuple[list[tuple[Event, bytes]], list[tuple[_Barrier, int]]]:
    """Number events from `number` on; return them, and each barrier with the number before it."""
    events: list[tuple[Event, bytes]] = []
    barriers: list[tuple[_Barrier, int]] = []
    for entry in batch:
        if isinstance(entry, _Barrier):
            barriers.append((entry, number - 1))
            continue
        event = Event(seq=number, id=entry.name, time=entry.time, params=entry.params)
        events.append((event, entry.encoded))
        number += 1
    return events, barriers


def _with_gaps(after: int, events: list[Event], last: int | None) -> list[Event]:
    """Insert a gap wherever numbers are missing; up to `last` if no further events exist."""
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
