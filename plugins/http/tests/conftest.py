"""A site on a front of its own, and clients that speak HTTP byte by byte."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from vdsm_http import Attachment, Channel, Front, Limits, Request, Response, Site

PING = b"GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n"
LARGE = b"x" * 20_000_000


class Served:
    """A site on a front of its own."""

    def __init__(self, **limits: Any) -> None:
        self.front = Front()
        self.entered = threading.Semaphore(0)
        self.gate = threading.Event()
        self.site = Site("test", self.answer, Limits(**limits))
        self.attachment: Attachment = self.front.attach(self.site, [("127.0.0.1", 0)])

    @property
    def port(self) -> int:
        return int(self.attachment.urls[0].rpartition(":")[2])

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

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def get(self, path: str) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
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
def serve() -> Iterator[Callable[..., Served]]:
    """A function that starts a site."""
    started: list[Served] = []

    def start(**limits: Any) -> Served:
        started.append(Served(**limits))
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
