"""The message bus as agents and consoles use it: a connection that is renewed, and messages in and out."""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Sequence
from typing import Final, Protocol

from proton import Delivery, Link

from vdsm_qmf.bus.connection import BrokerConnection
from vdsm_qmf.bus.dialects import DIALECTS, Dialect, recognize
from vdsm_qmf.bus.loop import Loop, Timer
from vdsm_qmf.bus.reconnect import Reconnect
from vdsm_qmf.bus.security import Broker
from vdsm_qmf.bus.send_queue import OnOutcome, Outcome, QueuedMessage, SendQueue
from vdsm_qmf.bus.session import BrokerSession
from vdsm_qmf.bus.settings import BusSettings, Subscription
from vdsm_qmf.protocol.message import Address

log = logging.getLogger(__name__)

#: Seconds until another attempt to send to a broker that does not read.
_RETRY: Final = 0.02
#: Seconds that one attempt to connect may take, up to the last link.
_ATTEMPT: Final = 15.0
#: Seconds that the broker has to answer an AMQP close.
_CLOSE: Final = 1.0


class Listener(Protocol):
    """What uses the bus. Everything is called on the loop's thread, and must return at once."""

    def up(self) -> None:
        """Handle a new connection: messages can be sent, and the subscriptions are in force."""

    def down(self, reason: str) -> None:
        """Handle the loss of the connection."""

    def received(self, data: bytes, link: int, *, oversized: bool) -> None:
        """Handle a message. `Bus.done(link)` must follow, from any thread.

        :param data: the message, or its beginning if it is oversized
        :param link: number of the subscription
        """


