"""The binding: XML-RPC over HTTP, as VDSM spoke it."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any

from msgspec import Meta

from vdsm_bridge import Binding, Bridge, Health, Options, WaitSlots
from vdsm_http import Attachment, Front, Mode, OriginCheck, Response, Site, Tls, tcp
from vdsm_http import Limits as HttpLimits
from vdsm_xmlrpc.application import Application, claims, refuse
from vdsm_xmlrpc.dispatcher import Dispatcher
from vdsm_xmlrpc.parser import Limits

_MIB = 1024 * 1024


class Config(Options, frozen=True):
    """`[plugin.xmlrpc]`."""

    #: Address to listen on, or a list of addresses. On another than loopback, callers need a token
    #: or a client certificate.
    address: (
        Annotated[str, Meta(min_length=1)]
        | Annotated[tuple[Annotated[str, Meta(min_length=1)], ...], Meta(min_length=1, max_length=64)]
    ) = "127.0.0.1"
    #: TCP port; 54321 is VDSM's, 0 selects a free one.
    port: Annotated[int, Meta(ge=0, le=65_535)] = 54_321
    #: TLS: "off", "optional" (plain connections are accepted, too), or "required" (as in VDSM with
    #: `ssl = true`). The certificate and the rules for clients are those of `[tls]`.
    tls: Mode = "off"
    #: Names that requests on loopback may give in `Host`, besides `localhost`, this host's name and loopback
    #: addresses.
    hosts: Annotated[tuple[str, ...], Meta(max_length=64)] = ()
    #: Without effect since requests are read without a thread.
    threads: Annotated[int, Meta(ge=1, le=1_000)] = 8
    #: Maximum number of concurrent requests; at most half of them wait for events.
    max_threads: Annotated[int, Meta(ge=1, le=10_000)] = 200
    #: Maximum number of open connections on each address.
    max_connections: Annotated[int, Meta(ge=1, le=100_000)] = 1_000
    #: Seconds for a request from its first byte to its last, and for the silence between two.
    timeout: Annotated[float, Meta(gt=0, le=3_600, extra_json_schema={"x-unit": "s"})] = 30.0
    #: Maximum size of the request line and headers, in bytes.
    max_header: Annotated[int, Meta(ge=1_024, le=_MIB, extra_json_schema={"x-unit": "B"})] = 16_384
    #: Maximum size of the body of a request, in bytes.
    max_body: Annotated[int, Meta(ge=1_024, le=64 * _MIB, extra_json_schema={"x-unit": "B"})] = 4 * _MIB
    #: Maximum nesting of arrays and structs in a request.
    max_depth: Annotated[int, Meta(ge=2, le=200)] = 32
    #: Maximum number of values in a request.
    max_values: Annotated[int, Meta(ge=16, le=10_000_000)] = 100_000
    #: Maximum number of calls in one `system.multicall`.
    max_calls: Annotated[int, Meta(ge=1, le=10_000)] = 100
    #: Maximum size of the results in one `system.multicall`, in bytes; calls beyond it are not made.
    max_reply: Annotated[int, Meta(ge=65_536, le=1024 * _MIB, extra_json_schema={"x-unit": "B"})] = 64 * _MIB


class XmlRpcBinding(Binding):
    """XML-RPC, named `xmlrpc` in the configuration."""

    Config = Config

    def __init__(self, bridge: Bridge, config: Any) -> None:
        super().__init__(bridge, config)
        self._attachment: Attachment | None = None
        #: Slots for calls that wait for events: half of the threads.
        self.waiting = WaitSlots(max(1, config.max_threads // 2))

    def start(self) -> None:
        """Listen.

        :raises OSError: an address cannot be listened on, or the certificate cannot be used
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
            Site("xmlrpc", application.answer, limits, claims=claims, refuse=self._refuse),
            tcp(config.address, config.port),
            tls=Tls.of(self.bridge, config.tls),
            limits=lambda: self.bridge.limits.options,
        )

    def stop(self, grace: float) -> None:
        """Refuse new calls, let running ones end within `grace` seconds, free all resources."""
        self.waiting.end()
        attachment, self._attachment = self._attachment, None
        if attachment is not None:
            attachment.close(grace)

    def _refuse(self, status: HTTPStatus, reason: str) -> Response:
        """Return the reply to a request that does not reach the application, naming the limit it exceeds."""
        config: Config = self.config
        limits = {
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE: f"{config.max_body} bytes, [plugin.xmlrpc] max_body",
            HTTPStatus.REQUEST_URI_TOO_LONG: f"{config.max_header} bytes, [plugin.xmlrpc] max_header",
            HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: f"{config.max_header} bytes, "
            "[plugin.xmlrpc] max_header",
            HTTPStatus.REQUEST_TIMEOUT: f"{config.timeout:g} s, [plugin.xmlrpc] timeout",
        }
        limit = f" (limit: {limits[status]})" if status in limits else ""
        later = (("Retry-After", "1"),) if status == HTTPStatus.SERVICE_UNAVAILABLE else ()
        return refuse(status, f"{reason}{limit}", *later)

    @property
    def address(self) -> tuple[str, ...]:
        """The URLs that it listens on."""
        return () if self._attachment is None else tuple(f"{url}/RPC2" for url in self._attachment.urls)

    def health(self) -> Health:
        """Failed if it does not listen; degraded if the certificate has a problem, or requests are queued."""
        if self._attachment is None:
            return Health(state="failed", reason="it does not listen")
        if trouble := self._attachment.trouble:
            return Health(state="degraded", reason=trouble)
        waiting = self._attachment.waiting
        if waiting:
            return Health(state="degraded", reason=f"{waiting} requests are queued behind others")
        return Health()
