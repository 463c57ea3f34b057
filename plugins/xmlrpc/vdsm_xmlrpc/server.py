"""The HTTP server: cheroot, with threads that are bounded when they grow and when they end.

Three things differ from cheroot as it comes. A connection waits in the selector, not on a thread, until its
client speaks. Threads are started when all are busy, and end when idle. And stopping has a bound, even if a
verb never returns: its thread is a daemon thread and is left behind.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import socket
import threading
import time
from typing import Any, Final

from cheroot import wsgi
from cheroot.server import HTTPConnection, HTTPRequest

from vdsm_xmlrpc.connections import Connections
from vdsm_xmlrpc.streams import Reader, Writer

log = logging.getLogger(__name__)

_LINGER: Final = 0.03  # s that a thread waits for the next request of the client it has just served
_LAST_WORDS: Final = 1.0  # s that a refused client may go on sending
_IDLE: Final = 30.0  # s that a thread above the minimum waits for work before it ends


class Workers:
    """The threads that serve requests; what cheroot calls a thread pool.

    :param least: threads that are always there
    :param most: threads at the most; further requests wait in a queue
    """

    def __init__(self, server: wsgi.Server, *, least: int, most: int) -> None:
        self.min = least
        self._server = server
        self._most = most
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads: dict[threading.Thread, Any] = {}
        #: Threads without a connection; below zero, connections without a thread.
        self._idle = 0
        self._closed = False

    @property
    def qsize(self) -> int:
        """Requests that wait for a thread."""
        return self._queue.qsize()

    @property
    def idle(self) -> int:
        """Threads that wait for a request."""
        return max(0, self._idle)

    @property
    def count(self) -> int:
        """Threads, busy or not."""
        return len(self._threads)

    def start(self) -> None:
        """Start the threads that are always there."""
        for _ in range(self.min):
            self._add()

    def put(self, connection: Any) -> None:
        """Serve the next request of a connection."""
        with self._lock:
            # Counted here and not when a thread takes it: until then the thread would seem to be free.
            self._idle -= 1
            missing = self._idle < 0
        self._queue.put(connection)
        if missing:
            self._add()

    def stop(self, timeout: float) -> None:
        """Let requests in flight and in the queue end for `timeout` seconds, then break their connections."""
        deadline = time.monotonic() + timeout
        with self._lock:
            self._closed = True
            threads = list(self._threads)
        for _ in threads:
            self._queue.put(None)
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        with self._lock:
            stuck = {thread: connection for thread, connection in self._threads.items() if thread.is_alive()}
        for connection in stuck.values():
            if connection is not None:
                with contextlib.suppress(OSError):
                    connection.socket.shutdown(socket.SHUT_RDWR)
        for thread in stuck:
            thread.join(0.1)
        left = sum(thread.is_alive() for thread in stuck)
        if left:
            log.warning("%d requests did not end within %.1f s and are left behind", left, timeout)

    def _add(self) -> None:
        with self._lock:
            if self._closed or len(self._threads) >= self._most:
                return
            thread = threading.Thread(target=self._work, name="xmlrpc-worker", daemon=True)
            self._threads[thread] = None
            self._idle += 1
        thread.start()

    def _work(self) -> None:
        me = threading.current_thread()
        while True:
            try:
                connection = self._queue.get(timeout=_IDLE)
            except queue.Empty:
                if self._may_go(me):
                    return
                continue
            if connection is None:
                break
            with self._lock:
                self._threads[me] = connection
            self._serve(connection)
            with self._lock:
                self._idle += 1
                self._threads[me] = None
            del connection
        with self._lock:
            self._idle -= 1
            del self._threads[me]

    def _may_go(self, me: threading.Thread) -> bool:
        with self._lock:
            if len(self._threads) <= self.min or self._idle <= 0:
                return False
            self._idle -= 1
            del self._threads[me]
            return True

    def _speaks_on(self, connection: Any) -> bool:
        """Whether the client sends its next request right away: then it need not go through the selector."""
        if not self._queue.empty() or not self._server.ready:
            return False
        waiting: bool = connection.rfile.wait(_LINGER)
        return waiting

    def _serve(self, connection: Any) -> None:
        keep = False
        try:
            keep = connection.communicate()
            while keep and self._speaks_on(connection):
                keep = connection.communicate()
        except ConnectionError:
            pass  # the client went away; there is nobody to tell
        except Exception:
            # A thread outlives whatever one connection does to it.
            log.exception("A connection of %s broke the server's rules", connection.remote_addr)
        try:
            if keep:
                self._server.put_conn(connection)
            else:
                connection.close()
        except (OSError, ValueError, KeyError):
            # Stopping closes the selector under a connection that comes back to it.
            with contextlib.suppress(OSError):
                connection.close()


class _Gateway(wsgi.Gateway_10):  # type: ignore[misc]  # cheroot's types are not followed
    """The WSGI side of one request."""

    def start_response(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        """WSGI's `start_response`; an application that says so closes the connection."""
        if ("Connection", "close") in headers:
            self.req.close_connection = True
            self.req.conn.refused = True
        return super().start_response(status, headers, exc_info)

    def write(self, chunk: bytes) -> None:
        """WSGI's `write`; the headers go with the first piece of the body."""
        writer: Writer = self.req.conn.wfile
        writer.hold()
        try:
            super().write(chunk)
        finally:
            writer.release()