class Bus:
    """A connection to one of several brokers that is renewed whenever it ends."""

    def __init__(
        self, loop: Loop, settings: BusSettings, subscriptions: Sequence[Subscription], listener: Listener
    ) -> None:
        self.loop = loop
        self.settings = settings
        self.dialect: Dialect | None = None
        #: Number of connections so far.
        self.connections = 0
        self.trouble = "not connected yet"
        #: Reasons in the log since the last connection: a broker that stays away is logged once.
        self._logged: set[str] = set()
        self._subscriptions = tuple(subscriptions)
        self._listener = listener
        self._queue = SendQueue(settings.outgoing)
        self._container = f"vdsm-{uuid.uuid4()}"
        self._reconnect = Reconnect(settings)
        self._stopping = False
        self._flushing = False
        self._stopped = threading.Event()
        # By subscription: messages that the listener has not processed yet, of whichever connection.
        self._held = [0] * len(self._subscriptions)
        self._reset()

    def _reset(self) -> None:
        self._connection: BrokerConnection | None = None
        self._session: BrokerSession | None = None
        self._up = False
        self._attempt: Timer | None = None
        self._retrying = False

    # -- from any thread

    @property
    def is_up(self) -> bool:
        """Whether messages can be sent now."""
        return self._up

    @property
    def is_refused(self) -> bool:
        """Whether every broker was tried, and each refused this identity or failed to prove its own."""
        return self._reconnect.is_refused

    @property
    def broker(self) -> Broker:
        """The broker of the present connection or attempt."""
        return self._reconnect.broker

    @property
    def waiting(self) -> int:
        """Bytes that wait to be sent."""
        return self._queue.size

    def start(self) -> None:
        """Begin to connect."""
        self.loop.call_soon(self._connect)

    def send(
        self,
        address: Address,
        data: bytes,
        *,
        timeout: float = 0.0,
        lifetime: float = 0.0,
        on_outcome: OnOutcome | None = None,
    ) -> bool:
        """Send a message, now or when there is a broker that takes it.

        :param timeout: seconds to wait for room; 0 on the loop's thread
        :param lifetime: seconds after which the message is not worth sending any more
        :param on_outcome: called, on the loop's thread, with the outcome
        :returns: whether there was room
        """
        message = QueuedMessage(address, data, lifetime or self.settings.lifetime, on_outcome)
        if not self._queue.put(message, timeout):
            return False
        self.flush()
        return True

    def flush(self) -> None:
        """Send what is queued."""
        if not self._flushing:
            self._flushing = True
            self.loop.call_soon(self._flush)

    def done(self, link: int) -> None:
        """Note that a received message is processed: its credit returns to the broker."""
        self.loop.call_soon(lambda: self._grant(link))

    def stop(self, grace: float) -> None:
        """Send what is queued, for `grace` seconds at most, and close. The loop's owner stops the loop."""
        self.loop.call_soon(lambda: self._stop(grace))
        self._stopped.wait(grace + 2 * _CLOSE)

    # -- connecting

    def _connect(self) -> None:
        if self._stopping:
            return
        settings = self.settings
        self._connection = BrokerConnection(
            self.loop,
            self.broker,
            settings.security,
            self,
            container=self._container,
            idle_timeout=settings.idle_timeout,
        )
        self._attempt = self.loop.call_later(
            _ATTEMPT, lambda: self._abandon(f"no connection within {_ATTEMPT:g} s")
        )
        self._connection.open()

    def opened(self) -> None:
        """See `ConnectionHandler`."""
        assert self._connection is not None
        connection = self._connection.connection
        settings = self.settings
        name = settings.dialect
        dialect = DIALECTS[name] if name else recognize(connection.remote_properties)
        if dialect is None:
            self._abandon("the make of the broker is not known: set the option 'dialect'")
            return
        self.dialect = dialect
        self._session = BrokerSession(
            connection, dialect, credit=settings.credit, max_message=settings.max_message
        )
        # What arrived over an earlier connection and is still being processed counts against the credit.
        self._session.open(self._subscriptions, self._held)

    def link_opened(self, link: Link) -> None:
        """See `ConnectionHandler`."""
        assert self._session is not None
        if not self._session.link_opened(link) or self._up or self._stopping:
            return
        self._up = True
        self._reconnect.connected()
        self.connections += 1
        self.trouble = ""
        self._logged.clear()
        self._cancel_attempt()
        log.info("Connected to the broker %s (%s)", self.broker, self.dialect.name if self.dialect else "?")
        self._listener.up()
        self.flush()

    def ended(self, reason: str) -> None:
        """See `ConnectionHandler`."""
        was_up, broker = self._up, self.broker
        unsettled = self._session.unsettled if self._session is not None else []
        self._cancel_attempt()
        self._reset()
        self.trouble = f"{broker}: {reason}"
        for message in unsettled:
            self._queue.done(message, Outcome.LOST)
        self._queue.drop_confirmed()
        if self._stopping:
            self._queue.clear()
            self._stopped.set()
            return
        known = self.trouble in self._logged
        self._logged.add(self.trouble)
        (log.debug if known else log.warning)("No connection to the broker %s: %s", broker, reason)
        if was_up:
            self._listener.down(reason)
        self.loop.call_later(self._reconnect.ended(reason), self._connect)

    def _abandon(self, reason: str) -> None:
        if self._connection is not None and not self._up:
            self._connection.abandon(reason)

    def _cancel_attempt(self) -> None:
        if self._attempt is not None:
            self._attempt.cancel()
            self._attempt = None

    # -- in

    def delivered(self, delivery: Delivery) -> None:
        """See `ConnectionHandler`."""
        assert self._session is not None
        if delivery.link.is_sender:
            settled = self._session.settle(delivery)
            if settled is not None:
                self._queue.done(settled.message, settled.outcome)
            return
        received = self._session.receive(delivery)
        if received is None:
            return
        self._held[received.link] += 1
        if received.aborted:
            self._grant(received.link)
        else:
            self._listener.received(received.data, received.link, oversized=received.oversized)

    def _grant(self, link: int) -> None:
        self._held[link] -= 1
        if self._session is not None and self._session.grant(link) and self._connection is not None:
            self._connection.pump()

    # -- out

    def credited(self, link: Link) -> None:
        """See `ConnectionHandler`."""
        if link.is_sender:
            self.flush()

    def _flush(self) -> None:
        self._flushing = False
        if not self._up or self._connection is None or self._session is None:
            return
        sent, kept = self._session.transmit(self._queue.take())
        for message in sent:
            self._queue.done(message, Outcome.ACCEPTED)
        if kept:
            self._queue.put_back(kept)
        if self._session.is_congested and not self._retrying:
            self._retrying = True
            self.loop.call_later(_RETRY, self._retry)
        self._connection.pump()

    def _retry(self) -> None:
        self._retrying = False
        self.flush()

    # -- the end

    def _stop(self, grace: float) -> None:
        self._stopping = True
        self._queue.close()
        self.loop.call_later(grace, self._close)
        self._close_when_empty()

    def _close_when_empty(self) -> None:
        if self._up and self._queue.size:
            self._flush()
            self.loop.call_later(_RETRY, self._close_when_empty)
        else:
            self._close()

    def _close(self) -> None:
        if self._connection is None:
            self._queue.clear()
            self._stopped.set()
            return
        connection = self._connection
        if self._up:
            self._up = False
            self.loop.call_later(_CLOSE, lambda: connection.abandon("stopped"))
            connection.close()
        else:
            connection.abandon("stopped")
