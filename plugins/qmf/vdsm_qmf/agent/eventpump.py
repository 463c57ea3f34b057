"""Tells the bus of every event, in order; what the broker has not taken is told again (see `Deliveries`).

Nothing is kept in memory for a broker that is away: the events are in the journal, and are read from there
once it is back. Each event names the one that was told before it, so that a console sees what it has missed.
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
from vdsm_qmf import forms
from vdsm_qmf.agent.deliveries import Deliveries
from vdsm_qmf.agent.replay import class_of, complete, event_values
from vdsm_qmf.agent.schemas import Schemas
from vdsm_qmf.agent.sender import Sender
from vdsm_qmf.bus.outbox import Outcome
from vdsm_qmf.names import AgentName
from vdsm_qmf.schema import INFO, PACKAGE, SchemaClass

log = logging.getLogger(__name__)

_BATCH: Final = 100
#: Seconds between two looks whether the agent shall end.
_TICK: Final = 5.0
#: Seconds that an event waits for room to be sent, and until the next try after a bug.
_PATIENCE: Final = 1.0


class EventPump:
    """A thread that moves events from the bridge to the bus."""

    def __init__(self, bridge: Bridge, schemas: Schemas, sender: Sender, name: AgentName) -> None:
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
        """Begin with the events that happen from now on."""
        subscription = self._bridge.subscribe()
        self._position = subscription.place
        self._deliveries = Deliveries(subscription.place)
        subscription.close()
        name = f"qmf events {self._name.instance}"
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def up(self) -> None:
        """The broker is there."""
        with self._changed:
            self._up = True
            self._repeat = False
            self._changed.notify_all()

    def down(self) -> None:
        """The broker is gone."""
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
                self._pump()
            except Exception:
                # The next round reads the same events again.
                log.exception("Telling the bus of events failed; it is tried again")
                time.sleep(_PATIENCE)

    def _wait(self) -> bool:
        """Until there is a broker; False at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._up or self._ending)
            if self._repeat:
                # The broker refuses: not again at once.
                self._changed.wait_for(lambda: self._ending or not self._up, self._deliveries.delay)
            self._repeat = False
            return not self._ending

    def _pump(self) -> None:
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
        """Send one event, unless the broker has it. False: begin anew after what is confirmed."""
        with self._changed:
            self._changed.wait_for(lambda: self._deliveries.ready or not self._going())
            if not self._going():
                return False
            if not self._deliveries.is_due(event.seq):
                return True
        try:
            sent = self._indicate(event, previous)
        except VdsmError as error:
            log.warning("Event %d cannot be told on the bus: %s", event.seq, error)
            sent = self._indicate(_in_its_place(event, str(error)), previous)
        return sent

    def _indicate(self, event: Event, previous: int) -> bool:
        kind = self._class_of(event)
        values = complete(event_values(event, previous), kind)
        body = forms.event(kind.id, values, now=int(event.time * 1e9), severity=kind.severity)
        key = self._name.event_key(PACKAGE, kind.name, kind.severity)
        while self._going():
            sent = 0
            # Before it is sent: what becomes of it may be known at once.
            self._mark(event.seq, on_its_way=True)
            try:
                sent = self._sender.indicate(
                    key,
                    forms.INDICATION,
                    [body],
                    forms.EVENT,
                    timeout=_PATIENCE,
                    outcome=lambda outcome: self._ended(event.seq, outcome),
                )
            finally:
                if not sent:
                    self._mark(event.seq, on_its_way=False)
            if sent:
                self._position = max(self._position, event.seq)
                return True
        return False

    def _mark(self, number: int, *, on_its_way: bool) -> None:
        with self._changed:
            (self._deliveries.sent if on_its_way else self._deliveries.withdraw)(number)

    def _class_of(self, event: Event) -> SchemaClass:
        name = class_of(event)
        found = self._schemas.current().event_class(name)
        # One from before an update of its plugin may be of a kind that is no more.
        return found or SchemaClass(package=PACKAGE, name=name, kind=forms.EVENT, severity=INFO)

    def _ended(self, number: int, outcome: Outcome) -> None:
        with self._changed:
            if self._deliveries.ended(number, outcome):
                self._repeat = True
                self._interrupt()
            self._changed.notify_all()


def _in_its_place(event: Event, reason: str) -> Event:
    """A gap instead of an event that cannot be carried."""
    params = builtins(Gap(first=event.seq, last=event.seq, reason=reason))
    return Event(seq=event.seq, id=f"|{Gap.component}|{Gap.operation}|no_id", time=event.time, params=params)