class _Request(HTTPRequest):  # type: ignore[misc]  # as above
    """A request, of which cheroot itself may refuse the HTTP part."""

    def simple_response(self, status: str, msg: str = "") -> None:
        """Refuse it."""
        self.conn.refused = True
        super().simple_response(status, msg)


class _Connection(HTTPConnection):  # type: ignore[misc]  # as above
    """A connection on streams of our own."""

    RequestHandlerClass = _Request
    #: Whether it was told that its request is refused; then the rest of that may still be on its way.
    refused = False

    def __init__(self, server: Server, sock: socket.socket, _makefile: Any = None) -> None:
        sock.settimeout(None)

        def stream(sock: socket.socket, mode: str, _size: int) -> Reader | Writer:
            return Reader(sock, server.timeout) if "r" in mode else Writer(sock, server.timeout)

        super().__init__(server, sock, stream)

    def close(self) -> None:
        """Close it; a client that was refused gets the time to read why."""
        if self.refused:
            # Closing with unread data would make the kernel break the connection, and the answer with it.
            with contextlib.suppress(OSError):
                self.socket.shutdown(socket.SHUT_WR)
                self.rfile.discard(_LAST_WORDS)
        super().close()


class Server(wsgi.Server):  # type: ignore[misc]  # as above
    """One listening socket and its connections.

    :param address: host and port; port 0 takes any
    :param timeout: seconds that a connection may stay silent
    """

    ConnectionClass = _Connection

    def __init__(
        self,
        address: tuple[str, int],
        application: Any,
        *,
        least_threads: int,
        most_threads: int,
        max_connections: int,
        max_body: int,
        timeout: float,
    ) -> None:
        super().__init__(address, application, server_name="vdsm", request_queue_size=128, timeout=timeout)
        self.gateway = _Gateway
        self.requests = Workers(self, least=least_threads, most=most_threads)
        self.keep_alive_conn_limit = max_connections
        self.max_request_body_size = max_body
        self.max_request_header_size = 16 * 1024
        self._refusal: OSError | None = None
        self._serving: threading.Thread | None = None

    def open(self) -> None:
        """Listen and serve.

        :raises OSError: the address cannot be used; its text says which, and why
        """
        try:
            self.prepare()
        except OSError as error:
            reason = self._refusal or error
            host, port = self.bind_addr[:2]
            raise OSError(f"Cannot listen on {host}:{port}: {reason.strerror or reason}") from reason
        self._connections.close()
        self._connections: Any = Connections(self)
        self._serving = threading.Thread(target=self.serve, name="xmlrpc-listener", daemon=True)
        self._serving.start()

    def bind(self, family: int, type: int, proto: int = 0) -> Any:  # noqa: A002 - cheroot's name
        """Bind, and remember what the system said: of an error of this, cheroot keeps the text alone.

        :raises OSError: the address cannot be used
        """
        try:
            return super().bind(family, type, proto)
        except OSError as error:
            self._refusal = error
            raise

    def close(self, grace: float) -> None:
        """Take no more connections, let requests in flight end within `grace` seconds, close everything."""
        self.shutdown_timeout = grace
        stopping = threading.Thread(target=self.stop, name="xmlrpc-stop", daemon=True)
        stopping.start()
        # The listener looks at its orders only when something happens on a socket.
        while self._serving is not None and self._serving.is_alive():
            self._happen()
            self._serving.join(0.01)
        stopping.join()

    def _happen(self) -> None:
        with contextlib.suppress(OSError):  # the port is closed already
            socket.create_connection(self.bind_addr, timeout=1.0).close()

    @staticmethod
    def bind_socket(socket_: socket.socket, bind_addr: tuple[str, int]) -> socket.socket:
        """Bind a socket; one that cannot be bound is not left open."""
        try:
            socket_.bind(bind_addr)
        except OSError:
            socket_.close()
            raise
        return socket_

    def process_conn(self, conn: Any) -> None:
        """Hand a connection to a thread once its client speaks; a new one waits for that without a thread."""
        if conn.last_used is not None:
            super().process_conn(conn)
        elif self._connections.can_add_keepalive_connection:
            self._connections.put(conn)  # also while the server stops: a request may be on its way
        else:
            log.warning("Connection of %s refused: %d are open", conn.remote_addr, self.keep_alive_conn_limit)
            conn.close()

    def error_log(self, msg: str = "", level: int = logging.INFO, traceback: bool = False) -> None:
        """Where cheroot's own messages go."""
        log.log(level, "%s", msg, exc_info=traceback)
