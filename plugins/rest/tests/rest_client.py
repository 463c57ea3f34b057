"""A small HTTP client of the tests, over TCP and unix sockets."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any
from urllib.parse import quote

from vdsm_bridge.testing.client import ContractError


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def connect(url: str, timeout: float, context: ssl.SSLContext | None) -> http.client.HTTPConnection:
    """A connection that is not open yet."""
    scheme, _, place = url.partition(":")
    if scheme == "unix":
        return UnixConnection(place, timeout)
    if scheme == "https":
        return http.client.HTTPSConnection(place.removeprefix("//"), timeout=timeout, context=context)
    return http.client.HTTPConnection(place.removeprefix("//"), timeout=timeout)


@dataclass(frozen=True)
class Message:
    """One server-sent event. `id` is the last one received, `data` None for an id alone."""

    id: str
    event: str
    data: Any

    @property
    def seq(self) -> int:
        """The number of the event itself."""
        return int(self.data["seq"])


class EventReader:
    """A stream of events."""

    def __init__(
        self,
        url: str,
        query: str = "",
        headers: Mapping[str, str] | None = None,
        timeout: float = 10.0,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self._connection = connect(url, timeout, context)
        self._connection.request("GET", f"/api/events{query}", headers=dict(headers or {}))
        self._response = self._connection.getresponse()
        self.status = self._response.status
        self.headers = self._response.headers
        self.last_id = ""

    def __enter__(self) -> EventReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def body(self) -> Any:
        """The problem that came instead of a stream."""
        return json.loads(self._response.read())

    def blocks(self) -> Iterator[list[str]]:
        """Each block as it came, until the stream ends."""
        lines: list[str] = []
        while line := self._response.readline():
            text = line.decode().rstrip("\n")
            if text:
                lines.append(text)
            else:
                yield lines
                lines = []

    def messages(self) -> Iterator[Message]:
        """Each event, until the stream ends."""
        for block in self.blocks():
            fields = dict(line.split(": ", 1) for line in block if not line.startswith(":"))
            self.last_id = fields.get("id", self.last_id)
            if "data" in fields:
                yield Message(self.last_id, fields["event"], json.loads(fields["data"]))

    def take(self, count: int) -> list[Message]:
        """The next events."""
        return list(islice(self.messages(), count))

    def started(self) -> EventReader:
        """Once the host has sent the number at which the stream begins."""
        for block in self.blocks():
            if block and block[-1].startswith("id: "):
                self.last_id = block[-1].removeprefix("id: ")
                return self
        raise AssertionError("the stream has ended")

    def close(self) -> None:
        self._response.close()
        self._connection.close()


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def __getitem__(self, header: str) -> str:
        return self.headers[header]


class RestClient:
    """One keep-alive connection; also a client for the contract suite."""

    def __init__(self, url: str, timeout: float = 30.0, context: ssl.SSLContext | None = None) -> None:
        self._connection = connect(url, timeout, context)

    def __enter__(self) -> RestClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def request(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send; `body` is sent as JSON unless it is bytes."""
        sent = dict(headers or {})
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        if data is not None:
            sent.setdefault("Content-Type", "application/json")
        self._connection.request(method, path, data, sent)
        response = self._connection.getresponse()
        return Answer(response.status, response.headers, response.read())

    def get(self, path: str, **headers: str) -> Answer:
        return self.request("GET", path, headers={name.replace("_", "-"): v for name, v in headers.items()})

    def post(self, path: str, body: Any = None, **headers: str) -> Answer:
        return self.request("POST", path, body, {name.replace("_", "-"): v for name, v in headers.items()})

    def delete(self, path: str, **headers: str) -> Answer:
        return self.request(
            "DELETE", path, headers={name.replace("_", "-"): v for name, v in headers.items()}
        )

    def call(
        self,
        verb: str,
        arguments: Mapping[str, Any],
        *,
        token: str = "",
        request_id: str = "",
        timeout: float | None = None,
    ) -> Any:
        """A verb by its name."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        if request_id:
            headers["Idempotency-Key"] = request_id
        if timeout is not None:
            headers["Request-Timeout"] = str(timeout)
        answer = self.request("POST", f"/api/verbs/{quote(verb, safe='')}", dict(arguments), headers)
        if answer.status >= 400:
            problem = answer.json
            assert answer["Content-Type"] == "application/problem+json"
            raise ContractError(problem["slug"], problem["code"], problem["detail"])
        return answer.json if answer.body else None

    def verbs(self) -> set[str]:
        """The verbs that the document describes on a route of their own."""
        paths = self.get("/api/openapi.json").json["paths"]
        operations = [op for path, item in paths.items() for op in item.values() if "/verbs/" not in path]
        return {operation["x-vdsm-verb"] for operation in operations if "x-vdsm-verb" in operation}

    def close(self) -> None:
        self._connection.close()
