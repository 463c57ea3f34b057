"""`[plugin.qmf]` of the configuration."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from vdsm_bridge import Options
from vdsm_qmf.protocol.names import PRODUCT, VENDOR

Seconds = Annotated[float, Meta(gt=0, le=86_400, extra_json_schema={"x-unit": "s"})]
#: A colon separates vendor and product, so they have none.
NamePart = Annotated[str, Meta(pattern=r"^[^:\s]+$", max_length=64)]


class QmfOptions(Options, frozen=True):
    """`[plugin.qmf]`: brokers, name of the agent, and limits. Sizes are in bytes, times in seconds."""

    #: URLs of brokers, amqp://user@host or amqps://...; tried in turn. Without one the binding is idle.
    brokers: tuple[str, ...] = ()
    #: Form of addresses; empty: derived from the product that the broker reports.
    dialect: Literal["", "qpidd", "rabbitmq"] = ""
    #: Patterns with `*` of the queues that answers may be sent to, besides the exchanges of QMF (qpidd only).
    #: An ACL of the broker must allow the host to send to each of them, or it ends the connection.
    reply_queues: tuple[str, ...] = ("*",)
    #: The first part of the name of the agent, which is vendor:product:instance.
    vendor: NamePart = VENDOR
    #: The second part of the name of the agent.
    product: NamePart = PRODUCT
    #: The last part of the name of the agent; empty: the uuid of the host.
    instance: Annotated[str, Meta(max_length=128)] = ""
    #: File with the number of starts of the agent, its epoch; without it the epoch is the time of the start.
    epoch_file: str = ""
    #: Time between two heartbeats. Consoles consider an agent lost after three times that.
    heartbeat: Seconds = 10.0
    #: Time between two scans for objects whose properties have changed, to publish them; 0: never.
    data_interval: Annotated[float, Meta(ge=0, le=86_400, extra_json_schema={"x-unit": "s"})] = 30.0
    #: Publish events. Each user of the broker who may read the exchange of topics gets all of them, without
    #: regard to roles on this host. Off, callers read events by the verbs of `Events`, as their role allows.
    events: bool = True
    #: User on the broker if its URL names none.
    user: str = ""
    #: File with the user's password, readable by its owner only.
    password_file: str = ""
    #: SASL mechanisms; empty: the best that both sides support, never a password in the clear.
    mechanisms: tuple[Literal["EXTERNAL", "SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"], ...] = ()
    #: Do not authenticate to the broker. Loopback only; its users then count as callers on loopback.
    anonymous: bool = False
    #: File with the certificates of the authorities that may issue a broker's certificate.
    ca_file: str = ""
    #: File with the host's own certificate, for EXTERNAL.
    cert_file: str = ""
    #: File with the key of the host's certificate; empty: it is in the same file.
    key_file: str = ""
    #: Maximum number of concurrent calls; at most half of them wait for events, and three quarters are of one
    #: client.
    threads: Annotated[int, Meta(ge=1, le=1000)] = 32
    #: Maximum number of calls that wait for a thread, three quarters of them of one client; further ones are
    #: refused.
    queue: Annotated[int, Meta(ge=1, le=100_000)] = 500
    #: Maximum size of a request.
    max_message: Annotated[int, Meta(ge=1024, le=2**30, extra_json_schema={"x-unit": "B"})] = 4 * 1024 * 1024
    #: Maximum size of all messages that wait to be sent.
    outgoing: Annotated[int, Meta(ge=64 * 1024, le=2**32, extra_json_schema={"x-unit": "B"})] = (
        16 * 1024 * 1024
    )
    #: Time until the second attempt to connect; it doubles with each further attempt.
    reconnect_first: Seconds = 0.2
    #: The longest time between two attempts to connect.
    reconnect_most: Seconds = 10.0
    #: Time without a frame of the broker after which the connection is ended.
    idle_timeout: Seconds = 10.0
