"""The open connections of the server, and how they are taken leave of: no request that was sent is lost."""

from __future__ import annotations

import select
import time
from contextlib import suppress
from typing import Any, Final

from cheroot.connections import ConnectionManager

_QUIET: Final = 0.05  # s without a word from any client, after which none is expected any more
_MOST: Final = 1.0  # s that clients may go on speaking


class Connections(ConnectionManager):  # type: ignore[misc]  # cheroot's types are not followed
    """cheroot's, which when it closes would break connections whose request is on its way."""

    def stop(self) -> None:
        """Stop watching; then take what has connected meanwhile, and close the port."""
        super().stop()
        port = self.server.socket
        with suppress(OSError):
            while select.select([port], [], [], 0)[0]:
                connection = self._from_server_socket(port)
                if connection is not None:
                    self.put(connection)
        port.close()

    def close(self) -> None:
        """Hand over each request that still comes, until it is quiet; close all connections."""
        end = time.monotonic() + min(_MOST, self.server.shutdown_timeout / 2)
        while time.monotonic() < end and (speaking := self._speaking()):
            for connection in speaking:
                self._selector.unregister(connection.socket.fileno())
                self.server.requests.put(connection)
        super().close()

    def _speaking(self) -> list[Any]:
        with suppress(KeyError):
            # The port is closed already, and was watched by its number.
            self._forget_port()
        if not len(self._selector):
            return []
        return [connection for _, connection in self._selector.select(timeout=_QUIET)]

    def _forget_port(self) -> None:
        for number, watched in list(self._selector.connections):
            if watched is self.server:
                self._selector.unregister(number)
