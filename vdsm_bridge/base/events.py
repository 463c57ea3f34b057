"""`Events`: subscriptions for protocols without streams, whose callers poll."""

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
from vdsm_bridge.call.access import Scopes
from vdsm_bridge.call.context import Context, Identity
from vdsm_bridge.call.slots import Slots
from vdsm_core.config import EventOptions
from vdsm_core.errors import NotFound, ResourceExhausted, TooManySubscriptions
from vdsm_core.events import Event, EventBus, Subscription, event_types
from vdsm_core.types import UUID, Record, Seconds

#: Seconds that one call of `Events.next` may wait; proxies cut connections that are idle for longer.
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
    """The subscription has ended, or never existed. Facts: `subscription_id`."""

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
    """A new subscription. Its events have numbers above `seq`.

    `oldest` is the number of the oldest event that is still kept. `states` are the current states, as events,
    if a snapshot was requested. Each has the number of its event; no event delivered later is older.
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
    def __init__(self, subscription: Subscription, pattern: str, owner: Identity, last_polled: float) -> None:
        self.id = str(uuid.uuid4())
        self.pattern = pattern
        self.subscription = subscription
        self.owner = owner
        self.last_polled = last_polled
        #: Number of calls that poll it now.
        self.polling = 0

    def belongs_to(self, identity: Identity) -> bool:
        """Return whether a caller may use the subscription: its owner, or an admin without restrictions.

        It delivers what its owner was permitted to see when it began: after a change of its restrictions a
        caller begins another one.
        """
        if self.owner.key == identity.key:
            return self.owner.scope == identity.scope
        return identity.role == "admin" and not identity.scope.limited

    def idle(self, now: float) -> float:
        """Return the seconds since the last poll."""
        return 0.0 if self.polling else now - self.last_polled


class Events(Namespace, key="subscriptionID", plural="subscriptions", listed_by="Events.list"):
    """The events of the host, for callers that poll: subscribe, poll, unsubscribe.

    A subscription that is not polled expires. A caller that subscribes again after the last number it
    received misses nothing, on any protocol, also after a restart of the daemon.
    """

    def __init__(
        self, bus: EventBus, scopes: Scopes, options: EventOptions, clock: Callable[[], float]
    ) -> None:
        self._bus = bus
        self._scopes = scopes
        self._options = options
        self._clock = clock
        self._lock = threading.Lock()
        self._held: dict[str, _Held] = {}
        self._wait_slots = Slots(options.most_waiting)
        self._slots = Slots(options.most_subscriptions, options.subscriptions_per_client)

    @action(
        access="monitor",
        since="1.0",
        part="create",
        locks=no_locks,
        names={"pattern": "filter"},
        scope="open",
    )
    def subscribe(
        self,
        context: Context,
        pattern: Filter = "",
        after: Annotated[int, Meta(ge=0)] | None = None,
        snapshot: bool = False,
    ) -> Subscribed:
        """Subscribe to events.

        :param pattern: selects events; empty means all
        :param after: begin after the event of this number; without it, with later events
        :param snapshot: also return the current states
        :raises ResourceExhausted: there are too many subscriptions
        :raises TooManySubscriptions: the caller has too many
        """
        self._expire()
        if not self._slots.take(context.identity):
            if self._slots.taken_by(context.identity) >= self._slots.each:
                raise TooManySubscriptions(
                    limit=self._slots.each,
                    option="[events] subscriptions_per_client",
                    retry_after=self._options.subscription_timeout,
                )
            raise ResourceExhausted(
                reason=f"{self._slots.taken} subscriptions exist, of at most {self._slots.limit}"
            )
        try:
            states, subscription = self._begin(context.identity, pattern, after, snapshot=snapshot)
            held = _Held(subscription, pattern, context.identity, self._clock())
        except BaseException:
            self._slots.leave(context.identity)
            raise
        with self._lock:
            self._held[held.id] = held
        return Subscribed(
            subscription_id=held.id, seq=held.subscription.position, oldest=self._bus.first, states=states
        )

    @query(since="1.0", names={"max_events": "max"}, scope="open")
    def next(
        self,
        context: Context,
        subscription_id: UUID,
        timeout: Annotated[float, Meta(ge=0, le=LONGEST_WAIT)] = 0.0,
        max_events: Annotated[int, Meta(ge=1, le=10_000)] = 100,
    ) -> list[Event]:
        """Return new events; wait for one if there is none.

        In place of missing events, an event `|events|gap|no_id` has their numbers; the caller must read the
        state again.

        :param timeout: seconds to wait for the first event, but not beyond the deadline of the call
        :param max_events: maximum number of events to return
        :returns: events in the order of their numbers; none after the timeout, or if the host stops
        :raises NoSuchSubscription: it has ended, or never existed
        :raises ResourceExhausted: too many callers wait already
        """
        timeout = min(timeout, context.remaining(timeout))
        with self._polled(subscription_id, context.identity) as subscription:
            events = subscription.next(0.0, max_events)
            if not events and timeout > 0:
                events = self._wait(subscription, timeout, max_events, context)
            return events

    @action(access="monitor", since="1.0", part="delete", scope="open")
    def unsubscribe(self, subscription_id: UUID, context: Context) -> None:
        """End a subscription.

        :raises NoSuchSubscription: it has ended, or never existed
        """
        self._end([self._get(subscription_id, context.identity)])

    @query(since="1.0", part="list", scope="open")
    def list(self, context: Context) -> list[EventSubscription]:
        """Return the subscriptions of the caller; for an admin, all."""
        self._expire()
        with self._lock:
            return [
                EventSubscription(
                    subscription_id=held.id,
                    filter=held.pattern,
                    seq=held.subscription.position,
                    owner=held.owner.name,
                    idle=round(held.idle(self._clock()), 3),
                )
                for held in self._held.values()
                if held.belongs_to(context.identity)
            ]

    @query(since="1.0", scope="open")
    def get_kinds(self) -> builtins.list[EventKind]:
        """Return every kind of event of this host and its plugins, with its parameters."""
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
    def _polled(self, subscription_id: str, identity: Identity) -> Iterator[Subscription]:
        """Yield a subscription that does not expire within this block."""
        held = self._get(subscription_id, identity)
        with self._lock:
            held.polling += 1
        try:
            yield held.subscription
        finally:
            with self._lock:
                held.polling -= 1
                held.last_polled = self._clock()

    def _wait(
        self, subscription: Subscription, timeout: float, max_events: int, context: Context
    ) -> builtins.list[Event]:
        with ExitStack() as stack:
            if not self._wait_slots.take(context.identity):
                raise ResourceExhausted(
                    reason=f"{self._wait_slots.taken} calls wait for events already, "
                    f"of at most {self._wait_slots.limit}"
                )
            stack.callback(self._wait_slots.leave, context.identity)
            if context.wait_slots is None:
                return subscription.next(timeout, max_events)
            stack.enter_context(context.wait_slots.taken(subscription.wake, context.identity))
            return subscription.next(timeout, max_events, context.wait_slots.over)

    def _get(self, subscription_id: str, identity: Identity) -> _Held:
        self._expire()
        held = self._held.get(subscription_id.lower())
        if held is None or not held.belongs_to(identity):
            raise NoSuchSubscription(subscription_id=subscription_id)
        return held

    def _begin(
        self, identity: Identity, pattern: str, after: int | None, *, snapshot: bool
    ) -> tuple[builtins.list[Event], Subscription]:
        """Subscribe to the events that a caller may see."""
        if snapshot:
            return self._scopes.snapshot(self._bus, pattern, identity, after)
        return [], self._bus.subscribe(pattern, after, allowed=self._scopes.event_filter(identity))

    def _expire(self) -> None:
        patience, now = self._options.subscription_timeout, self._clock()
        with self._lock:
            expired = [held for held in self._held.values() if held.idle(now) > patience]
        self._end(expired)

    def _end(self, ending: builtins.list[_Held]) -> None:
        for held in ending:
            with self._lock:
                mine = self._held.pop(held.id, None)
            if mine is not None:  # if two callers end it, only one returns its slot
                self._slots.leave(held.owner)
            held.subscription.close()
