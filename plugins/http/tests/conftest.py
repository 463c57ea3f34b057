"""A site on a front of its own, and clients that speak HTTP byte by byte."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from vdsm_bridge.config import TlsOptions
from vdsm_bridge.testing.certificates import ClientFiles, TestPki
from vdsm_http import Attachment, Channel, Front, Limits, Mode, Request, Response, Site, Tls

PING = b"GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n"
LARGE = b"x" * 20_000_000


class Served:
    """A site on a front of its own; with a `pki`, clients speak TLS unless told otherwise."""

    def __init__(
        self,
        *,
        pki: TestPki | None = None,
        mode: Mode = "required",
        tls: dict[str, Any] | None = None,
        addresses: Sequence[tuple[str, int] | str] = (("127.0.0.1", 0),),
        **limits: Any,
    ) -> None:
        self.front = Front()
        self.pki = pki
        self.options = TlsOptions() if pki is None else pki.tls_options(**(tls or {}))
        self.entered = threading.Semaphore(0)
        self.gate = threading.Event()
        self.site = Site("test", self.answer, Limits(**limits))
        self.tls = Tls("off" if pki is None else mode, lambda: self.options)
        self.attachment: Attachment = self.front.attach(self.site, addresses, tls=self.tls)

    @property
    def port(self) -> int:
        return int(self.attachment.urls[-1].rpartition(":")[2])

    def answer(self, request: Request) -> Response:
        if request.path == "/wait":
            self.entered.release()
            self.gate.wait(20)
        if request.path == "/bug":
            raise ValueError("a bug")
        if request.path == "/split":
            return Response(200, [("X", "a\r\nY: b")])
        if request.path == "/exit":
            raise SystemExit(1)
        if request.path == "/drop":
            return Response(200, takeover=drop)
        if request.path == "/upgrade":
            return Response(101, [("Upgrade", "echo")], takeover=echo)
        return Response(200, [], LARGE if request.path == "/large" else request.path.encode())

    def connect(self, client: ClientFiles | None = None) -> socket.socket:
        """A connection; over TLS with the certificate of a client, if there is one."""
        sock = self.dial()
        return sock if self.pki is None else self.secured(sock, self.pki.context(client))

    def dial(self) -> socket.socket:
        """A connection that has not begun with TLS."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def secured(self, sock: socket.socket, context: ssl.SSLContext) -> ssl.SSLSocket:
        """The same connection after the handshake."""
        try:
            return context.wrap_socket(sock, server_hostname="localhost")
        except BaseException:
            sock.close()
            raise

    def get(self, path: str, client: ClientFiles | None = None) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection.sock = self.connect(client)
        try:
            connection.request("GET", path)
            return connection.getresponse().read()
        finally:
            connection.close()


def echo(channel: Channel) -> None:
    """Send back what comes, in a thread of its own."""

    def run() -> None:
        with contextlib.suppress(OSError):
            while data := channel.receive():
                channel.send(data)
        channel.close()

    threading.Thread(target=run, daemon=True).start()


def drop(_channel: Channel) -> None:
    """Fail to take a connection over."""
    raise SystemExit(1)


@pytest.fixture
def pki(tmp_path: Path) -> TestPki:
    """A CA, and the files of a host."""
    return TestPki(tmp_path / "pki")


@pytest.fixture(params=["plain", "tls"])
def serve(request: pytest.FixtureRequest) -> Iterator[Callable[..., Served]]:
    """A function that starts a site; what holds for plain connections, holds over TLS."""
    yield from serving(request.getfixturevalue("pki") if request.param == "tls" else None)


@pytest.fixture
def serve_plain() -> Iterator[Callable[..., Served]]:
    """A function that starts a site without TLS, for what handshakes would take too much of its time from."""
    yield from serving(None)


@pytest.fixture
def serve_tls(pki: TestPki) -> Iterator[Callable[..., Served]]:
    """A function that starts a site over TLS."""
    yield from serving(pki)


def serving(pki: TestPki | None) -> Iterator[Callable[..., Served]]:
    """Start sites, and stop them."""
    started: list[Served] = []

    def start(**options: Any) -> Served:
        started.append(Served(pki=pki, **options))
        return started[-1]

    yield start
    for served in started:
        served.gate.set()
        served.attachment.close(5.0)


def all_of(sock: socket.socket) -> bytes:
    """What comes until the other side closes."""
    with contextlib.suppress(ConnectionResetError):
        return b"".join(iter(lambda: sock.recv(65_536), b""))
    return b""
