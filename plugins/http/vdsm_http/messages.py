"""The messages of a site: requests, responses, and the peer of the connection."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any, Final, NamedTuple

from vdsm_bridge import Certificate
from vdsm_http.channel import Channel

Header = tuple[str, str]

_PHRASES: Final = {status.value: status.phrase for status in HTTPStatus}


class Peer(NamedTuple):
    """The other side of a connection.

    `address` is empty on a unix socket, `port` is 0 there. `uid` is the user id that the kernel recorded when
    a unix socket was connected, None on TCP. `local` is the address that the peer connected to.
    `owner` is the user id that owns the socket of a peer on loopback TCP, as the kernel
    reports it: it identifies the caller for the log, and grants nothing. `secure` is whether TLS encrypts
    the connection; `certificate` is the verified certificate of the client, `der` the same in DER form.
    """

    address: str = ""
    port: int = 0
    uid: int | None = None
    local: tuple[str, int] = ("", 0)
    owner: int | None = None
    secure: bool = False
    certificate: Certificate | None = None
    der: bytes = b""


class Request:
    """One request, its body included.

    `target` is the request target as received, percent-encoded; `path` and `query` are its parts. Header
    names are lower case; values of repeated headers are joined by a comma. `memory` is kept for the
    duration of the connection.
    """

    __slots__ = (
        "body",
        "headers",
        "keep_alive",
        "memory",
        "method",
        "path",
        "peer",
        "query",
        "target",
        "version",
    )

    def __init__(
        self,
        method: str,
        target: str,
        *,
        version: str = "1.1",
        headers: dict[str, str] | None = None,
        body: bytes = b"",
        peer: Peer | None = None,
        memory: dict[Any, Any] | None = None,
        keep_alive: bool = True,
    ) -> None:
        self.method = method
        self.target = target
        self.path, _, self.query = target.partition("?")
        self.version = version
        self.headers = {} if headers is None else headers
        self.body = body
        self.peer = peer or Peer()
        self.memory = {} if memory is None else memory
        #: Whether the client allows a further request on this connection.
        self.keep_alive = keep_alive


class Response:
    """A reply. The front adds `Date`, `Content-Length` and `Connection`.

    :param body: bytes, or pieces that are sent one after the other without being joined
    :param close: end the connection after this reply
    :param takeover: called with the connection once the head was sent, instead of a body: for streams and
        protocol upgrades. It returns at once; further work runs in a thread of its own. It is called in any
        case, with a broken connection if the client is gone.
    """

    __slots__ = ("body", "close", "headers", "status", "takeover")

    def __init__(
        self,
        status: int,
        headers: Iterable[Header] = (),
        body: bytes | list[bytes] = b"",
        *,
        close: bool = False,
        takeover: Callable[[Channel], None] | None = None,
    ) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.close = close
        self.takeover = takeover


class Refusal(Exception):
    """A request that does not reach its site: HTTP itself forbids it, or a limit."""

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


def phrase(status: int) -> str:
    """Return the reason phrase of a status code."""
    return _PHRASES.get(status, "Unknown")
