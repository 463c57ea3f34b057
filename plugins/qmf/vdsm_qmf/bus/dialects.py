"""The address forms of brokers. Everything that depends on the make of a broker is here."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Final

from vdsm_qmf.protocol.message import Address
from vdsm_qmf.protocol.names import DIRECT, FIRST_DIRECT, TOPIC

#: The filters of qpidd that bind a queue to an exchange by a key (its legacy AMQP filters).
_TOPIC_FILTER: Final = "apache.org:legacy-amqp-topic-binding:string"
_DIRECT_FILTER: Final = "apache.org:legacy-amqp-direct-binding:string"
#: Bytes of a routing key or the name of a queue (AMQP 0-10: str8).
_LONGEST_KEY: Final = 255
#: Prefixes of exchanges and of the broker's own queues, which are no reply queues of consoles.
_RESERVED: Final = ("amq.", "qmf.", "qpid.")


class Dialect(ABC):
    """The address forms of one make of broker.

    :cvar name: value of the option `dialect`
    :cvar replies: the exchanges that an answer may be sent to. A broker ends the connection, or the session,
        of a client that sends to a node that is absent or not allowed; a reply address in a request must not
        cause that
    """

    name: str
    replies: frozenset[str]

    @abstractmethod
    def source(self, exchange: str, key: str) -> tuple[str, tuple[str, str] | None]:
        """Return the source address of a subscription, and its filter: a descriptor and the key, or None."""

    @abstractmethod
    def reply_to(self, exchange: str, key: str) -> str:
        """Return the `reply-to` of a request whose answer is to arrive at a key."""

    @abstractmethod
    def parse(self, reply_to: str) -> Address | None:
        """Return the destination of an answer; None if no answer may be sent there."""

    def _answerable(self, address: Address) -> Address | None:
        """Return the address if an answer may be sent there."""
        if not 0 < len(address.key.encode("utf-8", "replace")) <= _LONGEST_KEY:
            return None
        return address if address.exchange in self.replies else None

    @abstractmethod
    def target(self, address: Address) -> str | None:
        """Return the target address of the link for messages to `address`; None for the anonymous relay."""


class Qpidd(Dialect):
    """Apache Qpid's C++ broker."""

    name = "qpidd"
    # The empty name is the exchange of all queues by their names.
    replies = frozenset({TOPIC, DIRECT, FIRST_DIRECT, ""})

    def source(self, exchange: str, key: str) -> tuple[str, tuple[str, str] | None]:
        """Return the exchange's name; the key is a filter."""
        return exchange, (_DIRECT_FILTER if exchange == DIRECT else _TOPIC_FILTER, key)

    def reply_to(self, exchange: str, key: str) -> str:
        """Return `exchange/key`."""
        return f"{exchange}/{key}"

    def parse(self, reply_to: str) -> Address | None:
        """Parse `exchange/key`, split at the first slash, or the name of a queue."""
        exchange, slash, key = reply_to.partition("/")
        if slash:
            return self._answerable(Address(exchange, key)) if exchange else None
        # The relay would take the name as that of an exchange.
        return None if reply_to.startswith(_RESERVED) else self._answerable(Address("", reply_to))

    def target(self, address: Address) -> str | None:
        """Return None: all messages are sent over the anonymous relay."""
        del address
        return None


class RabbitMQ(Dialect):
    """RabbitMQ 3.x with its plugin `rabbitmq_amqp1_0`."""

    name = "rabbitmq"
    # A host may send indications only to the topic exchange.
    replies = frozenset({DIRECT})

    def source(self, exchange: str, key: str) -> tuple[str, tuple[str, str] | None]:
        """Return `/exchange/NAME/KEY`."""
        return f"/exchange/{exchange}/{key}", None

    def reply_to(self, exchange: str, key: str) -> str:
        """Return the address of the source."""
        return f"/exchange/{exchange}/{key}"

    def parse(self, reply_to: str) -> Address | None:
        """Parse what `reply_to` returns; the prefix is optional."""
        exchange, _, key = reply_to.removeprefix("/exchange/").partition("/")
        return self._answerable(Address(exchange, key))

    def target(self, address: Address) -> str | None:
        """Return the exchange: each has a link of its own, there is no anonymous relay."""
        return f"/exchange/{address.exchange}"


DIALECTS: Final[Mapping[str, Dialect]] = {dialect.name: dialect for dialect in (Qpidd(), RabbitMQ())}


def recognize(properties: Mapping[Any, Any] | None) -> Dialect | None:
    """Return the dialect of a broker by its connection properties; None if the product is unknown."""
    product = str((properties or {}).get("product", "")).lower()
    if product == "rabbitmq":
        return DIALECTS["rabbitmq"]
    return DIALECTS["qpidd"] if product.startswith("qpid") else None
