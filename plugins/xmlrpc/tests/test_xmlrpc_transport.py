"""The transport over XML-RPC, as clients and other hosts use it."""

from __future__ import annotations

import socket
import threading
import xmlrpc.client
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from vdsm_bridge.testing import TestHost
from vdsm_bridge.testing.certificates import TestPki
from vdsm_bridge.transport import (
    CallOptions,
    CallRefused,
    Credentials,
    Transport,
    Unreachable,
    open_transport,
)
from vdsm_core.plugins import BINDINGS, discover
from vdsm_xmlrpc import XmlRpcBinding
from vdsm_xmlrpc.transport import XmlRpcTransport

from .conftest import LAMP

OPTIONS = CallOptions(timeout=20)


@pytest.fixture
def pki(tmp_path: Path) -> TestPki:
    """A CA, and the files of the host."""
    return TestPki(tmp_path / "pki")


@pytest.fixture
def port(tmp_path: Path, pki: TestPki) -> Iterator[int]:
    """Where a host serves XML-RPC, over TLS only."""
    others = {plugin.name: {"enabled": False} for plugin in discover(BINDINGS)}
    limited = {"role": "operator", "verbs": ["Host.ping", "Lamp.switch"]}
    config = {
        "plugin": {**others, "xmlrpc": {"port": 0, "tls": "required"}},
        "access": {"loopback": "none", "certificates": {"CN=engine": "operator", "CN=host2": limited}},
        "tls": pki.options,
    }
    with TestHost(bindings={"xmlrpc": XmlRpcBinding}, config=config) as host:
        host.call("Lamp.create", lamp={"lampID": LAMP, "name": "first"})
        (info,) = (plugin for plugin in host.host.plugins() if plugin.name == "xmlrpc")
        yield int(info.address[0].rpartition(":")[2].partition("/")[0])


def reach(port: int, pki: TestPki, name: str) -> Transport:
    """The host, with the certificate of a client."""
    files = pki.client(name)
    proof = Credentials(ca=str(pki.options["ca"]), certificate=str(files.certificate), key=str(files.key))
    return open_transport(f"xmlrpcs://localhost:{port}", proof)


def test_calls(port: int, pki: TestPki) -> None:
    """Results are plain data; errors keep slug, code and message; the limits of a certificate apply."""
    with closing(reach(port, pki, "engine")) as engine:
        assert isinstance(engine, XmlRpcTransport)
        assert engine.call("Host.ping", {}, OPTIONS) is None
        assert engine.call("Host.echo", {"message": "ä" * 10}, OPTIONS) == "ä" * 10
        assert engine.call("Lamp.switch", {"lampID": LAMP, "lit": True}, OPTIONS)["lit"] is True
        with pytest.raises(CallRefused) as refusal:
            engine.call("Lamp.switch", {"lampID": LAMP, "lit": "perhaps"}, OPTIONS)
        assert (refusal.value.slug, refusal.value.code) == ("invalid-argument", 91)
        with pytest.raises(CallRefused) as refusal:
            engine.call("Lamp.swallow", {}, OPTIONS)
        assert refusal.value.slug == "no-such-verb"
    with closing(reach(port, pki, "host2")) as host:
        assert host.call("Lamp.switch", {"lampID": LAMP, "lit": False}, OPTIONS)["lit"] is False
        with pytest.raises(CallRefused) as refusal:
            host.call("Lamp.remove", {"lampID": LAMP}, OPTIONS)
        assert refusal.value.slug == "out-of-scope"


def test_a_request_id(port: int, pki: TestPki) -> None:
    """The same request is carried out once."""
    options = CallOptions(timeout=20, request_id="one")
    with closing(reach(port, pki, "engine")) as engine:
        for _ in range(2):
            engine.call("Lamp.switch", {"lampID": LAMP, "lit": True}, options)
        with pytest.raises(CallRefused) as refusal:
            engine.call("Lamp.switch", {"lampID": LAMP, "lit": False}, options)
        assert refusal.value.slug == "request-id-reused"


def test_a_host_that_is_not_trusted(port: int, pki: TestPki, tmp_path: Path) -> None:
    """Nothing is sent to a host whose certificate has another CA or another name."""
    other = TestPki(tmp_path / "other")
    for url, ca in (
        (f"xmlrpcs://localhost:{port}", other.options["ca"]),
        (f"xmlrpcs://localhost.localdomain:{port}", pki.options["ca"]),
    ):
        transport = open_transport(url, Credentials(token="secret", ca=str(ca)))
        with pytest.raises(Unreachable, match=r"not trusted|cannot be resolved"):
            transport.call("Host.ping", {}, OPTIONS)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n" + xmlrpc.client.dumps(("x",), methodresponse=True).encode(),
        b'HTTP/1.1 200 OK\r\n\r\n<!DOCTYPE a [<!ENTITY b "c">]><methodResponse>&b;</methodResponse>',
    ],
)
def test_what_is_no_answer_of_a_host(answer: bytes) -> None:
    """It is an error of reaching the host."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        transport = XmlRpcTransport(f"xmlrpc://127.0.0.1:{server.getsockname()[1]}", Credentials())

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(Unreachable):
            transport.call("Host.ping", {}, OPTIONS)
        thread.join()


def test_a_preview_has_no_secret() -> None:
    """It is a line for a shell."""
    transport = XmlRpcTransport("xmlrpcs://host:54321", Credentials(token="secret"))
    line = transport.preview("VM.pause", {"vmID": "a'b"}, OPTIONS)
    assert "https://host:54321" in line
    assert "secret" not in line
