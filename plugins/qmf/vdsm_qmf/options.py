"""`[plugin.qmf]` of the configuration."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from vdsm_bridge import Options
from vdsm_qmf.names import PRODUCT, VENDOR

Seconds = Annotated[float, Meta(gt=0, le=86_400, extra_json_schema={"x-unit": "s"})]
#: Vendor and product are told apart by a colon, so they have none.
NamePart = Annotated[str, Meta(pattern=r"^[^:\s]+$", max_length=64)]


class QmfOptions(Options, frozen=True):
    """Where the bus is, who the host is on it, and the bounds. Sizes are in bytes, times in seconds."""

    #: URLs of brokers, amqp://user@host or amqps://...; tried in turn. Without one the binding does nothing.
    brokers: tuple[str, ...] = ()
    #: How the brokers spell addresses; empty: by what they say of themselves.
    dialect: Literal["", "qpidd", "rabbitmq"] = ""
    #: Patterns with `*` of the queues that answers may be sent to, besides the exchanges of QMF (qpidd only).
    #: An ACL of the broker must let the host send to each of them, or an answer costs it its connection.
    reply_queues: tuple[str, ...] = ("*",)
    #: The first part of the name of the agent, which is vendor:product:instance.
    vendor: NamePart = VENDOR
    #: The second part of the name of the agent.
    product: NamePart = PRODUCT
    #: The last part of the name of the agent; empty: the uuid of the host.
    instance: Annotated[str, Meta(max_length=128)] = ""
    #: File that counts the starts of the agent; without it the time of the start is the epoch.
    epoch_file: str = ""
    #: Time between two heartbeats. Consoles take an agent for lost after three times that.
    heartbeat: Seconds = 10.0
    #: Time between two looks for objects whose properties have changed, to tell of them; 0: never.
    data_interval: Annotated[float, Meta(ge=0, le=86_400, extra_json_schema={"x-unit": "s"})] = 30.0
    #: The user on the broker, where its URL names none.
    user: str = ""
    #: File with the user's password, readable by its owner only.
    password_file: str = ""
    #: SASL mechanisms; empty: the best that both sides have, never a password in the clear.
    mechanisms: tuple[Literal["EXTERNAL", "SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"], ...] = ()
    #: Prove nothing to the broker. Loopback only; its users then count as callers on loopback.
    anonymous: bool = False
    #: Certificates of the authorities that a broker's certificate may come from.
    ca_file: str = ""
    #: The host's own certificate, for EXTERNAL.
    cert_file: str = ""
    #: The key of the host's certificate; empty: it is in the same file.
    key_file: str = ""
    #: Calls that run at once; those that wait for events get half of them.
    threads: Annotated[int, Meta(ge=1, le=1000)] = 32
    #: Calls that may wait for a thread; further ones are refused.
    queue: Annotated[int, Meta(ge=1, le=100_000)] = 500
    #: The largest request.
    max_message: Annotated[int, Meta(ge=1024, le=2**30, extra_json_schema={"x-unit": "B"})] = 4 * 1024 * 1024
    #: What may wait to be sent.
    outgoing: Annotated[int, Meta(ge=64 * 1024, le=2**32, extra_json_schema={"x-unit": "B"})] = (
        16 * 1024 * 1024
    )
    #: Time until the second attempt to connect; it doubles with each further attempt.
    reconnect_first: Seconds = 0.2
    #: Time between two attempts to connect at the most.
    reconnect_most: Seconds = 10.0
    #: Silence after which a broker counts as gone.
    idle_timeout: Seconds = 10.0
