"""`[plugin.rest]` of the configuration."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from vdsm_bridge import Options

_MIB = 1024 * 1024


class RestOptions(Options, frozen=True):
    """Where the binding listens, and the bounds of what it takes. Sizes are in bytes, times in seconds."""

    #: Address of the TCP socket, or a list of addresses; empty: no TCP.
    address: str | Annotated[tuple[str, ...], Meta(max_length=64)] = "127.0.0.1"
    #: Its port; 0 takes any free one.
    port: Annotated[int, Meta(ge=0, le=65_535)] = 8088
    #: Path of the unix socket; empty: none.
    socket: str = ""
    #: Mode of the unix socket, as an octal number in text.
    socket_mode: Annotated[str, Meta(pattern=r"^0?[0-7]{3}$")] = "0660"
    #: Names that requests on loopback may give in `Host`, besides `localhost`, this host's name and loopback
    #: addresses.
    hosts: Annotated[tuple[str, ...], Meta(max_length=64)] = ()
    #: Without effect since requests are read without a thread.
    threads: Annotated[int, Meta(ge=1, le=1000)] = 8
    #: Requests that run at once at the most; calls that wait for events get half of them.
    max_threads: Annotated[int, Meta(ge=1, le=1000)] = 100
    #: Requests that may wait for others to end before new ones are turned away with 503.
    backlog: Annotated[int, Meta(ge=1, le=100_000)] = 1000
    #: Connections that may be open at once on each address.
    connections: Annotated[int, Meta(ge=1, le=100_000)] = 1000
    #: Time for a request from its first byte to its last, and for the silence between two.
    timeout: Annotated[float, Meta(gt=0, le=3600, extra_json_schema={"x-unit": "s"})] = 10.0
    #: Bytes of a request's body.
    max_body: Annotated[int, Meta(ge=1, le=64 * _MIB, extra_json_schema={"x-unit": "B"})] = 4 * _MIB
    #: Bytes of a request's line and headers.
    max_header: Annotated[int, Meta(ge=1024, le=_MIB, extra_json_schema={"x-unit": "B"})] = 256 * 1024
    #: Bytes of a reply above which it is compressed for clients that accept gzip.
    gzip_above: Annotated[int, Meta(ge=1024, le=2**40, extra_json_schema={"x-unit": "B"})] = 32 * 1024
    #: Streams of events at the same time, each in a thread of its own.
    streams: Annotated[int, Meta(ge=0, le=10_000)] = 50
    #: Seconds after which a stream without events says that it lives.
    heartbeat: Annotated[float, Meta(gt=0, le=3600, extra_json_schema={"x-unit": "s"})] = 15.0
    #: Objects and arrays inside each other in a body.
    max_depth: Annotated[int, Meta(ge=1, le=500)] = 64
