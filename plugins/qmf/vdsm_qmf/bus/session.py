"""The AMQP session of one connection: a link for each subscription and each target, and their deliveries."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Final, NamedTuple

from proton import Connection, Delivery, Described, Endpoint, Link, Receiver, Sender, symbol

from vdsm_qmf.bus.dialects import Dialect
from vdsm_qmf.bus.send_queue import Outcome, QueuedMessage
from vdsm_qmf.bus.settings import Subscription
from vdsm_qmf.protocol.message import Address
from vdsm_qmf.protocol.names import DIRECT, TOPIC

#: Bytes that Proton may hold for a broker that does not read.
_IN_FLIGHT: Final = 1024 * 1024


class Received(NamedTuple):
    """A message, or the beginning of an oversized one, and the number of its subscription."""

    data: bytes
    link: int
    oversized: bool
    aborted: bool


class Settled(NamedTuple):
    """A message that left this session, and what became of it."""

    message: QueuedMessage
    outcome: Outcome


class BrokerSession:
    """Receives from subscriptions and sends to targets, over one connection.

    :param credit: messages that may be under way to this process, for each subscription
    :param max_message: bytes of the largest message that is received whole
    """

    def __init__(self, connection: Connection, dialect: Dialect, *, credit: int, max_message: int) -> None:
        self._dialect = dialect
        self._credit = credit
        self._max_message = max_message
        self._session = connection.session()
        self._receivers: list[Receiver] = []
        self._senders: dict[str | None, Sender] = {}
        self._unanswered: set[str] = set()
        self._buffers: dict[str, bytearray] = {}
        self._unsettled: dict[str, QueuedMessage] = {}
        self._owed: list[int] = []
        self._tag = 0
        #: Whether sending stopped because the broker does not read.
        self.is_congested = False

    def open(self, subscriptions: Sequence[Subscription], held: Sequence[int]) -> None:
        """Open the session and its links.

        :param held: by subscription, messages that are still being processed; they count against the credit
        """
        self._session.open()
        self._owed = [0] * len(subscriptions)
        for number, subscription in enumerate(subscriptions):
            self._receive(number, subscription, self._credit - held[number])
        for exchange in (TOPIC, DIRECT):
            self._sender(self._dialect.target(Address(exchange, "")))
        self._unanswered = {link.name for link in (*self._receivers, *self._senders.values())}

    def link_opened(self, link: Link) -> bool:
        """Note the broker's answer to an attach; return whether the links of `open` are all there."""
        self._unanswered.discard(link.name)
        return not self._unanswered

    @property
    def unsettled(self) -> list[QueuedMessage]:
        """Messages whose outcome the broker has not sent yet."""
        return list(self._unsettled.values())

    def _receive(self, number: int, subscription: Subscription, credit: int) -> None:
        address, wanted = self._dialect.source(*subscription)
        receiver = self._session.receiver(f"in-{number}-{uuid.uuid4()}")
        receiver.source.address = address
        receiver.snd_settle_mode = Link.SND_SETTLED
        if wanted is not None:
            descriptor, key = wanted
            receiver.source.filter.put_dict({symbol("key"): Described(symbol(descriptor), key)})
        receiver.open()
        receiver.flow(max(0, credit))
        self._receivers.append(receiver)

    def _sender(self, target: str | None) -> Sender:
        if target not in self._senders:
            sender = self._session.sender(f"out-{len(self._senders)}-{uuid.uuid4()}")
            if target is not None:
                sender.target.address = target
            sender.open()
            self._senders[target] = sender
        return self._senders[target]

    # -- in

    def receive(self, delivery: Delivery) -> Received | None:
        """Read what there is of a message; return the message once it is complete."""
        link = delivery.link
        buffer = self._buffers.setdefault(link.name, bytearray())
        while (pending := delivery.pending) > 0:
            data = link.recv(pending)
            room = self._max_message + 1 - len(buffer)
            if data is None:
                break
            if room > 0:
                buffer += data[:room]
        if delivery.partial:
            return None
        del self._buffers[link.name]
        link.advance()
        delivery.update(Delivery.ACCEPTED)
        delivery.settle()
        return Received(
            data=bytes(buffer),
            link=int(link.name.split("-")[1]),
            oversized=len(buffer) > self._max_message,
            aborted=delivery.aborted,
        )

    def grant(self, number: int) -> bool:
        """Return the credit of a processed message; return whether a frame is to be sent for it."""
        if number >= len(self._receivers):
            return False
        self._owed[number] += 1
        # Credit in portions: each grant is a frame of its own.
        if self._owed[number] * 4 < self._credit:
            return False
        self._receivers[number].flow(self._owed[number])
        self._owed[number] = 0
        return True

    # -- out

    def transmit(self, messages: list[QueuedMessage]) -> tuple[list[QueuedMessage], list[QueuedMessage]]:
        """Send what the broker takes now.

        :returns: messages that were sent and need no confirmation, and messages to keep, in their order
        """
        sent: list[QueuedMessage] = []
        kept: list[QueuedMessage] = []
        blocked: set[str | None] = set()
        self.is_congested = False
        for number, message in enumerate(messages):
            if self._session.outgoing_bytes > _IN_FLIGHT:
                self.is_congested = True
                return sent, kept + messages[number:]
            target = self._dialect.target(message.address)
            if target in blocked or not self._transmit(self._sender(target), message, sent):
                # Messages to one target keep their order.
                blocked.add(target)
                kept.append(message)
                if len(blocked) == len(self._senders):
                    return sent, kept + messages[number + 1 :]
        return sent, kept

    def _transmit(self, sender: Sender, message: QueuedMessage, sent: list[QueuedMessage]) -> bool:
        if not sender.state & Endpoint.REMOTE_ACTIVE or sender.credit <= 0:
            return False
        self._tag += 1
        tag = str(self._tag)
        delivery = sender.delivery(tag)
        sender.stream(message.data)
        sender.advance()
        if message.on_outcome is None:
            delivery.settle()
            sent.append(message)
        else:
            self._unsettled[tag] = message
        return True

    def settle(self, delivery: Delivery) -> Settled | None:
        """Take the broker's outcome of a message that was sent; None if it has sent none."""
        if not delivery.updated:
            return None
        message = self._unsettled.pop(str(delivery.tag), None)
        accepted = delivery.remote_state == Delivery.ACCEPTED
        delivery.settle()
        if message is None:
            return None
        return Settled(message, Outcome.ACCEPTED if accepted else Outcome.REFUSED)
