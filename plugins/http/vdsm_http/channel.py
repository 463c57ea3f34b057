"""A connection that left HTTP: a stream of events, a WebSocket, or another protocol from the first byte."""

from __future__ import annotations

import contextlib
import select
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vdsm_http.messages import Peer
    from vdsm_http.tls.connection import TlsConnection


class Channel:
    """Both directions of such a connection. The code that took it over owns and closes it.

    It counts as a connection of its `party` until it is closed. It is cut when the site stops that it belongs
    to, or when it has to make room for the connections of others.

    :param sock: blocking, with the timeout that the owner sets
    :param initial: bytes that the peer sent after the request that led here
    """

    stream = True
    idle = True

    def __init__(
        self,
        sock: socket.socket | TlsConnection,
        peer: Peer,
        party: str,
        initial: bytes,
        closed: Callable[[Channel], None],
    ) -> None:
        self._socket = sock
        self._closed = closed
        self.peer = peer
        self.party = party
        self.since = time.monotonic()
        self._initial = initial

    def settimeout(self, seconds: float | None) -> None:
        """Bound each following `receive` and `send`, in seconds."""
        self._socket.settimeout(seconds)

    def receive(self, size: int = 65_536) -> bytes:
        """Return up to `size` bytes, empty at the end.

        :raises TimeoutError: nothing arrived in time
        :raises OSError: the connection is broken
        """
        if self._initial:
            data, self._initial = self._initial[:size], self._initial[size:]
            return data
        return self._socket.recv(size)

    def send(self, data: bytes) -> None:
        """Send all of `data`.

        :raises TimeoutError: the peer does not read
        :raises OSError: the connection is broken
        """
        self._socket.sendall(data)

    def peer_left(self) -> bool:
        """Return whether the peer closed its side."""
        poll = select.poll()
        try:
            poll.register(self._socket.fileno(), select.POLLRDHUP)
            return bool(poll.poll(0))
        except (OSError, ValueError):
            return True

    def cut(self) -> None:
        """End both directions at once; a blocked `receive` or `send` of another thread returns."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    make_room = end = cut

    def close(self) -> None:
        """Close the connection. Closing twice is harmless."""
        closed, self._closed = self._closed, _nothing
        closed(self)
        self._socket.close()


def _nothing(_channel: Channel) -> None:
    """Do nothing: the channel is closed already."""
