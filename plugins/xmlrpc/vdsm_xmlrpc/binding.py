"""The binding: XML-RPC over HTTP, as VDSM spoke it."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from vdsm_bridge import Binding, Bridge, Health, Options, Waiting
from vdsm_xmlrpc.application import Application
from vdsm_xmlrpc.dispatcher import Dispatcher
from vdsm_xmlrpc.parser import Limits
from vdsm_xmlrpc.server import Server

_MIB = 1024 * 1024


class Config(Options, frozen=True):
    """`[plugin.xmlrpc]`."""

    #: Address to listen on. On another than loopback, callers need a token.
    address: Annotated[str, Meta(min_length=1)] = "127.0.0.1"
    #: TCP port; 54321 is VDSM's, 0 takes any that is free.
    port: Annotated[int, Meta(ge=0, le=65_535)] = 54_321
    #: Threads that serve requests at the start. A call that waits holds a thread.
    threads: Annotated[int, Meta(ge=1, le=1_000)] = 8
    #: Threads that serve requests at the most; calls that wait for events get half of them.
    max_threads: Annotated[int, Meta(ge=1, le=10_000)] = 200
    #: Connections that may be open at once.
    max_connections: Annotated[int, Meta(ge=1, le=100_000)] = 1_000
    #: Seconds after which a silent connection is closed.
    timeout: Annotated[float, Meta(gt=0, le=3_600, extra_json_schema={"x-unit": "s"})] = 30.0
    #: Bytes that the body of a request may have.
    max_body: Annotated[int, Meta(ge=1_024, le=2**30, extra_json_schema={"x-unit": "B"})] = 4 * _MIB
    #: How deep arrays and structs of a request may be nested.
    max_depth: Annotated[int, Meta(ge=2, le=200)] = 32
    #: How many values a request may have in all.
    max_values: Annotated[int, Meta(ge=16, le=10_000_000)] = 100_000
    #: Calls in one `system.multicall`.
    max_calls: Annotated[int, Meta(ge=1, le=10_000)] = 100


class XmlRpcBinding(Binding):
    """XML-RPC, named `xmlrpc` in the configuration."""

    Config = Config

    def __init__(self, bridge: Bridge, config: Any) -> None:
        super().__init__(bridge, config)
        self._server: Server | None = None
        #: Calls that wait for events; the other half of the threads is left to others.
        self.waiting = Waiting(config.max_threads // 2)

    def start(self) -> None:
        """Listen. Whatever the system says against the address is the plugin's error."""
        config: Config = self.config
        application = Application(
            self.bridge,
            Dispatcher(self.bridge, config.max_calls),
            max_body=config.max_body,
            limits=Limits(depth=config.max_depth, values=config.max_values),
            waiting=self.waiting,
        )
        server = Server(
            (config.address, config.port),
            application,
            least_threads=min(config.threads, config.max_threads),
            most_threads=config.max_threads,
            max_connections=config.max_connections,
            max_body=config.max_body,
            timeout=config.timeout,
        )
        server.open()
        self._server = server

    def stop(self, grace: float) -> None:
        """Close the port, let calls in flight end within `grace` seconds, close their connections.

        Calls that wait for events end at once.
        """
        self.waiting.end()
        if self._server is not None:
            self._server.close(grace)
            self._server = None

    @property
    def address(self) -> tuple[str, ...]:
        """The URL that clients use."""
        if self._server is None:
            return ()
        host, port = self._server.bind_addr[:2]
        return (f"http://{f'[{host}]' if ':' in host else host}:{port}/RPC2",)

    def health(self) -> Health:
        """Not well if it does not listen, or if requests wait for a thread."""
        if self._server is None:
            return Health(state="failed", reason="it does not listen")
        waiting = self._server.requests.qsize
        if waiting:
            return Health(state="degraded", reason=f"{waiting} requests wait for a thread")
        return Health()
