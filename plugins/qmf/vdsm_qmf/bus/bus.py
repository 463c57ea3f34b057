"""The message bus as agents and consoles see it: it comes and goes, and messages go in and out."""

from __future__ import annotations

import logging
import random
import threading
import time
import uuid
from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

import msgspec
from proton import Delivery, Described, Endpoint, Link, Receiver, Sender, Session, symbol

from vdsm_qmf.bus.dialects import DIALECTS, Dialect, recognise
from vdsm_qmf.bus.loop import Loop, Timer
from vdsm_qmf.bus.outbox import Letter, OnOutcome, Outbox, Outcome
from vdsm_qmf.bus.security import Broker, Security
from vdsm_qmf.bus.wire import Wire
from vdsm_qmf.message import Address
from vdsm_qmf.names import DIRECT, TOPIC

log = logging.getLogger(__name__)

#: Bytes that Proton may hold for a broker that does not read.
_IN_FLIGHT: Final = 1024 * 1024
#: Seconds until the bytes of such a broker are looked at again.
_LOOK_AGAIN: Final = 0.02
#: Seconds that one attempt to connect may take, up to the last link.
_ATTEMPT: Final = 15.0
_GOODBYE: Final = 1.0
#: Parts of reasons that another attempt does not change: who one is, or who the broker is.
_HOPELESS: Final = ("amqp:unauthorized-access", "certificate verify failed")


class Subscription(NamedTuple):
    """A key of an exchange to receive from."""

    exchange: str
    key: str


class BusSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where the bus is, and its bounds. Sizes are in bytes, times in seconds.

    :ivar dialect: name of the dialect; empty: by what the broker says of itself
    :ivar credit: messages that may be on their way in, for each subscription
    """

    brokers: tuple[Broker, ...]
    security: Security = Security()
    dialect: str = ""
    outgoing: int = 16 * 1024 * 1024
    credit: int = 200
    max_message: int = 4 * 1024 * 1024
    idle_timeout: float = 10.0
    reconnect_first: float = 0.2
    reconnect_most: float = 10.0
    lifetime: float = 60.0


class Listener(Protocol):
    """Who uses the bus. Everything is called on the loop's thread, and must return at once."""

    def up(self) -> None:
        """Messages can be sent, and the subscriptions are in force."""

    def down(self, reason: str) -> None:
        """The broker is gone."""

    def received(self, data: bytes, link: int, *, oversized: bool) -> None:
        """A message came in. `Bus.done(link)` must follow, from any thread.

        :param data: the message, or its beginning if it is oversized
        :param link: number of the subscription
        """


