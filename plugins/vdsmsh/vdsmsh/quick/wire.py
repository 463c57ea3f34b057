"""Calls of verbs over REST, on a unix socket or plain TCP, with the standard library's sockets alone."""

from __future__ import annotations

import json
import os
import socket

from vdsmsh.quick.errors import Failed, NotQuick, Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: Seconds beyond those that the host has, so that its own error arrives.
_GRACE = 2.0
_UNREACHABLE = 3


class Wire:
    """One host.

    :param url: `unix:///path` or `http://host:port`
    :param token: bearer token; empty for none
    :raises NotQuick: the URL needs more than this
    """

    def __init__(self, url: str, token: str = "", timeout: float = 60.0) -> None:
        scheme, separator, rest = url.partition("://")
        if not separator or scheme not in ("unix", "http") or "%" in rest or "@" in rest:
            raise NotQuick
        self.url = url
        #: Of the API, as the last answer had it.
        self.revision = ""
        self._timeout = timeout
        self._token = token
        self._path = rest if scheme == "unix" else ""
        host, _, port = rest.rstrip("/").rpartition(":")
        if scheme == "http" and not (host and port.isdigit() and "/" not in host):
            raise NotQuick
        self._address = (host.strip("[]"), int(port)) if scheme == "http" else ("", 0)

    def call(self, verb: str, arguments: dict[str, Any], request_id: str = "") -> Any:
        """Call a verb; return its result.

        :raises Refused: the host answered with an error
        :raises Failed: it did not answer
        """
        try:
            status, headers, body = _parsed(self._exchange(self._request(verb, arguments, request_id)))
            data = json.loads(body) if body.strip() else None
        except TimeoutError:
            raise Failed(
                f"the host at {self.url} did not answer within {self._timeout:g} s; "
                "an action may have been done; --timeout SECONDS waits longer",
                _UNREACHABLE,
            ) from None
        except OSError as error:
            raise Failed(f"cannot reach the host at {self.url}: {_reason(error)}", _UNREACHABLE) from None
        except ValueError:
            raise Failed(
                f"the server that answered at {self.url} is not a vdsm host; check the URL", _UNREACHABLE
            ) from None
        self.revision = headers.get("vdsm-revision", "")
        if status < 300:
            return data
        if not isinstance(data, dict) or "slug" not in data:
            raise Failed(
                f"the server that answered is not a vdsm host (HTTP status {status}); check the URL",
                _UNREACHABLE,
            )
        message = str(data.get("detail") or data["slug"])
        raise Refused(message, str(data["slug"]), int(data.get("code", 100)))

    def _request(self, verb: str, arguments: dict[str, Any], request_id: str) -> bytes:
        body = json.dumps(arguments).encode()
        host = self._address[0] or "localhost"
        lines = [
            f"POST /api/verbs/{verb} HTTP/1.1",
            f"Host: [{host}]" if ":" in host else f"Host: {host}",
            "Connection: close",
            "Content-Type: application/json",
            "Accept: application/json",
            f"Content-Length: {len(body)}",
            f"Prefer: wait={max(1, round(self._timeout + 0.5))}",
        ]
        if self._token:
            lines.append(f"Authorization: Bearer {self._token}")
        if request_id:
            lines.append(f"Idempotency-Key: {request_id}")
        return "\r\n".join([*lines, "", ""]).encode() + body

    def _exchange(self, request: bytes) -> bytes:
        if self._path:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        else:
            connection = socket.create_connection(self._address, self._timeout + _GRACE)
        try:
            connection.settimeout(self._timeout + _GRACE)
            if self._path:
                connection.connect(self._path)
            connection.sendall(request)
            parts = []
            while part := connection.recv(262_144):
                parts.append(part)
            return b"".join(parts)
        finally:
            connection.close()


def _parsed(answer: bytes) -> tuple[int, dict[str, str], bytes]:
    """Return status, headers and body of an answer.

    :raises ValueError: it is no HTTP
    :raises OSError: it is incomplete
    """
    head, separator, body = answer.partition(b"\r\n\r\n")
    if not answer:
        raise ConnectionResetError(0, "the connection was closed without an answer")
    if not separator or not head.startswith(b"HTTP/1."):
        raise ValueError("no HTTP")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {
        name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
    }
    if headers.get("transfer-encoding", "").lower() == "chunked":
        body = _unchunked(body)
    elif len(body) < int(headers.get("content-length", 0)):
        raise ConnectionResetError(0, "the connection was closed before the end of the answer")
    return int(first.split(" ", 2)[1]), headers, body


def _unchunked(body: bytes) -> bytes:
    parts: list[bytes] = []
    place = 0
    while True:
        end = body.find(b"\r\n", place)
        if end < 0:
            raise ConnectionResetError(0, "the connection was closed before the end of the answer")
        size = int(body[place:end].split(b";")[0], 16)
        if not size:
            return b"".join(parts)
        parts.append(body[end + 2 : end + 2 + size])
        place = end + 2 + size + 2


def _reason(error: OSError) -> str:
    text = error.strerror or str(error) or type(error).__name__
    if isinstance(error, PermissionError):
        return f"{text}; run vdsmsh as root or as a member of the group of that socket"
    if isinstance(error, (ConnectionRefusedError, FileNotFoundError)):
        return f"{text}; check that vdsmd runs there with the plugin rest, or give another --url"
    return text


def is_socket(path: str) -> bool:
    """Return whether a path is a socket that this user may connect to."""
    try:
        return os.stat(path).st_mode & 0o170000 == 0o140000 and os.access(path, os.W_OK)
    except OSError:
        return False
