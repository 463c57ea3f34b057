"""The binding: XML-RPC over HTTP, as VDSM spoke it."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from vdsm_bridge import Binding, Bridge, Health, Options, WaitSlots
from vdsm_http import Attachment, Front, OriginCheck, Site, tcp
from vdsm_http import Limits as HttpLimits
from vdsm_xmlrpc.application import Application, claims, refuse
from vdsm_xmlrpc.dispatcher import Dispatcher
from vdsm_xmlrpc.parser import Limits

_MIB = 1024 * 1024


class Config(Options, frozen=True):
    """`[plugin.xmlrpc]`."""

    #: Address to listen on, or a list of addresses. On another than loopback, callers need a token.
    address: (
        Annotated[str, Meta(min_length=1)]
        | Annotated[tuple[Annotated[str, Meta(min_length=1)], ...], Meta(min_length=1, max_length=64)]
    ) = "127.0.0.1"
    #: TCP port; 54321 is VDSM's, 0 takes any that is free.
    port: Annotated[int, Meta(ge=0, le=65_535)] = 54_321
    #: Names that requests on loopback may give in `Host`, besides `localhost`, this host's name and loopback
    #: addresses.
    hosts: Annotated[tuple[str, ...], Meta(max_length=64)] = ()
    #: Without effect since requests are read without a thread.
    threads: Annotated[int, Meta(ge=1, le=1_000)] = 8
    #: Requests that run at once at the most; calls that wait for events get half of them.
    max_threads: Annotated[int, Meta(ge=1, le=10_000)] = 200
    #: Connections that may be open at once on each address.
    max_connections: Annotated[int, Meta(ge=1, le=100_000)] = 1_000
    #: Seconds for a request from its first byte to its last, and for the silence between two.
    timeout: Annotated[float, Meta(gt=0, le=3_600, extra_json_schema={"x-unit": "s"})] = 30.0
    #: Bytes that the line and headers of a request may have.
    max_header: Annotated[int, Meta(ge=1_024, le=_MIB, extra_json_schema={"x-unit": "B"})] = 16_384
    #: Bytes that the body of a request may have.
    max_body: Annotated[int, Meta(ge=1_024, le=64 * _MIB, extra_json_schema={"x-unit": "B"})] = 4 * _MIB
    #: How deep arrays and structs of a request may be nested.
    max_depth: Annotated[int, Meta(ge=2, le=200)] = 32
    #: How many values a request may have in all.
    max_values: Annotated[int, Meta(ge=16, le=10_000_000)] = 100_000
    #: Calls in one `system.multicall`.
    max_calls: Annotated[int, Meta(ge=1, le=10_000)] = 100
    #: Bytes of the results in one `system.multicall`; calls beyond that are not made.
    max_reply: Annotated[int, Meta(ge=65_536, le=1024 * _MIB, extra_json_schema={"x-unit": "B"})] = 64 * _MIB


class XmlRpcBinding(Binding):
    """XML-RPC, named `xmlrpc` in the configuration."""

    Config = Config

    def __init__(self, bridge: Bridge, config: Any) -> None:
        super().__init__(bridge, config)
        self._attachment: Attachment | None = None
        #: Calls that wait for events; the other half of the threads is left to others.
        self.waiting = WaitSlots(max(1, config.max_threads // 2))

    def start(self) -> None:
        """Listen.

        :raises OSError: an address cannot be listened on
        """
        config: Config = self.config
        application = Application(
            self.bridge,
            Dispatcher(self.bridge, max_calls=config.max_calls, max_reply=config.max_reply),
            limits=Limits(depth=config.max_depth, values=config.max_values),
            waiting=self.waiting,
            origin=OriginCheck(config.hosts),
        )
        limits = HttpLimits(
            timeout=config.timeout,
            max_header=config.max_header,
            max_body=config.max_body,
            max_threads=config.max_threads,
            max_connections=config.max_connections,
        )
        self._attachment = self.bridge.shared.get(Front).attach(
            Site("xmlrpc", application.answer, limits, claims=claims, refuse=refuse),
            tcp(config.address, config.port),
        )

    def stop(self, grace: float) -> None:
        """Take no new calls, let those in flight end within `grace` seconds, free everything."""
        self.waiting.end()
        attachment, self._attachment = self._attachment, None
        if attachment is not None:
            attachment.close(grace)

    @property
    def address(self) -> tuple[str, ...]:
        """Where it listens, as URLs."""
        return () if self._attachment is None else tuple(f"{url}/RPC2" for url in self._attachment.urls)

    def health(self) -> Health:
        """Not well if it does not listen, or if requests wait for others to end."""
        if self._attachment is None:
            return Health(state="failed", reason="it does not listen")
        waiting = self._attachment.waiting
        if waiting:
            return Health(state="degraded", reason=f"{waiting} requests wait for others to end")
        return Health()
