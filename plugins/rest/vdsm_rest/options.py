"""`[plugin.rest]` of the configuration."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from vdsm_bridge import Options
from vdsm_http import Mode

_MIB = 1024 * 1024


class RestOptions(Options, frozen=True):
    """`[plugin.rest]`: addresses to listen on, and limits. Sizes are in bytes, times in seconds."""

    #: Address of the TCP socket, or a list of addresses; empty: no TCP.
    address: str | Annotated[tuple[str, ...], Meta(max_length=64)] = "127.0.0.1"
    #: TCP port; 0 selects a free one.
    port: Annotated[int, Meta(ge=0, le=65_535)] = 8088
    #: TLS on TCP: "off", "optional" (plain connections are accepted, too), or "required". The certificate and
    #: the rules for clients are those of `[tls]`. The unix socket is always plain.
    tls: Mode = "off"
    #: Path of the unix socket; empty: none.
    socket: str = ""
    #: Mode of the unix socket, as an octal number in text.
    socket_mode: Annotated[str, Meta(pattern=r"^0?[0-7]{3}$")] = "0660"
    #: Names that requests on loopback may give in `Host`, besides `localhost`, this host's name and loopback
    #: addresses.
    hosts: Annotated[tuple[str, ...], Meta(max_length=64)] = ()
    #: Without effect since requests are read without a thread.
    threads: Annotated[int, Meta(ge=1, le=1000)] = 8
    #: Maximum number of concurrent requests; at most half of them wait for events.
    max_threads: Annotated[int, Meta(ge=1, le=1000)] = 100
    #: Maximum number of requests that wait for a thread; further ones are refused with 503.
    backlog: Annotated[int, Meta(ge=1, le=100_000)] = 1000
    #: Maximum number of open connections on each address.
    connections: Annotated[int, Meta(ge=1, le=100_000)] = 1000
    #: Time for a request from its first byte to its last, and for the silence between two.
    timeout: Annotated[float, Meta(gt=0, le=3600, extra_json_schema={"x-unit": "s"})] = 10.0
    #: Maximum size of a request's body.
    max_body: Annotated[int, Meta(ge=1, le=64 * _MIB, extra_json_schema={"x-unit": "B"})] = 4 * _MIB
    #: Maximum size of a request's line and headers.
    max_header: Annotated[int, Meta(ge=1024, le=_MIB, extra_json_schema={"x-unit": "B"})] = 256 * 1024
    #: Size above which a reply is compressed for clients that accept gzip.
    gzip_above: Annotated[int, Meta(ge=1024, le=2**40, extra_json_schema={"x-unit": "B"})] = 32 * 1024
    #: Maximum number of concurrent event streams, each in a thread of its own.
    streams: Annotated[int, Meta(ge=0, le=10_000)] = 50
    #: Maximum number of concurrent event streams of one client.
    streams_per_client: Annotated[int, Meta(ge=1, le=10_000)] = 50
    #: Seconds without events after which a stream sends a heartbeat.
    heartbeat: Annotated[float, Meta(gt=0, le=3600, extra_json_schema={"x-unit": "s"})] = 15.0
    #: Maximum nesting of objects and arrays in a body.
    max_depth: Annotated[int, Meta(ge=1, le=500)] = 64
