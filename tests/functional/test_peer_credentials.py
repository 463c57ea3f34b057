"""Credentials go to a host that has proved its name, over each transport; to any other nothing is sent."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from pathlib import Path

import pytest

from vdsm_bridge.testing.certificates import TestPki
from vdsm_bridge.transport import CallOptions, TransportError
from vdsm_core.config import TlsOptions
from vdsm_virt.jobs.migration.peers import Peers, Proof

TOKEN = "vdsm_secret-of-this-host"
REPLY = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 4\r\nConnection: close\r\n\r\nnull"
)


class Host:
    """A host at a port of loopback that takes one connection.

    :ivar received: what it was sent
    """

    def __init__(self, context: ssl.SSLContext | None) -> None:
        self.received = b""
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError), self._listener.accept()[0] as connection:
            connection.settimeout(20)
            if self._context is not None:
                connection = self._context.wrap_socket(connection, server_side=True)  # noqa: PLW2901
            plain = self._context is None
            while (
                not (plain and self.received)
                and b"\r\n\r\n" not in self.received
                and (piece := connection.recv(65_536))
            ):
                self.received += piece
            connection.sendall(REPLY)
            connection.close()

    def close(self) -> None:
        """End it."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(20)


def server(pki: TestPki, **how: object) -> ssl.SSLContext:
    """Return the context of a host with a certificate of its own."""
    files = pki.write("server", pki.issue("server", purpose="host", **how))  # type: ignore[arg-type]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    return context


@pytest.fixture
def own(tmp_path: Path) -> TestPki:
    """The certificates of this host, and the authority that signs the others."""
    return TestPki(tmp_path / "own")


def call(own: TestPki, context: ssl.SSLContext | None, scheme: str, folder: Path) -> tuple[bytes, str]:
    """Call a host with a token of this one; return what it has received, and the error."""
    token = folder / "token"
    token.write_text(TOKEN)
    host, error = Host(context), ""
    try:
        urls = {"localhost": f"{scheme}://{{host}}:{host.port}"}
        peers = Peers(urls, Proof(token=str(token), timeout=20), TlsOptions(ca=str(own.ca)))
        transport = peers.reach("localhost")
        try:
            transport.call("Host.ping", {}, CallOptions(timeout=20))
        except TransportError as failure:
            error = str(failure)
        finally:
            transport.close()
    finally:
        host.close()
    return host.received, error


@pytest.mark.parametrize("scheme", ["https", "xmlrpcs"])
@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("another authority", "certificate"),
        ("another name", "localhost"),
        ("expired", "expired"),
        ("without TLS", ""),
    ],
)
def test_nothing_is_sent_to_a_host_that_is_not_verified(
    own: TestPki, tmp_path: Path, scheme: str, how: str, reason: str
) -> None:
    """Neither the token nor the name of a verb."""
    contexts = {
        "another authority": lambda: server(TestPki(tmp_path / "other"), names=["localhost"]),
        "another name": lambda: server(own, names=["elsewhere.example.org"]),
        "expired": lambda: server(own, names=["localhost"], days=-1),
        "without TLS": lambda: None,
    }
    received, error = call(own, contexts[how](), scheme, tmp_path)
    assert TOKEN.encode() not in received
    assert b"ping" not in received
    assert error
    assert reason in error


@pytest.mark.parametrize("scheme", ["https", "xmlrpcs"])
def test_a_host_that_is_verified_gets_the_token(own: TestPki, tmp_path: Path, scheme: str) -> None:
    """The same call, with a certificate of the authority for its name."""
    received, _ = call(own, server(own, names=["localhost"]), scheme, tmp_path)
    assert TOKEN.encode() in received


@pytest.mark.parametrize("url", ["http://{host}:8088", "xmlrpc://{host}:54321", "amqp://{host}", "unix:///x"])
def test_a_scheme_without_verification_is_refused(url: str) -> None:
    """Also where the configuration did not refuse it."""
    with pytest.raises(TransportError, match="not verified"):
        Peers({"*": url}, Proof(), TlsOptions()).reach("there")


def test_a_host_that_is_not_configured_is_not_called() -> None:
    """No pattern names it."""
    with pytest.raises(TransportError, match=r"plugin\.virt\.peers"):
        Peers({"*.example.org": "https://{host}"}, Proof(), TlsOptions()).reach("elsewhere.example.com")
