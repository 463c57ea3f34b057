"""The two directions of a connection, as few system calls as they can be.

cheroot reads and writes through Python's pure-Python io module, and a socket with a timeout polls before each
transfer. Each call into the system lets another thread go first, so that with many clients the number of such
calls decides the latency. Here the kernel keeps the time (SO_RCVTIMEO, SO_SNDTIMEO), a request that arrives
in one piece is one call, and so is a reply.
"""

from __future__ import annotations

import socket
import struct
import time
from typing import Final

_CHUNK: Final = 65_536
#: What cheroot recognises as a client that is too slow; it answers 408.
_TIMED_OUT: Final = "timed out"


class Reader:
    """What a client sends."""

    def __init__(self, sock: socket.socket, timeout: float) -> None:
        self._socket = sock
        self._timeout = timeout
        self._waits = 0.0
        self._data = b""
        self._position = 0
        self.closed = False
        self.bytes_read = 0

    def has_data(self) -> bool:
        """Whether something was received that is not read yet."""
        return self._position < len(self._data)

    def wait(self, seconds: float) -> bool:
        """Wait for more, for a moment. True: there is something to read, or the end."""
        if self.has_data():
            return True
        try:
            self._receive(seconds)
        except TimeoutError:
            return False
        return self.has_data()

    def discard(self, seconds: float) -> None:
        """Read what still comes, for so long at the most, and forget it."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and self._receive(left):
            pass

    def read(self, size: int | None = None) -> bytes:
        """Up to `size` bytes, less only at the end; all that is sent, if no size is given."""
        pieces = []
        left = size
        while left is None or left > 0:
            if not self.has_data() and not self._receive(self._timeout):
                break
            piece = self._take(len(self._data) if left is None else self._position + left)
            pieces.append(piece)
            if left is not None:
                left -= len(piece)
        return b"".join(pieces)

    def readline(self, size: int | None = None) -> bytes:
        """Up to the end of the line, `size` bytes, or the end."""
        pieces: list[bytes] = []
        left = size if size is not None and size >= 0 else None
        while left is None or left > 0:
            if not self.has_data() and not self._receive(self._timeout):
                break
            end = self._data.find(b"\n", self._position) + 1 or len(self._data)
            if left is not None:
                end = min(end, self._position + left)
            pieces.append(self._take(end))
            if pieces[-1].endswith(b"\n"):
                break
            if left is not None:
                left -= len(pieces[-1])
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def close(self) -> None:
        """Forget what was received; the socket is closed by its connection."""
        self.closed = True
        self._data = b""
        self._position = 0

    def _take(self, end: int) -> bytes:
        piece = self._data[self._position : end]
        self._position += len(piece)
        return piece

    def _receive(self, seconds: float) -> bool:
        if seconds != self._waits:
            _set_timeout(self._socket, socket.SO_RCVTIMEO, seconds)
            self._waits = seconds
        try:
            self._data = self._socket.recv(_CHUNK)
        except BlockingIOError:
            raise TimeoutError(_TIMED_OUT) from None
        self._position = 0
        self.bytes_read += len(self._data)
        return bool(self._data)


class Writer:
    """What a client gets."""

    def __init__(self, sock: socket.socket, timeout: float) -> None:
        self._socket = sock
        self._held: list[bytes] | None = None
        self.bytes_written = 0
        _set_timeout(sock, socket.SO_SNDTIMEO, timeout)

    def hold(self) -> None:
        """Keep back what is written from now on, until `release`."""
        self._held = []

    def release(self) -> None:
        """Send what was kept back, in one piece."""
        held, self._held = self._held, None
        if held:
            self._send(held[0] if len(held) == 1 else b"".join(held))

    def write(self, data: bytes) -> int:
        """Send all of `data`, or keep it back."""
        if self._held is None:
            self._send(data)
        else:
            self._held.append(data)
        return len(data)

    def _send(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except BlockingIOError:
            raise TimeoutError(_TIMED_OUT) from None
        self.bytes_written += len(data)


def _set_timeout(sock: socket.socket, option: int, seconds: float) -> None:
    # All zeros would mean no timeout (socket(7)).
    whole, microseconds = divmod(max(1, round(seconds * 1e6)), 1_000_000)
    sock.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", whole, microseconds))
