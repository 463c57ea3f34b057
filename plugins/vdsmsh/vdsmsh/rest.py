"""The transport over REST: HTTP on TCP or on a unix socket, one connection for each call."""

from __future__ import annotations

import http.client
import json
import math
import shlex
import socket
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, Final

from vdsm_bridge.transport import (
    CallOptions,
    CallRefused,
    Credentials,
    EventStream,
    Transport,
    Unreachable,
)
from vdsmsh.sse import ServerSentEvents

#: The host gives up first, so that its own account of what took so long arrives.
_GRACE: Final = 2.0
_REVISION: Final = "Vdsm-Revision"
_EVENTS: Final = "/api/events"
#: The host has as many streams as it may have.
_NO_PLACE: Final = "too-many-streams"


class _UnixConnection(http.client.HTTPConnection):
    """HTTP on a unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Connect to the path instead of to an address."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class RestTransport(Transport):
    """A host's REST binding, at `http://host:port`, `https://host:port` or `unix:///path`."""

    def __init__(self, url: str, credentials: Credentials) -> None:
        super().__init__(url, credentials)
        self._parts = urllib.parse.urlsplit(url)
        self._socket = urllib.parse.unquote(self._parts.path)
        self._revision = ""

    @property
    def revision(self) -> str:
        """What the header of the last answer said."""
        return self._revision

    def call(self, verb: str, arguments: Mapping[str, Any], options: CallOptions) -> Any:
        """Post the arguments to the verb's own path."""
        connection = self._connection(options.timeout + _GRACE)
        body = json.dumps(arguments).encode()
        try:
            with self._reaching(options):
                connection.request("POST", self._path(verb), body, self._headers(options))
                answer = connection.getresponse()
                content = answer.read()
        finally:
            connection.close()
        self._revision = answer.headers.get(_REVISION, "")
        return _result(answer, content)

    def events(
        self,
        patterns: Sequence[str],
        options: CallOptions,
        *,
        after: int | None = None,
        snapshot: bool = False,
    ) -> EventStream:
        """A stream of the host's; where it has no place for one more, by asking."""
        query: list[tuple[str, str]] = [("filter", pattern) for pattern in patterns]
        if after is not None:
            query.append(("after", str(after)))
        if snapshot:
            query.append(("snapshot", "true"))
        headers = {**self._headers(options), "Accept": "text/event-stream"}
        connection = self._connection(options.timeout)
        try:
            with self._reaching(options):
                connection.request("GET", f"{_EVENTS}?{urllib.parse.urlencode(query)}", headers=headers)
                # http.client forgets the socket of an answer that ends with its connection.
                sock = connection.sock
                answer = connection.getresponse()
                content = b"" if answer.status == HTTPStatus.OK else answer.read()
            if answer.status != HTTPStatus.OK:
                _result(answer, content)
            return ServerSentEvents(self.url, sock, answer)
        except CallRefused as error:
            connection.close()
            if error.slug != _NO_PLACE:
                raise
            return super().events(patterns, options, after=after, snapshot=snapshot)
        except BaseException:
            connection.close()
            raise

    def preview(self, verb: str, arguments: Mapping[str, Any], options: CallOptions) -> str:
        """The call as a curl command."""
        words = ["curl", "--fail-with-body", "--silent", "--show-error"]
        unix = self._parts.scheme == "unix"
        if unix:
            words += ["--unix-socket", self._socket]
        for name, value in self._headers(options).items():
            if name != "Authorization":
                words += ["--header", f"{name}: {value}"]
        line = shlex.join(words)
        if self.credentials.token_source:
            # In double quotes, for the shell shall put the secret in.
            line += f' --header "Authorization: Bearer {self.credentials.token_source}"'
        base = "http://localhost" if unix else self.url.rstrip("/")
        return (
            f"{line} --data-raw {shlex.quote(json.dumps(arguments))} {shlex.quote(base + self._path(verb))}"
        )

    def close(self) -> None:
        """Nothing is kept from one call to the next."""

    @contextmanager
    def _reaching(self, options: CallOptions) -> Iterator[None]:
        """Say of whatever goes wrong on the way that the host cannot be reached."""
        try:
            yield
        except TimeoutError:
            raise Unreachable(f"{self.url} did not answer within {options.timeout:g} s") from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Unreachable(f"cannot reach the host at {self.url}: {_reason(error)}") from None

    def _path(self, verb: str) -> str:
        return f"/api/verbs/{urllib.parse.quote(verb)}"

    def _connection(self, timeout: float) -> http.client.HTTPConnection:
        if self._parts.scheme == "unix":
            return _UnixConnection(self._socket, timeout)
        kind = http.client.HTTPSConnection if self._parts.scheme == "https" else http.client.HTTPConnection
        try:
            return kind(self._parts.hostname or "", self._parts.port, timeout=timeout)
        except ValueError as error:
            raise Unreachable(f"{self.url} is no usable URL: {error}") from None

    def _headers(self, options: CallOptions) -> dict[str, str]:
        headers = {
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Prefer": f"wait={max(1, math.ceil(options.timeout))}",
        }
        if options.request_id:
            headers["Idempotency-Key"] = options.request_id
        if options.flow_id:
            headers["FlowID"] = options.flow_id
        if self.credentials.token:
            headers["Authorization"] = f"Bearer {self.credentials.token}"
        return headers


def _result(answer: http.client.HTTPResponse, content: bytes) -> Any:
    try:
        data = json.loads(content) if content.strip() else None
    except ValueError:
        raise Unreachable(f"whatever answered is no vdsm host: HTTP status {answer.status}") from None
    if answer.status < 300:
        return data
    if not isinstance(data, dict) or "slug" not in data:
        raise Unreachable(f"whatever answered is no vdsm host: HTTP status {answer.status}")
    message = str(data.get("detail") or data["slug"])
    raise CallRefused(data["slug"], int(data.get("code", 100)), message, data.get("facts"))


def _reason(error: Exception) -> str:
    if isinstance(error, PermissionError):
        return f"{error.strerror}; only root and the group of that socket may use it"
    if isinstance(error, OSError) and error.strerror:
        nobody = isinstance(error, (ConnectionRefusedError, FileNotFoundError))
        return f"{error.strerror}; does vdsmd run there?" if nobody else error.strerror
    return str(error) or type(error).__name__
