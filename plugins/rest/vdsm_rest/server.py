"""cheroot, made fit for this binding: threads as needed, sockets that are left clean, errors as problems."""

from __future__ import annotations

import logging
import os
import queue
import socket
import stat
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from typing import Any, Final

import msgspec
from cheroot import wsgi
from cheroot.connections import prevent_socket_inheritance
from cheroot.server import (
    ChunkedRFile,
    HeaderReader,
    HTTPConnection,
    HTTPRequest,
    SizeCheckWrapper,
)
from cheroot.workers import threadpool

from vdsm_bridge.errors import Unavailable, UnexpectedError
from vdsm_rest.caller import CONNECTION, HAND_OVER
from vdsm_rest.events import EventStream
from vdsm_rest.options import RestOptions
from vdsm_rest.problems import (
    BodyTooLarge,
    HeaderTooLarge,
    MalformedRequest,
    Problem,
    UriTooLong,
    encode,
    problem_of,
)

log = logging.getLogger(__name__)

#: Seconds between two looks for connections that were silent too long, and at the wish to stop.
_POLL: Final = 0.1
#: What a refused sender may still send, in bytes and seconds, so that it reads the refusal.
_LINGER_BYTES: Final = 8 * 1024 * 1024
_LINGER_SECONDS: Final = 1.0


class Pool(threadpool.ThreadPool):  # type: ignore[misc]  # cheroot has no types
    """Threads that grow in number when all are busy: a call that waits for a stuck machine holds one."""

    def __init__(self, server: HttpServer, **bounds: Any) -> None:
        super().__init__(server, **bounds)
        self._growing = threading.Lock()
        self._stopped = False

    def put(self, connection: Any) -> None:
        """Hand a connection over, to a new thread if need be."""
        super().put(connection)
        self.keep_up()

    def keep_up(self) -> None:
        """Start threads for connections that wait for one."""
        with self._growing:
            if self._stopped:
                return
            missing = min(self._queue.qsize() - self.idle, self.max - len(self._threads))
            self.grow(max(0, missing))

    def grow(self, amount: int) -> None:
        """Start threads, without waiting for each."""
        self._threads += [self._spawn_worker() for _ in range(amount)]

    def stop(self, timeout: float) -> None:
        """Let the threads finish what they do within `timeout` seconds; then cut their connections."""
        with self._growing:
            self._stopped = True
            threads, self._threads[:] = self._threads[:], []
        for _ in threads:
            self._queue.put(threadpool._SHUTDOWNREQUEST)  # noqa: SLF001 - the pool's own mark
        _join(threads, timeout)
        for thread in threads:
            if thread.is_alive():
                self._force_close(thread.conn)
        _join(threads, _POLL)
        left = sum(thread.is_alive() for thread in threads)
        if left:
            log.warning("%d calls were still running when their time to end was over", left)

    def _spawn_worker(self) -> Any:
        worker = threadpool.WorkerThread(self.server)
        worker.name = f"rest {worker.name}"
        # A call that never returns must not keep the daemon from ending.
        worker.daemon = True
        worker.start()
        return worker


class Headers(HeaderReader):  # type: ignore[misc]  # as above
    """Leaves out names with an underscore: in WSGI they could not be told from those with a dash."""

    def _allow_header(self, name: bytes) -> bool:
        return b"_" not in name


