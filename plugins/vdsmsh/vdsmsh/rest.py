"""The transport over REST: HTTP on TCP or on a unix socket, one connection for each call."""

from __future__ import annotations

import http.client
import json
import math
import shlex
import socket
import urllib.parse
from collections.abc import Mapping
from typing import Any, Final

from vdsm_bridge.transport import CallOptions, CallRefused, Credentials, Transport, Unreachable

#: The host gives up first, so that its own account of what took so long arrives.
_GRACE: Final = 2.0
_REVISION: Final = "Vdsm-Revision"


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
            connection.request("POST", self._path(verb), body, self._headers(options))
            answer = connection.getresponse()
            content = answer.read()
        except TimeoutError:
            raise Unreachable(f"{self.url} did not answer within {options.timeout:g} s") from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Unreachable(f"cannot reach the host at {self.url}: {_reason(error)}") from None
        finally:
            connection.close()
        self._revision = answer.headers.get(_REVISION, "")
        return _result(answer, content)

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
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
