"""The contract of a transport, for clients; it is `vdsm_bridge.client.transport`, under a name that stays."""

from vdsm_bridge.client.transport import (
    GROUP,
    Answer,
    CallOptions,
    CallRefused,
    Credentials,
    Event,
    EventStream,
    Fleet,
    NoTransport,
    Transport,
    TransportError,
    Unreachable,
    open_transport,
)

__all__ = [
    "GROUP",
    "Answer",
    "CallOptions",
    "CallRefused",
    "Credentials",
    "Event",
    "EventStream",
    "Fleet",
    "NoTransport",
    "Transport",
    "TransportError",
    "Unreachable",
    "open_transport",
]
