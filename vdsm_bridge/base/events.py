"""`Events`: subscriptions for protocols on which the caller asks for what is new."""

from __future__ import annotations

import builtins
import inspect
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from vdsm_bridge.api.declare import Namespace, action, no_locks, query
from vdsm_bridge.api.schema import struct_schema
from vdsm_bridge.call.context import Context, Identity
from vdsm_bridge.call.slots import Slots
from vdsm_core.config import EventOptions
from vdsm_core.errors import NotFound, ResourceExhausted
from vdsm_core.events import Event, EventBus, Subscription, event_types
from vdsm_core.types import UUID, Record, Seconds

#: Seconds that one call of `Events.next` may wait; longer, and proxies would cut the connection.
LONGEST_WAIT: Final = 60.0

Filter = Annotated[
    str,
    Meta(
        max_length=512,
        description="An event id in which `*` stands for any text within a part; parts that are left out "
        "match everything.",
    ),
]


class NoSuchSubscription(NotFound):
    """The subscription has ended, or never was. Facts: `subscription_id`."""

    slug = "no-such-subscription"
    template = (
        "There is no subscription '{subscription_id}' (any more); subscribe again, after the last number"
    )


class EventSubscription(Record, frozen=True):
    """One subscription. `seq` is the number up to which events have been delivered."""

    subscription_id: UUID = msgspec.field(name="subscriptionID")
    filter: str
    seq: int
    owner: str
    idle: Seconds


class Subscribed(Record, frozen=True):
    """A new subscription. What follows has numbers above `seq`.

    `oldest` is the number of the oldest event that is still kept. `states` are the current states, as events,
    where a snapshot was asked for: each is true at its own number, and no event delivered later is older.
    """

    subscription_id: UUID = msgspec.field(name="subscriptionID")
    seq: int
    oldest: int
    states: list[Event]


class EventKind(Record, frozen=True):
    """One kind of event, whose ids are `|component|operation|object`. `params` is a JSON Schema.

    An event of a `bulk` kind, such as statistics, may be overtaken by others, but not by those about the
    same object.
    """

    component: str
    operation: str
    summary: str
    bulk: bool
    params: dict[str, Any]


class _Held:
    def __init__(self, subscription: Subscription, pattern: str, owner: Identity, asked: float) -> None:
        self.id = str(uuid.uuid4())
        self.pattern = pattern
        self.subscription = subscription
        self.owner = owner
        self.asked = asked
        #: Calls that ask it now.
        self.asking = 0

    def idle(self, now: float) -> float:
        """Seconds since somebody asked it."""
        return 0.0 if self.asking else now - self.asked


