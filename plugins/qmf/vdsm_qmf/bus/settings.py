"""Where the bus is, what is received from it, and its bounds."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from vdsm_qmf.bus.security import Broker, Security


class Subscription(NamedTuple):
    """A key of an exchange to receive from."""

    exchange: str
    key: str


class BusSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where the bus is, and its bounds. Sizes are in bytes, times in seconds.

    :ivar dialect: name of the dialect; empty: recognized by the broker's properties
    :ivar outgoing: size of the send queue
    :ivar credit: messages that may be under way to this process, for each subscription
    :ivar max_message: size of the largest message that is received whole
    :ivar idle_timeout: silence after which a broker counts as gone
    :ivar reconnect_first: wait before the second attempt to connect; it doubles with each further attempt
    :ivar reconnect_max: the longest wait between two attempts
    :ivar lifetime: how long a message is worth sending, unless `Bus.send` is called with another
    """

    brokers: tuple[Broker, ...]
    security: Security = Security()
    dialect: str = ""
    outgoing: int = 16 * 1024 * 1024
    credit: int = 200
    max_message: int = 4 * 1024 * 1024
    idle_timeout: float = 10.0
    reconnect_first: float = 0.2
    reconnect_max: float = 10.0
    lifetime: float = 60.0
