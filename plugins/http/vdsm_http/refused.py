"""Connections beyond a limit: a short reply instead of a silent end, within narrow bounds."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Final

from vdsm_http.loop import Loop

#: The first byte of a TLS connection, and a fatal alert before the handshake: `internal_error`, which stands
#: for a lack of resources (RFC 8446, sections 5.1 and 6.2). A reply in HTTP would need the handshake, whose
#: cost the limit is there to avoid.
_TLS_RECORD: Final = 0x16
_ALERT: Final = b"\x15\x03\x03\x00\x02\x02\x50"
_CHUNK: Final = 65_536
#: Seconds and bytes within which the client sends its request and reads the reply.
_SECONDS: Final = 1.0
_BYTES: Final = 1024 * 1024


class Refused:
    """A connection that is answered with a refusal once its client sends something. In the loop.

    :param reply: the whole reply to a client of HTTP
    :param gone: called when it is closed
    """

    def __init__(
        self, loop: Loop, sock: socket.socket, reply: bytes, gone: Callable[[Refused], None]
    ) -> None:
        self._loop = loop
        self._socket = sock
        self._fd = sock.fileno()
        self._reply = reply
        self._gone = gone
        self._received = 0
        self.closed = False
        self.tick = 0
        self.deadline = time.monotonic() + _SECONDS

    def begin(self) -> None:
        """Wait for the first bytes."""
        self._loop.watch(self._fd, self)
        self._loop.timers.add(self)

    def ready(self, _events: int) -> None:
        """Reply to the first bytes, and drop what follows until the client closes."""
        try:
            while data := self._socket.recv(_CHUNK):
                if not self._received:
                    self._socket.send(_ALERT if data[0] == _TLS_RECORD else self._reply)
                    # Closing with unread data would make the kernel drop the reply.
                    self._socket.shutdown(socket.SHUT_WR)
                self._received += len(data)
                if self._received > _BYTES:
                    break
        except BlockingIOError:
            return
        except OSError:
            pass
        self.close()

    def expired(self, _now: float) -> None:
        """Close a connection whose client was too slow."""
        self.close()

    def close(self) -> None:
        """Close the connection."""
        if not self.closed:
            self.closed = True
            self._loop.forget(self._fd)
            self._loop.timers.discard(self)
            self._socket.close()
            self._gone(self)
