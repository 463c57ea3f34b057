"""An encrypted connection with the interface of a socket, non-blocking or blocking."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from vdsm_http.loop import READ, WRITE

#: Bytes that one record can carry (RFC 8446, section 5.1).
_RECORD: Final = 16_384
_Piece = bytes | memoryview


class _WouldBlock(BlockingIOError):
    """OpenSSL needs the socket to be readable, or writable, first."""

    def __init__(self, events: int) -> None:
        super().__init__()
        self.events = events


class TlsConnection:
    """The part of a socket's interface that the front uses, over TLS. Non-blocking until `setblocking(True)`.

    Each call into OpenSSL is made under a lock, and none of them waits: one thread may receive while another
    sends, which OpenSSL by itself does not allow.

    :param sock: not blocking, with its handshake done
    :param turn: called with the events for which the loop has to wait from now on
    """

    def __init__(self, sock: ssl.SSLSocket, turn: Callable[[int], None]) -> None:
        self._socket = sock
        self._turn = turn
        self._lock = threading.Lock()
        #: Seconds that a call may wait for the peer.
        self._timeout: float | None = 0.0
        #: Whether the loop waits until something can be written before more can be read.
        self._turned = False
        #: Bytes to send before the next reply.
        self._owed = b""
        self._shut = False

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._socket.fileno()

    def settimeout(self, seconds: float | None) -> None:
        """Bound each following call, in seconds; None waits without an end, 0 not at all."""
        self._timeout = seconds

    def setblocking(self, flag: bool) -> None:
        """Wait for the peer from now on, or not."""
        self.settimeout(None if flag else 0.0)

    def recv(self, size: int) -> bytes:
        """Return what has arrived, up to `size` bytes; nothing at the end, whether or not it was announced.

        :raises BlockingIOError: nothing has arrived
        :raises OSError: the connection is broken, or the peer does not keep to TLS
        """
        if self._shut:
            # Drain the receive buffer of the kernel; the bytes are discarded.
            return socket.socket.recv(self._socket, size)
        try:
            data: bytes = self._try(self._socket.recv, size)
        except _WouldBlock as error:
            self._wait_in_loop(write=error.events == select.POLLOUT)
            raise
        self._wait_in_loop(write=False)
        if len(data) < _RECORD or len(data) == size:
            return data
        # A full record: more of a large body has probably arrived.
        pieces, total = [data], len(data)
        with contextlib.suppress(ssl.SSLError), self._lock:
            while len(data) == _RECORD and size - total >= _RECORD:
                data = self._socket.recv(size - total)
                pieces.append(data)
                total += len(data)
        return b"".join(pieces)

    def send(self, data: _Piece) -> int:
        """Send what the kernel accepts; return the number of bytes.

        The rest must begin the data of the next call: OpenSSL may have encrypted it already.

        :raises BlockingIOError: nothing could be sent
        :raises OSError: the connection is broken
        """
        if self._owed:
            self._owed = self._owed[self._try(self._socket.send, self._owed) :]
        view = memoryview(data)
        sent: int = self._try(self._socket.send, view)
        # OpenSSL stops after a record.
        with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError), self._lock:
            while sent < len(view):
                sent += self._socket.send(view[sent:])
        return sent

    def sendmsg(self, pieces: Sequence[_Piece]) -> int:
        """Send the first of some pieces, or several small ones in one record; see `send`."""
        if len(pieces) == 1 or len(pieces[0]) >= _RECORD:
            return self.send(pieces[0])
        record = bytearray()
        for piece in pieces:
            record += piece[: _RECORD - len(record)]
            if len(record) == _RECORD:
                break
        return self.send(bytes(record))

    def sendall(self, data: bytes) -> None:
        """Send everything, waiting for the peer.

        :raises TimeoutError: it does not read
        :raises OSError: the connection is broken
        """
        view = memoryview(data)
        while view:
            view = view[self.send(view) :]

    def interject(self, data: bytes) -> None:
        """Send a few bytes between two replies, before the next one at the latest.

        :raises OSError: the connection is broken
        """
        self._owed += data
        with contextlib.suppress(BlockingIOError):
            self._owed = self._owed[self._try(self._socket.send, self._owed) :]

    def shutdown(self, how: int) -> None:
        """End one direction, or both. Any thread may end both."""
        if how == socket.SHUT_WR:
            self._announce_end()
            self._shut = True
        # SSLSocket.shutdown() would drop the TLS state, and later bytes would be plain.
        socket.socket.shutdown(self._socket, how)

    def close(self) -> None:
        """Announce the end to the peer, and close the socket."""
        self._announce_end()
        self._socket.close()

    def _announce_end(self) -> None:
        """Send the alert `close_notify`, so that the peer sees that nothing was cut off."""
        if not self._shut:
            # It goes out at once or not at all, and the peer's is not waited for.
            with contextlib.suppress(OSError, ValueError), self._lock:
                self._socket.unwrap()

    def _try(self, operation: Callable[[Any], Any], argument: Any) -> Any:
        """Call into OpenSSL until it can be done, or no longer than the timeout.

        :raises BlockingIOError: the timeout is 0, and it cannot be done
        """
        timeout = self._timeout
        end = time.monotonic() + timeout if timeout else None
        while True:
            try:
                with self._lock:
                    return operation(argument)
            except ssl.SSLWantReadError:
                events = select.POLLIN
            except ssl.SSLWantWriteError:
                events = select.POLLOUT
            if timeout == 0.0:
                raise _WouldBlock(events)
            _wait(self._socket.fileno(), events, end)

    def _wait_in_loop(self, *, write: bool) -> None:
        """Let the loop wait for the other direction where TLS has to write before it can read."""
        if write != self._turned:
            self._turned = write
            self._turn(WRITE if write else READ)


def interject(sock: socket.socket | TlsConnection, data: bytes) -> None:
    """Send a few bytes between two replies, such as `100 Continue`."""
    with contextlib.suppress(OSError):
        if isinstance(sock, TlsConnection):
            sock.interject(data)
        else:
            sock.send(data)


def _wait(fd: int, events: int, end: float | None) -> None:
    poll = select.poll()
    poll.register(fd, events)
    left = None if end is None else max(0.0, end - time.monotonic()) * 1_000
    if not poll.poll(left):
        raise TimeoutError("timed out")
