"""How brokers spell addresses. Everything that depends on the make of a broker is here."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Final

from vdsm_qmf.message import Address
from vdsm_qmf.names import DIRECT, FIRST_DIRECT, TOPIC

#: The filters of qpidd that bind a queue to an exchange by a key (its legacy AMQP filters).
_TOPIC_FILTER: Final = "apache.org:legacy-amqp-topic-binding:string"
_DIRECT_FILTER: Final = "apache.org:legacy-amqp-direct-binding:string"
#: Bytes of a routing key or the name of a queue (AMQP 0-10: str8).
_LONGEST_KEY: Final = 255
#: What names of queues that consoles make do not begin with: such are exchanges, or the broker's own.
_RESERVED: Final = ("amq.", "qmf.", "qpid.")


class Dialect(ABC):
    """The address forms of one make of broker.

    :cvar name: as the configuration names it
    :cvar replies: the exchanges that an answer may be sent to. A broker ends the connection, or the session,
        of who sends to a node that is not there or that he has no leave for: an address that somebody writes
        into a request must not bring that about
    """

    name: str
    replies: frozenset[str]

    @abstractmethod
    def source(self, exchange: str, key: str) -> tuple[str, tuple[str, str] | None]:
        """What to receive from: an address, and a filter (its descriptor and the key) if it needs one."""

    @abstractmethod
    def reply_to(self, exchange: str, key: str) -> str:
        """What to write into `reply-to` so that the answer arrives at a key."""

    @abstractmethod
    def parse(self, reply_to: str) -> Address | None:
        """Where an answer goes; None if nothing can, or may, be sent there."""

    def _answerable(self, address: Address) -> Address | None:
        """The address, if an answer may go there."""
        if not 0 < len(address.key.encode("utf-8", "replace")) <= _LONGEST_KEY:
            return None
        return address if address.exchange in self.replies else None

    @abstractmethod
    def target(self, address: Address) -> str | None:
        """The address of the link that messages to `address` are sent on; None is the anonymous relay."""


class Qpidd(Dialect):
    """Apache Qpid's C++ broker."""

    name = "qpidd"
    # The empty one is that of the queues by their names.
    replies = frozenset({TOPIC, DIRECT, FIRST_DIRECT, ""})

    def source(self, exchange: str, key: str) -> tuple[str, tuple[str, str] | None]:
        """The exchange's name; the key is a filter."""
        return exchange, (_DIRECT_FILTER if exchange == DIRECT else _TOPIC_FILTER, key)

    def reply_to(self, exchange: str, key: str) -> str:
        """`exchange/key`."""
        return f"{exchange}/{key}"

    def parse(self, reply_to: str) -> Address | None:
        """`exchange/key`, split at the first slash, or the name of a queue."""
        exchange, slash, key = reply_to.partition("/")
        if slash:
            return self._answerable(Address(exchange, key)) if exchange else None
        # The relay would take the name of an exchange for that.
        return None if reply_to.startswith(_RESERVED) else self._answerable(Address("", reply_to))

    def target(self, address: Address) -> str | None:
        """Everything goes over the anonymous relay."""
        del address
        return None


class RabbitMQ(Dialect):
    """RabbitMQ 3.x with its plugin `rabbitmq_amqp1_0`."""

    name = "rabbitmq"
    # A host may send to the topic exchange what is an indication only.
    replies = frozenset({DIRECT})

    def source(self, exchange: str, key: str) -> tuple[str, tuple[str, str] | None]:
        """`/exchange/NAME/KEY`."""
        return f"/exchange/{exchange}/{key}", None

    def reply_to(self, exchange: str, key: str) -> str:
        """As the source."""
        return f"/exchange/{exchange}/{key}"

    def parse(self, reply_to: str) -> Address | None:
        """As it is written by `reply_to`; the prefix may be left out."""
        exchange, _, key = reply_to.removeprefix("/exchange/").partition("/")
        return self._answerable(Address(exchange, key))

    def target(self, address: Address) -> str | None:
        """A link for each exchange; there is no anonymous relay."""
        return f"/exchange/{address.exchange}"


DIALECTS: Final[Mapping[str, Dialect]] = {dialect.name: dialect for dialect in (Qpidd(), RabbitMQ())}


def recognise(properties: Mapping[Any, Any] | None) -> Dialect | None:
    """The dialect of a broker by the properties of its connection; None if it is not known."""
    product = str((properties or {}).get("product", "")).lower()
    if product == "rabbitmq":
        return DIALECTS["rabbitmq"]
    return DIALECTS["qpidd"] if product.startswith("qpid") else None