class Events(Namespace, key="subscriptionID", plural="subscriptions", listed_by="Events.list"):
    """What happens on the host, for callers who ask: subscribe, ask for what is new, unsubscribe.

    A subscription that nobody asks ends by itself. Whoever knows the last number it saw misses nothing: it
    subscribes again after that number, on any protocol, also after a restart of the daemon.
    """

    def __init__(self, bus: EventBus, options: EventOptions, clock: Callable[[], float]) -> None:
        self._bus = bus
        self._options = options
        self._clock = clock
        self._lock = threading.Lock()
        self._held: dict[str, _Held] = {}
        self._waiting = Slots(options.most_waiting)
        self._slots = Slots(options.most_subscriptions)

    @action(access="monitor", since="1.0", part="create", locks=no_locks, names={"pattern": "filter"})
    def subscribe(
        self,
        context: Context,
        pattern: Filter = "",
        after: Annotated[int, Meta(ge=0)] | None = None,
        snapshot: bool = False,
    ) -> Subscribed:
        """Subscribe to events.

        :param pattern: which ones; empty means all
        :param after: begin after the event of this number; without it, with what happens from now on
        :param snapshot: also give the current states of what is watched
        :raises ResourceExhausted: there are too many subscriptions
        """
        self._expire()
        known, states = self._bus.snapshot(pattern) if snapshot else ({}, [])
        if snapshot and after is None:
            after = min(known.values(), default=None)
        if not self._slots.take(context.identity):
            raise ResourceExhausted(
                reason=f"{self._slots.taken} subscriptions exist, of at most {self._slots.limit}"
            )
        try:
            subscription = self._bus.subscribe(pattern, after, known)
            held = _Held(subscription, pattern, context.identity, self._clock())
        except BaseException:
            self._slots.leave(context.identity)
            raise
        with self._lock:
            self._held[held.id] = held
        return Subscribed(
            subscription_id=held.id, seq=held.subscription.place, oldest=self._bus.first, states=states
        )

    @query(since="1.0", names={"most": "max"})
    def next(
        self,
        context: Context,
        subscription_id: UUID,
        timeout: Annotated[float, Meta(ge=0, le=LONGEST_WAIT)] = 0.0,
        most: Annotated[int, Meta(ge=1, le=10_000)] = 100,
    ) -> list[Event]:
        """What is new: waits for it, if nothing is.

        Where events are missing, an event `|events|gap|no_id` says which; the caller reads the state anew.

        :param timeout: seconds to wait for the first event, but not beyond the deadline of the call
        :param most: events to return at the most
        :returns: events in the order of their numbers; none if there were none in time, or the host stops
        :raises NoSuchSubscription: it has ended, or never was
        :raises ResourceExhausted: too many callers wait already
        """
        timeout = min(timeout, context.remaining(timeout))
        with self._asking(subscription_id) as subscription:
            events = subscription.next(0.0, most)
            if not events and timeout > 0:
                events = self._wait(subscription, timeout, most, context)
            return events

    @action(access="monitor", since="1.0", part="delete")
    def unsubscribe(self, subscription_id: UUID) -> None:
        """End a subscription.

        :raises NoSuchSubscription: it has ended, or never was
        """
        self._end([self._get(subscription_id)])

    @query(since="1.0", part="list")
    def list(self, context: Context) -> list[EventSubscription]:
        """The subscriptions of the caller; an admin sees all."""
        self._expire()
        with self._lock:
            return [
                EventSubscription(
                    subscription_id=held.id,
                    filter=held.pattern,
                    seq=held.subscription.place,
                    owner=held.owner.name,
                    idle=round(held.idle(self._clock()), 3),
                )
                for held in self._held.values()
                if context.identity.role == "admin" or held.owner.name == context.identity.name
            ]

    @query(since="1.0")
    def get_kinds(self) -> builtins.list[EventKind]:
        """Every kind of event that this host may tell of, with its parameters, plugins' own included."""
        return [
            EventKind(
                component=kind.component,
                operation=kind.operation,
                summary=" ".join((inspect.getdoc(kind) or "").partition("\n\n")[0].split()),
                bulk=kind.bulk,
                params=struct_schema(kind),
            )
            for kind in event_types()
        ]

    def close(self) -> None:
        """End all subscriptions."""
        with self._lock:
            held = list(self._held.values())
        self._end(held)

    @contextmanager
    def _asking(self, subscription_id: str) -> Iterator[Subscription]:
        """A subscription that does not expire within this block."""
        held = self._get(subscription_id)
        with self._lock:
            held.asking += 1
        try:
            yield held.subscription
        finally:
            with self._lock:
                held.asking -= 1
                held.asked = self._clock()

    def _wait(
        self, subscription: Subscription, timeout: float, most: int, context: Context
    ) -> builtins.list[Event]:
        with ExitStack() as stack:
            if not self._waiting.take(context.identity):
                raise ResourceExhausted(
                    reason=f"{self._waiting.taken} calls wait for events already, "
                    f"of at most {self._waiting.limit}"
                )
            stack.callback(self._waiting.leave, context.identity)
            if context.waiting is None:
                return subscription.next(timeout, most)
            stack.enter_context(context.waiting.taken(subscription.wake, context.identity))
            return subscription.next(timeout, most, context.waiting.over)

    def _get(self, subscription_id: str) -> _Held:
        self._expire()
        try:
            return self._held[subscription_id.lower()]
        except KeyError:
            raise NoSuchSubscription(subscription_id=subscription_id) from None

    def _expire(self) -> None:
        patience, now = self._options.subscription_timeout, self._clock()
        with self._lock:
            expired = [held for held in self._held.values() if held.idle(now) > patience]
        self._end(expired)

    def _end(self, ending: builtins.list[_Held]) -> None:
        for held in ending:
            with self._lock:
                mine = self._held.pop(held.id, None)
            if mine is not None:  # of two callers who end it, one gives its place back
                self._slots.leave(held.owner)
            held.subscription.close()
