"""Publishes every event on the bus, in order; what the broker refuses is sent again (see `Deliveries`).

Nothing is kept in memory while no broker can be reached: the events are in the journal, and are read from
there after reconnecting. Each event has the number of its predecessor, so that a console detects what it has
missed.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Final

from vdsm_bridge import Bridge
from vdsm_bridge.errors import VdsmError
from vdsm_bridge.events import Event, Gap, Subscription
from vdsm_bridge.types import builtins
from vdsm_qmf.agent.deliveries import Deliveries
from vdsm_qmf.agent.replay import class_of, complete, event_values
from vdsm_qmf.agent.schema_cache import SchemaCache
from vdsm_qmf.agent.sender import Sender
from vdsm_qmf.bus.send_queue import Outcome
from vdsm_qmf.protocol import bodies
from vdsm_qmf.protocol.names import AgentName
from vdsm_qmf.schema.classes import INFO, PACKAGE, SchemaClass

log = logging.getLogger(__name__)

_BATCH: Final = 100
#: Seconds that reading the journal waits for events before it is called again.
_TICK: Final = 5.0
#: Seconds that an event waits for room in the send queue, and until the next attempt after a bug.
_RETRY: Final = 1.0


class EventPublisher:
    """A thread that sends the bridge's events to the bus."""

    def __init__(self, bridge: Bridge, schemas: SchemaCache, sender: Sender, name: AgentName) -> None:
        self._bridge = bridge
        self._schemas = schemas
        self._sender = sender
        self._name = name
        self._changed = threading.Condition()
        self._up = False
        self._ending = False
        self._repeat = False
        self._subscription: Subscription | None = None
        self._deliveries = Deliveries(0)
        self._position = 0
        self._thread: threading.Thread | None = None

    @property
    def position(self) -> int:
        """The number of the newest event that was sent."""
        return self._position

    def start(self) -> None:
        """Start the thread; the first event is the next one that happens."""
        subscription = self._bridge.subscribe()
        self._position = subscription.position
        self._deliveries = Deliveries(subscription.position)
        subscription.close()
        name = f"qmf events {self._name.instance}"
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def up(self) -> None:
        """Begin to send: there is a connection."""
        with self._changed:
            self._up = True
            self._repeat = False
            self._changed.notify_all()

    def down(self) -> None:
        """Stop sending: the connection is lost."""
        with self._changed:
            self._up = False
            self._interrupt()
            self._changed.notify_all()

    def stop(self) -> None:
        """End the thread."""
        with self._changed:
            self._ending = True
            self._interrupt()
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(_TICK)

    def _interrupt(self) -> None:
        if self._subscription is not None:
            self._subscription.close()

    def _run(self) -> None:
        while self._wait():
            try:
                self._publish()
            except Exception:
                # The next round reads the same events again.
                log.exception("Publishing events failed; retrying")
                time.sleep(_RETRY)

    def _wait(self) -> bool:
        """Wait for a connection; return False once the thread is to end."""
        with self._changed:
            self._changed.wait_for(lambda: self._up or self._ending)
            if self._repeat:
                # The broker refuses an event: back off.
                self._changed.wait_for(lambda: self._ending or not self._up, self._deliveries.delay)
            self._repeat = False
            return not self._ending

    def _publish(self) -> None:
        with self._changed:
            self._deliveries.begin()
            previous = self._deliveries.confirmed
            self._subscription = subscription = self._bridge.subscribe(after=previous)
        try:
            while self._going():
                for event in subscription.next(_TICK, _BATCH):
                    if not self._send(event, previous):
                        return
                    previous = event.seq
        finally:
            subscription.close()

    def _going(self) -> bool:
        return self._up and not self._ending and not self._repeat

    def _send(self, event: Event, previous: int) -> bool:
        """Send one event, unless the broker has it.

        :returns: whether to go on with the next event, rather than with a new round
        """
        with self._changed:
            self._changed.wait_for(lambda: self._deliveries.ready or not self._going())
            if not self._going():
                return False
            if not self._deliveries.is_due(event.seq):
                return True
        try:
            sent = self._indicate(event, previous)
        except VdsmError as error:
            log.warning("Cannot send event %d over the bus, a gap is sent instead: %s", event.seq, error)
            sent = self._indicate(_gap_instead(event, str(error)), previous)
        return sent

    def _indicate(self, event: Event, previous: int) -> bool:
        kind = self._class_of(event)
        values = complete(event_values(event, previous), kind)
        body = bodies.event(kind.id, values, now=int(event.time * 1e9), severity=kind.severity)
        key = self._name.event_key(PACKAGE, kind.name, kind.severity)
        while self._going():
            sent = 0
            # Before it is sent: its outcome may follow at once.
            self._mark(event.seq, in_flight=True)
            try:
                sent = self._sender.indicate(
                    key,
                    bodies.INDICATION,
                    [body],
                    bodies.EVENT,
                    timeout=_RETRY,
                    on_outcome=lambda outcome: self._ended(event.seq, outcome),
                )
            finally:
                if not sent:
                    self._mark(event.seq, in_flight=False)
            if sent:
                self._position = max(self._position, event.seq)
                return True
        return False

    def _mark(self, number: int, *, in_flight: bool) -> None:
        with self._changed:
            (self._deliveries.sent if in_flight else self._deliveries.withdraw)(number)

    def _class_of(self, event: Event) -> SchemaClass:
        name = class_of(event)
        found = self._schemas.current().event_class(name)
        # The kind of an old event may be gone since an update of its plugin.
        return found or SchemaClass(package=PACKAGE, name=name, kind=bodies.EVENT, severity=INFO)

    def _ended(self, number: int, outcome: Outcome) -> None:
        with self._changed:
            if self._deliveries.ended(number, outcome):
                self._repeat = True
                self._interrupt()
            self._changed.notify_all()


def _gap_instead(event: Event, reason: str) -> Event:
    """Return a gap for an event that the bus cannot carry."""
    params = builtins(Gap(first=event.seq, last=event.seq, reason=reason))
    return Event(seq=event.seq, id=f"|{Gap.component}|{Gap.operation}|no_id", time=event.time, params=params)
