"""Locks on objects: several at once, all or none, in order of arrival.

Work asks for all its locks in one request, and holds all of them or none. A request is granted when no other
work holds its objects and no earlier request waits for them: no two requests can wait for each other, and
none is passed over forever. Work that preempts (destroy) is granted at once, beside the present holder; no
other request is granted until both have ended. There is no lock timeout: a call waits until its own deadline,
and its error then has its position in the queue and the holder of the object.

Long work declares which verbs run beside it, as cancelling does, and which are refused meanwhile.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import contextmanager

import msgspec

from vdsm_core.errors import QueueDeadline, VdsmError
from vdsm_core.work.references import Lock, Reference, in_order


class WaitingCall(msgspec.Struct, frozen=True, rename="camel"):
    """One call on an object.

    `place` 0 runs now, 1 is next. `seconds` since it came, or for place 0 since it runs.
    """

    lane: str
    call: str
    place: int
    seconds: float


class EveryVerbExcept:
    """All verbs but some, those of plugins that are installed later included; see `LongWork.beside`.

    :param names: names of the verbs that are not among them
    """

    __slots__ = ("_names",)

    def __init__(self, *names: str) -> None:
        self._names = frozenset(names)

    def __contains__(self, verb: object) -> bool:
        return verb not in self._names


class LongWork(msgspec.Struct, frozen=True, kw_only=True):
    """What other verbs may do while long work holds its locks.

    :ivar beside: names of the verbs that do not wait for it; they wait for each other as ever
    :ivar refuses: called with the name of a verb that is not beside it; returns the error that it gets, or
        None: it waits
    :ivar cancel: asks the work to end, for work that preempts it; returns at once
    """

    beside: Container[str] = frozenset()
    refuses: Callable[[str], VdsmError | None] = lambda _verb: None
    cancel: Callable[[], None] | None = None


class Hold:
    """The locks of one work: asked for, then held, then given back.

    :ivar label: the name of the work, shown to calls that wait behind it
    :ivar granted_at: when it got them, on the clock of the table; None as long as it waits
    """

    __slots__ = (
        "arrived",
        "granted_at",
        "kept",
        "label",
        "locks",
        "long",
        "number",
        "on_grant",
        "over",
        "preempts",
        "refusable",
        "refusal",
        "verb",
    )

    def __init__(self, locks: tuple[Lock, ...], verb: str, arrived: float) -> None:
        self.locks = locks
        self.verb = verb
        self.label = verb
        self.arrived = arrived
        self.granted_at: float | None = None
        self.long: LongWork | None = None
        self.preempts = False
        self.on_grant: Callable[[Hold], None] | None = None
        self.over = False
        #: Whether a thread waits for it, which gets the error if long work refuses it.
        self.refusable = False
        self.refusal: VdsmError | None = None
        #: Whether it outlives the call that asked for it.
        self.kept = False
        #: In order of arrival, among all.
        self.number = 0

    def granted(self, now: float) -> None:
        """Record that the locks are held, and call `on_grant`."""
        self.granted_at = now
        if self.on_grant is not None:
            self.on_grant(self)

    def __str__(self) -> str:
        return ", ".join(str(lock.of) for lock in self.locks) or "nothing"

    def lets_pass(self, other: Hold) -> bool:
        """Return whether another work runs beside this one."""
        return self.long is not None and other.verb in self.long.beside


class _Queue:
    """Who holds one object, and who waits for it, in order of arrival."""

    __slots__ = ("holders", "waiting")

    def __init__(self) -> None:
        self.holders: list[tuple[Hold, bool]] = []
        self.waiting: list[tuple[Hold, bool]] = []

    def check_refusals(self, hold: Hold, *, exclusive: bool) -> None:
        """Look whether long work that holds the object refuses a verb.

        :raises VdsmError: it does
        """
        for other, alone in self.holders:
            if other.long is None or not (alone or exclusive) or other.lets_pass(hold):
                continue
            refusal = other.long.refuses(hold.verb)
            if refusal is not None:
                raise refusal

    def obstacle(self, hold: Hold, *, exclusive: bool) -> Hold | None:
        """Return the hold that blocks a request: a holder in conflict with it, or an earlier request."""
        for other, alone in self.holders:
            if (alone or exclusive) and other is not hold and not other.lets_pass(hold):
                return other
        for other, alone in self.waiting:
            if other is hold:
                break
            if (alone or exclusive) and not other.lets_pass(hold):
                return other
        return None


class Locks:
    """The locks of all objects. An object has an entry only while it is held or waited for.

    :param clock: seconds, monotonic
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._given_back = threading.Condition(self._lock)
        #: Threads that wait until others give locks back.
        self._displacing = 0
        self._numbers = itertools.count(1)
        self._queues: dict[Reference, _Queue] = {}

    @contextmanager
    def holding(
        self,
        locks: Sequence[Lock],
        verb: str,
        *,
        deadline: float | None = None,
        preempts: bool = False,
    ) -> Iterator[Hold]:
        """Wait for locks, and hold them for the body.

        :param verb: full name of the verb that wants them
        :param deadline: on the clock of the table; None waits for ever
        :param preempts: do not wait for other work
        :raises QueueDeadline: the deadline passed first
        :raises VdsmError: long work on one of the objects refuses this verb
        """
        hold = self.request(locks, verb, preempts=preempts)
        try:
            if hold.granted_at is None:
                self._wait(hold, deadline)
            yield hold
        finally:
            if not hold.kept:
                self.release(hold)

    def request(
        self,
        locks: Iterable[Lock],
        verb: str,
        *,
        long: LongWork | None = None,
        preempts: bool = False,
        held: bool = False,
        on_grant: Callable[[Hold], None] | None = None,
    ) -> Hold:
        """Ask for locks; return at once, with all of them or none.

        :param long: what others may do meanwhile, for long work
        :param held: the work has begun already, and is not refused by other long work
        :param on_grant: called once they are held, by whichever thread gave way; it returns at once and asks
            for no locks
        :raises VdsmError: long work on one of the objects refuses this verb
        """
        hold = Hold(in_order(locks), verb, self._clock())
        hold.long, hold.preempts, hold.on_grant = long, preempts, on_grant
        hold.refusable = on_grant is None
        with self._lock:
            free = True
            for of, alone in hold.locks:
                queue = self._queues.get(of)
                if queue is not None and not preempts:
                    if not held:
                        queue.check_refusals(hold, exclusive=alone)
                    free = free and queue.obstacle(hold, exclusive=alone) is None
            hold.number = next(self._numbers)
            for of, alone in hold.locks:
                queue = self._queues.get(of)
                if queue is None:
                    queue = self._queues[of] = _Queue()
                (queue.holders if free else queue.waiting).append((hold, alone))
            if free:
                hold.granted(hold.arrived)
                self._refuse_waiting(hold)
        return hold

    def release(self, hold: Hold) -> None:
        """Release locks, or withdraw the request for them, and grant the requests that this frees."""
        with self._lock:
            self._withdraw(hold)
            if self._displacing:
                self._given_back.notify_all()

    def displace(self, hold: Hold, timeout: float) -> None:
        """Cancel the long work that holds the objects of a preempting call, and wait for its end.

        Work that the call may run beside is not cancelled.

        :param timeout: seconds, after which the preempting work proceeds all the same
        """
        with self._lock:
            others = [
                other
                for lock in hold.locks
                for other, _ in self._queues[lock.of].holders
                if other is not hold
                and other.long is not None
                and other.long.cancel is not None
                and not other.lets_pass(hold)
            ]
        for other in others:
            assert other.long is not None
            assert other.long.cancel is not None
            other.long.cancel()
        if not others:
            return
        with self._given_back:
            self._displacing += 1
            self._given_back.wait_for(lambda: all(other.over for other in others), timeout)
            self._displacing -= 1

    def snapshot(self) -> list[WaitingCall]:
        """Return every work that holds or waits for an object now."""
        now = self._clock()
        with self._lock:
            return [
                call
                for reference, queue in self._queues.items()
                for call in (
                    *(
                        WaitingCall(str(reference), hold.label, 0, now - (hold.granted_at or now))
                        for hold, _ in queue.holders
                    ),
                    *(
                        WaitingCall(str(reference), hold.label, place, now - hold.arrived)
                        for place, (hold, _) in enumerate(queue.waiting, 1)
                    ),
                )
            ]

    def _withdraw(self, hold: Hold) -> None:
        if hold.over:
            return
        hold.over = True
        waited = hold.granted_at is None
        candidates: dict[int, Hold] = {}
        for lock in hold.locks:
            queue = self._queues[lock.of]
            (queue.waiting if waited else queue.holders).remove((hold, lock.exclusive))
            if queue.waiting:
                candidates |= {other.number: other for other, _ in queue.waiting}
            elif not queue.holders:
                del self._queues[lock.of]
        for number in sorted(candidates):
            if not candidates[number].over:
                self._grant(candidates[number])

    def _refuse_waiting(self, hold: Hold) -> None:
        """Refuse the calls that wait for an object which long work has got, as those that arrive later."""
        if hold.long is None:
            return
        for lock in hold.locks:
            for other, alone in tuple(self._queues[lock.of].waiting):
                if other.over or not other.refusable or hold.lets_pass(other):
                    continue
                if not (alone or lock.exclusive):
                    continue
                other.refusal = hold.long.refuses(other.verb)
                if other.refusal is not None:
                    self._withdraw(other)
                    if other.on_grant is not None:
                        other.on_grant(other)

    def _grant(self, hold: Hold) -> None:
        if hold.granted_at is not None:
            return
        queues = [(self._queues[lock.of], lock.exclusive) for lock in hold.locks]
        if any(queue.obstacle(hold, exclusive=exclusive) is not None for queue, exclusive in queues):
            return
        for queue, exclusive in queues:
            queue.waiting.remove((hold, exclusive))
            queue.holders.append((hold, exclusive))
        hold.granted(self._clock())
        self._refuse_waiting(hold)

    def _wait(self, hold: Hold, deadline: float | None) -> None:
        ready = threading.Event()
        with self._lock:
            if hold.granted_at is not None:
                return
            hold.on_grant = lambda _: ready.set()
            if hold.refusal is not None:
                ready.set()
        timeout = None if deadline is None else max(0.0, deadline - self._clock())
        if ready.wait(timeout) and hold.refusal is None:
            return
        with self._lock:
            if hold.refusal is not None:
                raise hold.refusal
            if hold.granted_at is not None:  # granted between the timeout and this lock
                return
            object_, place, holder = self._position(hold)
        waited = self._clock() - hold.arrived
        self.release(hold)
        raise QueueDeadline(lane=str(object_), place=place, waited=waited, holder=holder)

    def _position(self, hold: Hold) -> tuple[Reference, int, str]:
        """Return the queue in which a request waits longest: object, place in it, label of its holder."""
        found: tuple[Reference, int, str] = (hold.locks[0].of, 1, "")
        for lock in hold.locks:
            queue = self._queues[lock.of]
            obstacle = queue.obstacle(hold, exclusive=lock.exclusive)
            place = queue.waiting.index((hold, lock.exclusive)) + 1
            if obstacle is not None and (place > found[1] or not found[2]):
                first = queue.holders[0][0] if queue.holders else obstacle
                found = (lock.of, place, first.label)
        return found
