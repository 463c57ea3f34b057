"""An example of a third-party binding without HTTP: JSON over a unix socket, one line each way.

A request is `{"verb": "VM.list", "arguments": {}}`, with `token`, `requestID`, `timeout` (seconds), an
optional `id`; the answer repeats the `id` beside its `result` or `error`. Calls on a connection run one by
one.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from contextlib import suppress
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingUnixStreamServer
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from vdsm_bridge import Binding, Bridge, Context, Credentials, Options
from vdsm_bridge.errors import InvalidRequest, VdsmError
from vdsm_bridge.types import builtins


class NdjsonOptions(Options, frozen=True):
    """`[plugin.ndjson]`"""

    #: The unix socket to listen on. Empty: none.
    socket: str = ""
    #: Bytes that a request may have.
    max_line: Annotated[int, Meta(ge=1024, extra_json_schema={"x-unit": "B"})] = 4 * 1024 * 1024


#: struct ucred, unix(7): pid, uid, gid.
_UCRED: Final = struct.Struct("3i")


class Request(msgspec.Struct, rename={"request_id": "requestID"}):
    """One line from a client."""

    verb: str
    arguments: dict[str, Any] = {}
    id: Any = None
    token: str = ""
    request_id: str = ""
    timeout: Annotated[float, Meta(gt=0)] | None = None


class Handler(StreamRequestHandler):
    """One connection."""

    server: Server

    def handle(self) -> None:
        """Answer line by line until the client disconnects, or the binding stops reading."""
        longest = self.server.options.max_line
        with suppress(ConnectionError):
            while (line := self.rfile.readline(longest + 1)).endswith(b"\n"):
                self.wfile.write(msgspec.json.encode(self.answer(line)) + b"\n")
            if len(line) > longest:
                self.wfile.write(b'{"error":{"slug":"request-too-large","code":100,"message":"Too long"}}\n')

    def answer(self, line: bytes) -> dict[str, Any]:
        """Decode, call, encode."""
        answered: dict[str, Any] = {}
        try:
            request = msgspec.json.decode(line, type=Request)
            answered["id"] = request.id
            result = self.server.bridge.call(request.verb, request.arguments, self.context(request))
            answered["result"] = builtins(result)
        except (VdsmError, msgspec.DecodeError) as problem:
            error = problem if isinstance(problem, VdsmError) else InvalidRequest(reason=str(problem))
            answered["error"] = {"slug": error.slug, "code": error.code, "message": str(error)}
        return answered

    def context(self, request: Request) -> Context:
        """Return the caller's identity: the user of the peer's process, or the owner of the token."""
        peer = self.connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        credentials = Credentials(uid=_UCRED.unpack(peer)[1], token=request.token)
        return Context(
            identity=self.server.bridge.identify(credentials),
            binding="ndjson",
            request_id=request.request_id,
            deadline=None if request.timeout is None else time.monotonic() + request.timeout,
        )


class Server(ThreadingUnixStreamServer):
    """The socket, with a thread for each connection."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, bridge: Bridge, options: NdjsonOptions) -> None:
        self.bridge, self.options = bridge, options
        self.open: set[socket.socket] = set()
        Path(options.socket).unlink(missing_ok=True)
        super().__init__(options.socket, Handler)
        Path(options.socket).chmod(0o660)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Remember the connection while it is open."""
        self.open.add(request)
        super().process_request(request, client_address)

    def close_request(self, request: Any) -> None:
        """Forget it."""
        super().close_request(request)
        self.open.discard(request)

    def hang_up(self, how: int) -> None:
        """End the reading, or all, of each connection."""
        for connection in list(self.open):
            with suppress(OSError):
                connection.shutdown(how)


class NdjsonBinding(Binding):
    """The binding, as its entry point names it."""

    Config = NdjsonOptions
    plugin_api = 1
    _server: Server | None = None

    def start(self) -> None:
        """Listen on the configured path, if there is one."""
        if self.config.socket:
            self._server = server = Server(self.bridge, self.config)
            threading.Thread(target=server.serve_forever, args=(0.05,), name="ndjson", daemon=True).start()

    def stop(self, grace: float) -> None:
        """Stop reading requests; wait for the answers in flight."""
        if (server := self._server) is None:
            return
        self._server, end = None, time.monotonic() + grace
        server.shutdown()
        server.server_close()
        Path(self.config.socket).unlink(missing_ok=True)
        server.hang_up(socket.SHUT_RD)
        while server.open and time.monotonic() < end:
            time.sleep(0.01)
        server.hang_up(socket.SHUT_RDWR)

    @property
    def address(self) -> tuple[str, ...]:
        """The path, as a URL."""
        return (f"ndjson+unix://{self.config.socket}",) if self._server else ()
