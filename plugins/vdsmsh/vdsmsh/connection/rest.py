"""The transport over REST: HTTP on TCP or on a unix socket, one connection for each call."""

from __future__ import annotations

import http.client
import json
import math
import shlex
import socket
import ssl
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, Final

from vdsm_bridge.client.tls import client_context, reason_of
from vdsm_bridge.transport import (
    CallOptions,
    CallRefused,
    Credentials,
    EventStream,
    Transport,
    Unreachable,
)
from vdsmsh.connection.sse import ServerSentEvents

#: Seconds beyond the timeout of the host, so that its error, which has the reason, arrives.
_GRACE: Final = 2.0
_REVISION: Final = "Vdsm-Revision"
_EVENTS: Final = "/api/events"
#: Slug of the host's refusal of another stream.
_TOO_MANY_STREAMS: Final = "too-many-streams"


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
    """The REST binding of a host, at `http://host:port`, `https://host:port` or `unix:///path`."""

    def __init__(self, url: str, credentials: Credentials) -> None:
        super().__init__(url, credentials)
        self._parts = urllib.parse.urlsplit(url)
        self._socket = urllib.parse.unquote(self._parts.path)
        self._revision = ""
        self._tls: ssl.SSLContext | None = None

    @property
    def revision(self) -> str:
        """The revision in the header of the last answer."""
        return self._revision

    def call(self, verb: str, arguments: Mapping[str, Any], options: CallOptions) -> Any:
        """Post the arguments to the path of the verb."""
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
        """Return a stream of server-sent events; poll for events if the host refuses another stream."""
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
            if error.slug != _TOO_MANY_STREAMS:
                raise
            return super().events(patterns, options, after=after, snapshot=snapshot)
        except BaseException:
            connection.close()
            raise

    def preview(self, verb: str, arguments: Mapping[str, Any], options: CallOptions) -> str:
        """Return the call as a curl command."""
        words = ["curl", "--fail-with-body", "--silent", "--show-error"]
        unix = self._parts.scheme == "unix"
        if unix:
            words += ["--unix-socket", self._socket]
        for name, value in self._headers(options).items():
            if name != "Authorization":
                words += ["--header", f"{name}: {value}"]
        line = shlex.join(words)
        for option, path in (
            ("--cacert", self.credentials.ca),
            ("--cert", self.credentials.certificate),
            ("--key", self.credentials.key),
        ):
            if path and self._parts.scheme == "https":
                line += f" {option} {shlex.quote(path)}"
        if self.credentials.token_source:
            # In double quotes: the shell inserts the secret.
            line += f' --header "Authorization: Bearer {self.credentials.token_source}"'
        base = "http://localhost" if unix else self.url.rstrip("/")
        return (
            f"{line} --data-raw {shlex.quote(json.dumps(arguments))} {shlex.quote(base + self._path(verb))}"
        )

    def close(self) -> None:
        """Do nothing: each call has its own connection."""

    @contextmanager
    def _reaching(self, options: CallOptions) -> Iterator[None]:
        """Raise `Unreachable` for any error of the connection."""
        try:
            yield
        except TimeoutError:
            raise Unreachable(
                f"the host at {self.url} did not answer within {options.timeout:g} s; "
                "an action may have been done; --timeout SECONDS waits longer"
            ) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Unreachable(f"cannot reach the host at {self.url}: {_reason(error)}") from None

    def _path(self, verb: str) -> str:
        return f"/api/verbs/{urllib.parse.quote(verb)}"

    def _connection(self, timeout: float) -> http.client.HTTPConnection:
        if self._parts.scheme == "unix":
            return _UnixConnection(self._socket, timeout)
        try:
            host, port = self._parts.hostname or "", self._parts.port
            if self._parts.scheme != "https":
                return http.client.HTTPConnection(host, port, timeout=timeout)
            self._tls = self._tls or client_context(self.credentials)
            return http.client.HTTPSConnection(host, port, timeout=timeout, context=self._tls)
        except ValueError as error:
            raise Unreachable(f"cannot use the URL {self.url}: {error}") from None

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
        raise _no_vdsm_host(answer) from None
    if answer.status < 300:
        return data
    if not isinstance(data, dict) or "slug" not in data:
        raise _no_vdsm_host(answer)
    message = str(data.get("detail") or data["slug"])
    raise CallRefused(data["slug"], int(data.get("code", 100)), message, data.get("facts"))


def _no_vdsm_host(answer: http.client.HTTPResponse) -> Unreachable:
    return Unreachable(
        f"the server that answered is not a vdsm host (HTTP status {answer.status}); check the URL"
    )


def _reason(error: Exception) -> str:
    """Return the reason of an error of the connection, and what to do where that is known."""
    if isinstance(error, PermissionError):
        return f"{error.strerror}; run vdsmsh as root or as a member of the group of that socket"
    if isinstance(error, (ConnectionRefusedError, FileNotFoundError)):
        return f"{error.strerror}; check that vdsmd runs there with the plugin rest, or give another --url"
    if isinstance(error, socket.gaierror):
        return f"{error.strerror}; check the name in the URL"
    if isinstance(error, ssl.SSLError):
        return reason_of(error)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
