"""The contract of bindings over a unix socket, and what is the protocol's own."""

from __future__ import annotations

import json
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from vdsm_ndjson import NdjsonBinding

from vdsm_bridge.testing import TestHost
from vdsm_bridge.testing.client import ContractError
from vdsm_bridge.testing.contract import BindingContract
from vdsm_bridge.testing.polling import until

FOLDER = tempfile.TemporaryDirectory(prefix="ndjson")
PATH = f"{FOLDER.name}/sock"


class Client:
    """One connection."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(30)
        self._socket.connect(path)
        self._lines = self._socket.makefile("rb")

    def send(self, line: bytes) -> None:
        self._socket.sendall(line + b"\n")

    def receive(self) -> Any:
        return json.loads(self._lines.readline())

    def call(
        self,
        verb: str,
        arguments: Any,
        *,
        token: str = "",
        request_id: str = "",
        timeout: float | None = None,
    ) -> Any:
        request = {"verb": verb, "arguments": arguments, "token": token, "requestID": request_id}
        self.send(json.dumps({**request, "timeout": timeout}).encode())
        answer = self.receive()
        if "error" in answer:
            error = answer["error"]
            raise ContractError(error["slug"], error["code"], error["message"])
        return answer["result"]

    def verbs(self) -> set[str]:
        return {verb["name"] for verb in self.call("Host.getVerbs", {})}

    def close(self) -> None:
        self._lines.close()
        self._socket.close()


class TestContract(BindingContract):
    """The same verbs, results and errors as the bridge's own."""

    name = "ndjson"
    binding = NdjsonBinding
    options = {"socket": PATH}

    def connect(self, host: TestHost) -> Client:
        return Client(PATH)


@pytest.fixture
def host(make_vdsm_host: Callable[..., TestHost]) -> TestHost:
    config = {"plugin": {"ndjson": {"socket": PATH, "max_line": 1024}}}
    return make_vdsm_host(bindings={"ndjson": NdjsonBinding}, config=config)


@pytest.fixture
def client(host: TestHost) -> Iterator[Client]:
    made = Client(PATH)
    yield made
    made.close()


@pytest.mark.parametrize("line", [b"", b"{", b"[]", b'{"verb": 1}', b"\xff"])
def test_an_invalid_request_is_an_error(client: Client, line: bytes) -> None:
    """The connection goes on."""
    client.send(line)
    assert client.receive()["error"]["slug"] == "invalid-request"
    client.send(b'{"id": 7, "verb": "Host.echo", "arguments": {"message": "on"}}')
    assert client.receive() == {"id": 7, "result": "on"}


def test_a_line_that_is_too_long_ends_the_connection(client: Client) -> None:
    """A client cannot fill the memory."""
    client.send(b"x" * 1500)
    assert client.receive()["error"]["slug"] == "request-too-large"
    assert client._lines.readline() == b""


def test_a_call_in_flight_is_answered(host: TestHost, client: Client) -> None:
    """Stopping takes no new calls and waits for those that run."""
    lamp = "00000000-0000-4000-8000-000000000001"
    host.call("Lamp.create", lamp={"lampID": lamp, "name": "x"})
    request = {"verb": "Lamp.engrave", "arguments": {"lampID": lamp, "text": "t", "pause": 0.5}}
    client.send(json.dumps(request).encode())
    until(lambda: host.call("Host.getQueues"))
    stopping = threading.Thread(target=host.host.stop)
    stopping.start()
    assert "result" in client.receive()
    stopping.join()
    assert not Path(PATH).exists()