class Request(HTTPRequest):  # type: ignore[misc]  # as above
    """A request whose framing is checked, and whose refusal by the server is a problem document."""

    header_reader = Headers()

    def read_request_headers(self) -> bool:
        """Read the head.

        :returns: whether it is in order
        """
        if not super().read_request_headers():
            return False
        length = self.inheaders.get(b"Content-Length")
        if length is not None and (self.chunked_read or not length.isdigit()):
            self.simple_response("400 Bad Request", "Content-Length is no number, or not the only framing")
            return False
        return True

    def simple_response(self, status: Any, msg: str = "") -> None:
        """Refuse a request that does not reach the application; the connection ends."""
        code = int(str(status)[:3])
        self.close_connection = True
        problem = self._problem(code, msg or str(status)[4:])
        body = encode(problem)
        head = (
            f"{self.server.protocol} {problem.status} {problem.title}\r\n"
            "Content-Type: application/problem+json\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        self.conn.unread = code in {413, 414}
        # The peer may be gone.
        with suppress(OSError):
            self.conn.wfile.write(head.encode("latin-1") + body)

    def _problem(self, code: int, text: str) -> Problem:
        server = self.server
        error = {
            413: BodyTooLarge(limit=server.max_request_body_size),
            414: UriTooLong(limit=server.max_request_header_size),
            500: UnexpectedError(verb="The request", incident="(none)"),
            503: Unavailable(reason="too many requests wait"),
        }.get(code, MalformedRequest(reason=text))
        if code == 413 and "headers" in text:
            error = HeaderTooLarge(limit=server.max_request_header_size)
        problem = problem_of(error)
        if isinstance(error, MalformedRequest):
            return msgspec.structs.replace(problem, status=code, title=HTTPStatus(code).phrase)
        return problem


class Connection(HTTPConnection):  # type: ignore[misc]  # as above
    """A connection that remembers who its caller is."""

    RequestHandlerClass = Request

    def __init__(self, server: Any, sock: Any, makefile: Any) -> None:
        super().__init__(server, sock, makefile)
        self.memory: dict[str, Any] = {}
        #: Whether the peer may still be sending what nobody will read.
        self.unread = False
        #: What goes on with the connection once its request is answered.
        self.stream: EventStream | None = None

    def communicate(self) -> bool:
        """Answer one request.

        :returns: whether the connection is kept
        """
        # Who handed over the next connection may have taken this thread for an idle one.
        if self.server.requests.qsize:
            self.server.requests.keep_up()
        keep: bool = super().communicate()
        return keep

    def close(self) -> None:
        """Close, once the peer had a chance to read the last answer; a stream closes it itself."""
        stream, self.stream = self.stream, None
        if stream is not None:
            stream.take(self)
            return
        if self.unread:
            with suppress(OSError):
                _linger(self.socket)
        super().close()


class Gateway(wsgi.Gateway_10):  # type: ignore[misc]  # as above
    """WSGI with the memory of the connection, and with bounds on chunked bodies."""

    def get_environ(self) -> dict[str, Any]:
        """The environment of the request."""
        request = self.req
        if request.chunked_read:
            limit = request.server.max_request_body_size
            request.rfile = ChunkedRFile(SizeCheckWrapper(request.conn.rfile, 2 * limit), limit)
        environ: dict[str, Any] = super().get_environ()
        environ[CONNECTION] = request.conn.memory
        environ[HAND_OVER] = self._hand_over
        return environ

    def _hand_over(self, stream: EventStream) -> None:
        # The body has no length and no chunks; cheroot does that for old clients only.
        self.req.response_protocol = "HTTP/1.0"
        self.req.close_connection = True
        self.req.conn.stream = stream

    def start_response(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        """Begin the response; a chunked body that nobody read ends the connection."""
        if self.req.chunked_read and not self.req.rfile.closed:
            self.req.close_connection = self.req.conn.unread = True
        return super().start_response(status, headers, exc_info)


class HttpServer(wsgi.Server):  # type: ignore[misc]  # as above
    """One listening socket with its threads.

    :param bind: (address, port), or the path of a unix socket
    """

    ConnectionClass = Connection
    expiration_interval = _POLL

    def __init__(
        self, bind: tuple[str, int] | str, application: Callable[..., Any], options: RestOptions
    ) -> None:
        super().__init__(
            bind,
            application,
            server_name="vdsm",
            request_queue_size=1024,
            timeout=options.timeout,
            peercreds_enabled=isinstance(bind, str),
        )
        self.gateway = Gateway
        self.requests = Pool(
            self,
            min=options.threads,
            max=max(options.threads, options.max_threads),
            accepted_queue_size=options.backlog,
            accepted_queue_timeout=_POLL,
        )
        self.keep_alive_conn_limit = options.connections
        self.max_request_body_size = options.max_body
        self.max_request_header_size = options.max_header
        self._mode = int(options.socket_mode, 8)
        self._inode = 0
        self._refusal: OSError | None = None
        self._thread: threading.Thread | None = None

    def listen(self) -> None:
        """Take calls from now on.

        :raises OSError: the address is taken, or not ours; its text says which, and why
        """
        try:
            self.prepare()
        except BaseException as error:
            self._free()
            if not isinstance(error, OSError):
                raise
            reason = error.__cause__ or self._refusal or error
            place = self.bind_addr if isinstance(self.bind_addr, str) else "{}:{}".format(*self.bind_addr)
            raise OSError(
                f"Cannot listen on {place}: {getattr(reason, 'strerror', '') or reason}"
            ) from reason
        self._thread = threading.Thread(target=self.serve, name=f"rest {self.bind_addr}", daemon=True)
        self._thread.start()

    def shut(self, grace: float) -> None:
        """Take no new calls, let those that run end within `grace` seconds, leave nothing."""
        self.shutdown_timeout = grace
        self.stop()
        if self._thread is not None:
            self._thread.join(grace)
            self._thread = None
        self._free()

    def serve(self) -> None:
        """Watch the sockets until `stop`."""
        while self.ready:
            try:
                self._connections.run(self.expiration_interval)
            except OSError:
                # One connection's trouble must not end all others.
                log.warning("Trouble with a connection", exc_info=True)

    def process_conn(self, conn: Any) -> None:
        """Hand a connection to a thread as soon as it says something: silent ones cost none."""
        try:
            if conn.last_used is None and not conn.rfile.has_data():
                self.put_conn(conn)
            else:
                self.requests.put(conn)
        except queue.Full:
            Request(self, conn).simple_response("503 Service Unavailable")
            conn.close()

    def bind(self, family: int, type: int, proto: int = 0) -> Any:  # noqa: A002 - cheroot's name
        """Bind, and remember what the system said: of an error of this, cheroot keeps the text alone.

        :raises OSError: the address is taken, or not ours
        """
        try:
            return super().bind(family, type, proto)
        except OSError as error:
            self._refusal = error
            raise

    @staticmethod
    def bind_socket(socket_: socket.socket, bind_addr: Any) -> socket.socket:
        """Bind.

        :raises OSError: the address is taken, or not ours; then the socket is closed
        """
        try:
            socket_.bind(bind_addr)
        except OSError:
            socket_.close()
            raise
        return socket_

    def bind_unix_socket(self, path: str) -> Any:
        """Make the socket with its mode from the first moment on.

        :raises OSError: somebody serves there, or the path is something else than a socket
        """
        _remove_stale(path)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        prevent_socket_inheritance(sock)
        try:
            # The mode of the open socket becomes that of the file.
            os.fchmod(sock.fileno(), self._mode)
            sock.bind(path)
            os.chmod(path, self._mode)  # noqa: PTH101 - umask has its say at bind
            self._inode = os.lstat(path).st_ino
        except OSError:
            sock.close()
            raise
        self.socket = sock
        return sock

    def error_log(self, msg: str = "", level: int = logging.INFO, traceback: bool = False) -> None:
        """Take what cheroot has to say; a peer that goes away is no news."""
        log.log(level if traceback else min(level, logging.DEBUG), "%s", msg, exc_info=traceback)

    def clear_stats(self) -> None:
        """Keep no statistics: cheroot's would be a global of the process."""
        self._start_time = None
        self._run_time = 0
        self.stats = {"Enabled": False, "Worker Threads": {}}

    def _free(self) -> None:
        if isinstance(self.bind_addr, str) and self._inode:
            with suppress(OSError):
                if os.lstat(self.bind_addr).st_ino == self._inode:
                    os.unlink(self.bind_addr)  # noqa: PTH108 - cheroot keeps the path as text
            self._inode = 0


def _remove_stale(path: str) -> None:
    """Remove a socket that its owner left behind.

    :raises OSError: it is alive, or no socket
    """
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise FileExistsError(f"{path} exists and is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)  # noqa: PTH108 - as above
            return
    raise FileExistsError(f"somebody serves on {path} already")


def _join(threads: list[Any], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    for thread in threads:
        if thread is not threading.current_thread():
            thread.join(max(0.0, deadline - time.monotonic()))


def _linger(sock: socket.socket) -> None:
    """Read on for a while: closing with unread data would take the answer away from the peer."""
    deadline = time.monotonic() + _LINGER_SECONDS
    left = _LINGER_BYTES
    sock.shutdown(socket.SHUT_WR)
    sock.settimeout(_LINGER_SECONDS)
    while left > 0 and time.monotonic() < deadline:
        data = sock.recv(65_536)
        if not data:
            return
        left -= len(data)