class Bus:
    """A connection that is made again and again, to one broker after the other."""

    def __init__(
        self, loop: Loop, settings: BusSettings, subscriptions: Sequence[Subscription], listener: Listener
    ) -> None:
        self.loop = loop
        self.settings = settings
        self.dialect: Dialect | None = None
        #: How often it has been up.
        self.connections = 0
        self.trouble = "not connected yet"
        #: What the log has said since the last connection: a broker that stays away is no news.
        self._said: set[str] = set()
        self._subscriptions = tuple(subscriptions)
        self._listener = listener
        self._outbox = Outbox(settings.outgoing)
        self._container = f"vdsm-{uuid.uuid4()}"
        self._attempts = 0
        self._stopping = False
        self._flushing = False
        self._failures = 0
        self._refusals = 0
        self._up_since = 0.0
        self._stopped = threading.Event()
        # Of each subscription: messages that the listener has and has not done with, of whichever connection.
        self._held = [0] * len(self._subscriptions)
        self._reset()

    def _reset(self) -> None:
        self._wire: Wire | None = None
        self._up = False
        self._session: Session | None = None
        self._receivers: list[Receiver] = []
        self._senders: dict[str | None, Sender] = {}
        self._waiting_for: set[str] = set()
        self._buffers: dict[str, bytearray] = {}
        self._unsettled: dict[str, Letter] = {}
        self._owed = [0] * len(self._subscriptions)
        self._tag = 0
        self._timer: Timer | None = None
        self._looking_again = False

    # -- from any thread

    @property
    def is_up(self) -> bool:
        """Whether messages can be sent now."""
        return self._up

    @property
    def is_refused(self) -> bool:
        """Whether every broker was tried, and each has refused who asks, or is not the one it should be."""
        return self._refusals >= len(self.settings.brokers)

    @property
    def broker(self) -> Broker:
        """The broker that is used, or is tried."""
        return self.settings.brokers[self._attempts % len(self.settings.brokers)]

    @property
    def waiting(self) -> int:
        """Bytes that wait to be sent."""
        return self._outbox.weight

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
        outcome: OnOutcome | None = None,
    ) -> bool:
        """Send a message, now or when the broker is there and takes it.

        :param timeout: seconds to wait for room; never on the loop's thread
        :param lifetime: seconds after which it is not worth sending any more
        :param outcome: called, on the loop's thread, with what became of it
        :returns: whether there was room
        """
        letter = Letter(address, data, lifetime or self.settings.lifetime, outcome)
        if not self._outbox.put(letter, timeout):
            return False
        self.flush()
        return True

    def flush(self) -> None:
        """Send what waits."""
        if not self._flushing:
            self._flushing = True
            self.loop.call_soon(self._flush)

    def done(self, link: int) -> None:
        """A message that came in has been dealt with: another one may come."""
        self.loop.call_soon(lambda: self._grant(link))

    def stop(self, grace: float) -> None:
        """Send what waits, for `grace` seconds at the most, and close. The loop's owner stops the loop."""
        self.loop.call_soon(lambda: self._stop(grace))
        self._stopped.wait(grace + 2 * _GOODBYE)

    # -- connecting

    def _connect(self) -> None:
        if self._stopping:
            return
        settings = self.settings
        self._wire = Wire(
            self.loop,
            self.broker,
            settings.security,
            self,
            container=self._container,
            idle_timeout=settings.idle_timeout,
        )
        self._timer = self.loop.call_later(_ATTEMPT, lambda: self._abandon("it took too long"))
        self._wire.open()

    def opened(self) -> None:
        """See `Owner`."""
        assert self._wire is not None
        connection = self._wire.connection
        name = self.settings.dialect
        dialect = DIALECTS[name] if name else recognise(connection.remote_properties)
        if dialect is None:
            self._abandon("its make is not known: set the option 'dialect'")
            return
        self.dialect = dialect
        self._session = connection.session()
        self._session.open()
        for number, subscription in enumerate(self._subscriptions):
            self._receive(number, subscription, dialect)
        for exchange in (TOPIC, DIRECT):
            self._sender(dialect.target(Address(exchange, "")))
        self._waiting_for = {link.name for link in (*self._receivers, *self._senders.values())}

    def _receive(self, number: int, subscription: Subscription, dialect: Dialect) -> None:
        assert self._session is not None
        address, wanted = dialect.source(*subscription)
        receiver = self._session.receiver(f"in-{number}-{uuid.uuid4()}")
        receiver.source.address = address
        receiver.snd_settle_mode = Link.SND_SETTLED
        if wanted is not None:
            descriptor, key = wanted
            receiver.source.filter.put_dict({symbol("key"): Described(symbol(descriptor), key)})
        receiver.open()
        # What came over an earlier connection and is still being worked on counts.
        receiver.flow(max(0, self.settings.credit - self._held[number]))
        self._receivers.append(receiver)

    def _sender(self, target: str | None) -> Sender:
        if target not in self._senders:
            assert self._session is not None
            sender = self._session.sender(f"out-{len(self._senders)}-{uuid.uuid4()}")
            if target is not None:
                sender.target.address = target
            sender.open()
            self._senders[target] = sender
        return self._senders[target]

    def link_opened(self, link: Link) -> None:
        """See `Owner`."""
        self._waiting_for.discard(link.name)
        if self._waiting_for or self._up or self._stopping:
            return
        self._up = True
        self._up_since = time.monotonic()
        self.connections += 1
        self.trouble = ""
        self._said.clear()
        self._cancel_timer()
        log.info("Connected to the broker %s (%s)", self.broker, self.dialect.name if self.dialect else "?")
        self._listener.up()
        self.flush()

    def ended(self, reason: str) -> None:
        """See `Owner`."""
        was_up, unsettled = self._up, list(self._unsettled.values())
        broker = self.broker
        self._cancel_timer()
        self._reset()
        self.trouble = f"{broker}: {reason}"
        for letter in unsettled:
            self._outbox.done(letter, Outcome.LOST)
        self._outbox.drop_sure()
        if self._stopping:
            self._outbox.clear()
            self._stopped.set()
            return
        known = self.trouble in self._said
        self._said.add(self.trouble)
        (log.debug if known else log.warning)("No connection to the broker %s: %s", broker, reason)
        if was_up:
            self._listener.down(reason)
            if time.monotonic() - self._up_since > self.settings.reconnect_most:
                # One that ends soon after it began counts as failed: the broker has too much to do.
                self._failures = 0
        self._refusals = self._refusals + 1 if any(part in reason for part in _HOPELESS) else 0
        self._attempts += 1
        self.loop.call_later(self._pause(), self._connect)

    def _pause(self) -> float:
        """Seconds until the next attempt. Each broker is tried before the wait grows."""
        rounds = self._failures // len(self.settings.brokers)
        self._failures += 1
        longest = min(self.settings.reconnect_most, self.settings.reconnect_first * 2.0 ** min(rounds, 16))
        # A thousand hosts that lose one broker at once do not come back at once.
        spread = random.uniform(0.5, 1.0)  # noqa: S311 - no secret
        return longest * spread

    def _abandon(self, reason: str) -> None:
        if self._wire is not None and not self._up:
            self._wire.abandon(reason)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # -- in

    def delivered(self, delivery: Delivery) -> None:
        """See `Owner`."""
        link = delivery.link
        if link.is_sender:
            self._settled(delivery)
            return
        buffer = self._buffers.setdefault(link.name, bytearray())
        while (pending := delivery.pending) > 0:
            data = link.recv(pending)
            room = self.settings.max_message + 1 - len(buffer)
            if data is None:
                break
            if room > 0:
                buffer += data[:room]
        if delivery.partial:
            return
        del self._buffers[link.name]
        link.advance()
        delivery.update(Delivery.ACCEPTED)
        delivery.settle()
        number = int(link.name.split("-")[1])
        self._held[number] += 1
        if delivery.aborted:
            self._grant(number)
            return
        oversized = len(buffer) > self.settings.max_message
        self._listener.received(bytes(buffer), number, oversized=oversized)

    def _grant(self, number: int) -> None:
        self._held[number] -= 1
        if number >= len(self._receivers):
            return
        self._owed[number] += 1
        # Credit in portions: each grant is a frame of its own.
        if self._owed[number] * 4 >= self.settings.credit:
            self._receivers[number].flow(self._owed[number])
            self._owed[number] = 0
            if self._wire is not None:
                self._wire.pump()

    # -- out

    def credited(self, link: Link) -> None:
        """See `Owner`."""
        if link.is_sender:
            self.flush()

    def _flush(self) -> None:
        self._flushing = False
        if not self._up or self._wire is None:
            return
        letters = self._outbox.take()
        kept = self._transmit_all(letters)
        if kept:
            self._outbox.put_back(kept)
        self._wire.pump()

    def _transmit_all(self, letters: list[Letter]) -> list[Letter]:
        assert self._session is not None
        assert self.dialect is not None
        kept: list[Letter] = []
        blocked: set[str | None] = set()
        for number, letter in enumerate(letters):
            if self._session.outgoing_bytes > _IN_FLIGHT:
                self._look_again()
                return kept + letters[number:]
            target = self.dialect.target(letter.address)
            if target in blocked or not self._transmit(self._sender(target), letter):
                # What goes to one target keeps its order.
                blocked.add(target)
                kept.append(letter)
                if len(blocked) == len(self._senders):
                    return kept + letters[number + 1 :]
        return kept

    def _look_again(self) -> None:
        if not self._looking_again:
            self._looking_again = True
            self.loop.call_later(_LOOK_AGAIN, self._looked_again)

    def _looked_again(self) -> None:
        self._looking_again = False
        self.flush()

    def _transmit(self, sender: Sender, letter: Letter) -> bool:
        if not sender.state & Endpoint.REMOTE_ACTIVE or sender.credit <= 0:
            return False
        self._tag += 1
        tag = str(self._tag)
        delivery = sender.delivery(tag)
        sender.stream(letter.data)
        sender.advance()
        if letter.outcome is None:
            delivery.settle()
            self._outbox.done(letter, Outcome.TAKEN)
        else:
            self._unsettled[tag] = letter
        return True

    def _settled(self, delivery: Delivery) -> None:
        if not delivery.updated:
            return
        letter = self._unsettled.pop(str(delivery.tag), None)
        outcome = Outcome.TAKEN if delivery.remote_state == Delivery.ACCEPTED else Outcome.REFUSED
        delivery.settle()
        if letter is not None:
            self._outbox.done(letter, outcome)

    # -- the end

    def _stop(self, grace: float) -> None:
        self._stopping = True
        self._outbox.close()
        self.loop.call_later(grace, self._goodbye)
        self._when_empty()

    def _when_empty(self) -> None:
        if self._up and self._outbox.weight and self._wire is not None:
            self._flush()
            self.loop.call_later(_LOOK_AGAIN, self._when_empty)
        else:
            self._goodbye()

    def _goodbye(self) -> None:
        if self._wire is None:
            self._outbox.clear()
            self._stopped.set()
            return
        wire = self._wire
        if self._up:
            self._up = False
            self.loop.call_later(_GOODBYE, lambda: wire.abandon("stopped"))
            wire.close()
        else:
            wire.abandon("stopped")
