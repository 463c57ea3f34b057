"""The event bus: takes events from all over the host, gives them numbers, writes them, tells subscribers.

Publishing never waits: not for the disk, not for a subscriber. One thread takes what was published, in
batches: gives numbers, appends to the journal, and only then lets subscribers see it, so that whatever a
subscriber has seen survives the daemon. The newest events are kept in
memory, so that subscribers who are up to date never read from the disk. Another thread forces the journal to
the disk now and then: however long that takes, events go on.
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
from vdsm_core.errors import Unavailable
from vdsm_core.events.journal import Journal
from vdsm_core.events.subscription import Subscription
from vdsm_core.events.vocabulary import GAP_ID, Event, EventParams, Gap, compile_pattern, event_id, may_match

log = logging.getLogger(__name__)

#: Events written in one transaction at the most.
_BATCH: Final = 500
#: Events that may wait for the journal; beyond that the disk is too slow, and the oldest are given up.
_MOST_PENDING: Final = 100_000
_NOT_HELD: Final = "the journal does not hold these events (any more)"

#: Current states of objects: called with a function that marks a place among the events (see
#: `EventBus.provide`), gives each object's id with the event that would say its state.
Provider = Callable[[Callable[[], None]], list[tuple[str, EventParams]]]


class _Pending(NamedTuple):
    """An event that has no number yet; `encoded` are its parameters as the journal has them."""

    object_id: str
    name: str
    time: float
    params: dict[str, Any]
    encoded: bytes


class _Mark:
    """A place among the events, from which the number becomes known that the last event before it has."""

    def __init__(self) -> None:
        self.passed = threading.Event()
        self.seq = 0


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
        self._urgent: deque[_Pending | _Mark] = deque()
        self._bulk: dict[str, list[_Pending]] = {}
        self._waiting = 0
        self._lost = 0
        self._taken = self._written = 0
        self._subscriptions: set[Subscription] = set()
        self._providers: dict[tuple[str, ...], Provider] = {}
        self._failing = False
        self._stopping = False
        self._ended = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Open the journal and begin to write.

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
        """Write what is pending, end every subscription, close the journal."""
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
        """Tell every subscriber, soon. Cheap; waits for nothing.

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
        self,
        pattern: str | Sequence[str] = "",
        after: int | None = None,
        floors: dict[str, int] | None = None,
    ) -> Subscription:
        """Subscribe to the events whose id matches `pattern`, or one of several; see `compile_pattern`.

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

    def provide(self, component: str, operations: Sequence[str], provider: Provider) -> Callable[[], None]:
        """Offer the current states behind some kinds of events, none of which may be `bulk`.

        The provider is called with a function `mark`. It must keep its states, and what is published of them,
        from changing, call `mark`, read the states, and let go. `mark` waits for nothing.

        :param operations: those whose events say how the states change
        :returns: a function that takes the offer back
        """
        kinds = (component, *operations)
        self._providers[kinds] = provider
        return lambda: self._withdraw(kinds, provider)

    def snapshot(
        self, pattern: str | Sequence[str] = "", timeout: float = 10.0
    ) -> tuple[dict[str, int], list[Event]]:
        """The current states behind the events that match, as events, each with the number it is true at.

        :returns: the number per kind of event (`|component|operation|`), for `subscribe`; and the states
        :raises Unavailable: the journal has not taken the events so far within `timeout` seconds
        """
        matches = compile_pattern(pattern)
        floors: dict[str, int] = {}
        states: list[Event] = []
        for (component, *operations), provider in sorted(self._providers.items()):
            if not any(may_match(pattern, component, operation) for operation in operations):
                continue
            mark = _Mark()
            found = provider(functools.partial(self._put_mark, mark))
            if not mark.passed.wait(timeout):
                raise Unavailable(reason=f"the journal has not taken any event for {timeout:.1f} s")
            floors |= {f"|{component}|{operation}|": mark.seq for operation in operations}
            states += [
                Event(seq=mark.seq, id=name, time=time.time(), params=types.builtins(params))
                for object_id, params in found
                if matches(name := event_id(params.component, params.operation, object_id))
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
        found = [event for event in self._read_journal(after, most) if event.seq <= last]
        return _with_gaps(after, found, last if len(found) < most else None)

    def _read_journal(self, after: int, most: int) -> list[Event]:
        """Read from the journal; what a damaged or closed one had is a gap."""
        generation = self._journal.generation
        try:
            return self._journal.read(after, most)
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

    def _put_mark(self, mark: _Mark) -> None:
        with self._pending:
            self._urgent.append(mark)
            self._waiting += 1
            self._pending.notify()

    def _run(self) -> None:
        while True:
            batch, lost = self._take()
            try:
                if batch or lost:
                    self._write(batch, lost)
            except Exception as error:
                # A bug must not end the events of the host; the numbers that it took are a gap.
                log.exception("Events cannot be written")
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

    def _take(self) -> tuple[list[_Pending | _Mark], int]:
        with self._pending:
            self._pending.wait_for(lambda: self._waiting or self._lost or self._stopping)
            batch = [self._urgent.popleft() for _ in range(min(_BATCH, len(self._urgent)))]
            while self._bulk and len(batch) < _BATCH:
                object_id, waiting = next(iter(self._bulk.items()))
                room = _BATCH - len(batch)
                batch += waiting[:room]
                if len(waiting) > room:
                    self._bulk[object_id] = waiting[room:]
                else:
                    del self._bulk[object_id]
            self._waiting -= len(batch)
            self._taken += len(batch)
            lost, self._lost = self._lost, 0
            return batch, lost

    def _write(self, batch: list[_Pending | _Mark], lost: int) -> None:
        """Give numbers, write, tell. Numbers of events that were lost come first: they are a gap."""
        count = sum(isinstance(entry, _Pending) for entry in batch)
        generation = self._journal.generation
        try:
            first = self._journal.take_numbers(lost + count)
        except (sqlite3.Error, OSError) as error:
            self._repair(error, generation)
            self._give_up(batch, lost + count, error)
            return
        events, marks = _number(batch, first + lost)
        try:
            if events or lost:
                self._journal.append(events)
            self._recovered()
        except sqlite3.Error as error:
            # The host must go on, and those who listen now hear of it. Others will learn of the hole.
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
        for mark, seq in marks:
            mark.seq = seq
            mark.passed.set()

    def _give_up(self, batch: list[_Pending | _Mark], lost: int, error: Exception) -> None:
        """Without numbers that are sure not to come again nobody can be told, nor of the gap until later."""
        self._failed(error)
        with self._pending:
            self._lost += lost
        with self.changed:
            self._written = self._taken
            self.changed.notify_all()
        for mark in batch:
            if isinstance(mark, _Mark):
                mark.seq = self._last
                mark.passed.set()
        self._ended.wait(self._sync_interval)

    def _failed(self, error: Exception) -> None:
        if not self._failing:
            log.error("The journal cannot be written; until it can, events are told, but not kept: %s", error)
        self._failing = True

    def _recovered(self) -> None:
        if self._failing:
            log.warning("The journal can be written again")
        self._failing = False

    def _remember(self, events: list[Event]) -> None:
        recent = self._recent
        if events and recent and recent[-1].seq + 1 != events[0].seq:
            recent = []  # a hole: what comes before it is read from the journal, with a gap
        elif len(recent) >= 2 * self._keep:
            recent = recent[-self._keep :]
        # Readers slice this list without a lock: it only grows, and is replaced to shrink.
        recent.extend(events)
        self._recent = recent


def _number(
    batch: list[_Pending | _Mark], number: int
) -> tuple[list[tuple[Event, bytes]], list[tuple[_Mark, int]]]:
    """The events of a batch, the first with `number`; and each mark with the number before it."""
    events: list[tuple[Event, bytes]] = []
    marks: list[tuple[_Mark, int]] = []
    for entry in batch:
        if isinstance(entry, _Mark):
            marks.append((entry, number - 1))
            continue
        event = Event(seq=number, id=entry.name, time=entry.time, params=entry.params)
        events.append((event, entry.encoded))
        number += 1
    return events, marks


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
