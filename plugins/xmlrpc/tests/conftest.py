"""A host that serves XML-RPC, and ways to speak to it."""

from __future__ import annotations

import http.client
import xmlrpc.client
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from vdsm_bridge.testing import TestHost
from vdsm_bridge.testing.tokens import write_tokens
from vdsm_core.plugins import BINDINGS, discover
from vdsm_xmlrpc import XmlRpcBinding

#: The id of the lamp that hangs in each host.
LAMP = "11111111-2222-4333-8444-555555555555"


class Served:
    """A host with its XML-RPC port."""

    def __init__(self, host: TestHost) -> None:
        self.host = host

    @property
    def url(self) -> str:
        (info,) = (plugin for plugin in self.host.host.plugins() if plugin.name == "xmlrpc")
        assert info.state == "running", info.error
        return str(info.address[0])

    @property
    def port(self) -> int:
        port = urlsplit(self.url).port
        assert port is not None
        return port

    def proxy(self, headers: list[tuple[str, str]] | None = None) -> xmlrpc.client.ServerProxy:
        """The standard library's client."""
        return xmlrpc.client.ServerProxy(self.url, allow_none=True, headers=headers or [])

    def post(
        self, body: bytes, *, method: str = "POST", path: str = "/RPC2", headers: dict[str, str] | None = None
    ) -> http.client.HTTPResponse:
        """One HTTP request on a connection of its own; the answer is read already."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body, {"Content-Type": "text/xml", **(headers or {})})
            answer = connection.getresponse()
            answer.body = answer.read()  # type: ignore[attr-defined]
            return answer
        finally:
            connection.close()

    def alive(self) -> bool:
        """Whether a new client is served."""
        with self.proxy() as proxy:
            return bool(proxy.ping() == {"status": {"code": 0, "message": "Done"}})


Serve = Callable[..., Served]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """A function that starts a host; `options` are those of the binding."""
    with ExitStack() as stack:

        def start(*, verbs: dict[str, Any] | None = None, installed: bool = False, **options: Any) -> Served:
            others = {plugin.name: {"enabled": False} for plugin in discover(BINDINGS)}
            config = {
                "plugin": {**others, "xmlrpc": {"port": 0, **options}},
                "access": {"tokens": str(write_tokens(tmp_path))},
            }
            host = TestHost(
                bindings={"xmlrpc": XmlRpcBinding}, verbs=verbs, installed=installed, config=config
            )
            stack.enter_context(host)
            host.call("Lamp.create", lamp={"lampID": LAMP, "name": "first"})
            return Served(host)

        yield start


@pytest.fixture
def served(serve: Serve) -> Served:
    """A host with the default options."""
    return serve()


@pytest.fixture
def client(served: Served) -> Iterator[Any]:
    """The standard library's client of that host."""
    with served.proxy() as proxy:
        yield proxy
