"""The binding: its sockets come up together and go down together."""

from __future__ import annotations

import ipaddress
import time
from typing import Any, ClassVar

from vdsm_bridge import Binding, Bridge, Health, Options
from vdsm_rest.application import ApiApplication
from vdsm_rest.options import RestOptions
from vdsm_rest.server import HttpServer
from vdsm_rest.service import Service


class RestBinding(Binding):
    """The API over HTTP, on TCP and on a unix socket."""

    Config: ClassVar[type[Options]] = RestOptions

    def __init__(self, bridge: Bridge, config: RestOptions) -> None:
        super().__init__(bridge, config)
        self._service = Service(bridge, config)
        self._servers: list[HttpServer] = []

    @property
    def application(self) -> Any:
        """The WSGI application, for servers of other people and for tests."""
        return ApiApplication(self._service)

    def start(self) -> None:
        """Listen.

        :raises OSError: an address or path cannot be listened on
        """
        options: RestOptions = self.config
        binds: list[tuple[str, int] | str] = [options.socket] if options.socket else []
        if options.address:
            binds.append((options.address, options.port))
        application = self.application
        try:
            for bind in binds:
                server = HttpServer(bind, application, options)
                server.listen()
                self._servers.append(server)
        except BaseException:
            self.stop(0.0)
            raise

    def stop(self, grace: float) -> None:
        """Take no new calls, let those that run end within `grace` seconds, leave no thread, socket, file."""
        deadline = time.monotonic() + grace
        self._service.waiting.end()
        self._service.streams.end()
        servers, self._servers = self._servers, []
        for server in servers:
            server.shut(max(0.0, deadline - time.monotonic()))

    @property
    def address(self) -> tuple[str, ...]:
        """URLs: `http://address:port`, and `unix:path`."""
        return tuple(_url(server.bind_addr) for server in self._servers)

    def health(self) -> Health:
        """Degraded if a verb got no route of its own."""
        conflicts = self._service.api().conflicts
        return Health("degraded", "; ".join(map(str, conflicts))) if conflicts else Health()


def _url(bind: tuple[str, int] | str) -> str:
    if isinstance(bind, str):
        return f"unix:{bind}"
    host, port = bind
    return f"http://[{host}]:{port}" if ipaddress.ip_address(host).version == 6 else f"http://{host}:{port}"
