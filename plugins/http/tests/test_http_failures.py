"""Sites that fail in every place where the front calls them cost one connection, and no thread."""

from __future__ import annotations

import socket
from collections.abc import Callable
from http import HTTPStatus

import pytest

from vdsm_http import Front, Guest, Limits, Response, Site

from .conftest import PING, Served, all_of, drop

GET = b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n"


def refuse_badly(_status: HTTPStatus, _reason: str) -> Response:
    """Fail to refuse."""
    raise ValueError("a bug")


@pytest.mark.parametrize("path", ["/bug", "/exit", "/split"])
def test_a_handler_that_fails(serve: Callable[..., Served], path: str) -> None:
    """Whatever a handler raises, an exit included, its client gets an incident and the next one a reply."""
    served = serve()
    for _ in range(5):
        assert b"incident" in served.get(path)
    assert served.get("/ping") == b"/ping"


def test_a_blocked_handler_that_fails(serve: Callable[..., Served]) -> None:
    """The same in a worker: handlers that block have been moved there."""
    served = serve(max_threads=1)
    served.gate.set()
    with served.connect() as waiting, served.connect() as failing:
        served.gate.clear()
        waiting.sendall(GET % b"/wait")
        assert served.entered.acquire(timeout=10)
        failing.sendall(GET % b"/exit")
        served.gate.set()
        assert b" 200 " in waiting.recv(65_536)
        assert b" 500 " in failing.recv(65_536)
    assert served.get("/ping") == b"/ping"


def test_a_takeover_that_fails(serve: Callable[..., Served]) -> None:
    """A connection that nobody takes is closed; the next one is served."""
    served = serve()
    with served.connect() as sock:
        sock.sendall(GET % b"/drop")
        assert all_of(sock).startswith(b"HTTP/1.1 200 ")
    assert served.get("/ping") == b"/ping"


@pytest.mark.parametrize("first", [b"ECHO", b"GET /bug HTTP/1.1\r\nHost: h\r\n\r\n", b"GET /\n\n"])
def test_a_refusal_or_a_guest_that_fails(first: bytes) -> None:
    """A site that cannot even refuse loses the connection, and so does a guest that cannot take it."""

    def answer(_request: object) -> Response:
        raise ValueError("a bug")

    front = Front()
    site = Site("bad", answer, Limits(), refuse=refuse_badly, claims=lambda _, path: path != "/ping")
    good = Site("good", lambda _: Response(204), Limits())
    guest = Guest(lambda begin: begin.startswith(b"ECHO"), drop)
    bad = front.attach(site, [("127.0.0.1", 0)], guests=[guest])
    port = int(bad.urls[0].rpartition(":")[2])
    both = front.attach(good, [("127.0.0.1", port)])
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
            sock.sendall(first)
            assert all_of(sock) == b""
        with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
            sock.sendall(PING)
            assert b" 204 " in sock.recv(65_536)
    finally:
        bad.close(1.0)
        both.close(1.0)
