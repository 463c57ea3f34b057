"""Several requests on one connection: replies, permissions and upgrades come in the order of the requests."""

from __future__ import annotations

import time
from collections.abc import Callable

from .conftest import PING, Served, all_of

EXPECT = b"POST /post HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
UPGRADE = b"GET %s HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"
LAST = b"GET /last HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"


def test_permission_comes_behind_earlier_replies(serve: Callable[..., Served]) -> None:
    """A client that sent a request before the one that waits for permission reads that reply first."""
    served = serve()
    with served.connect() as sock:
        sock.sendall(PING + EXPECT)
        received = b""
        while b" 100 " not in received:
            received += sock.recv(65_536)
        assert received.index(b" 200 ") < received.index(b" 100 ")
        sock.sendall(b"abc" + LAST)
        assert all_of(sock).endswith(b"/last")


def test_permission_after_a_blocked_request(serve: Callable[..., Served]) -> None:
    """Permission is given, too, when the request before ran in a thread of its own."""
    served = serve()
    with served.connect() as sock:
        sock.sendall(PING.replace(b"/ping", b"/wait") + EXPECT)
        assert served.entered.acquire(timeout=10)
        time.sleep(0.02)  # long enough for the handler to be known as blocked
        served.gate.set()
        received = b""
        while b" 100 " not in received:
            received += sock.recv(65_536)
        assert received.startswith(b"HTTP/1.1 200 ")


def test_no_permission_for_a_body_that_is_there(serve: Callable[..., Served]) -> None:
    """A body that came along needs no permission."""
    served = serve()
    with served.connect() as sock:
        sock.sendall(EXPECT + b"abc" + LAST)
        received = all_of(sock)
    assert b" 100 " not in received
    assert received.count(b" 200 ") == 2


def test_upgrade_behind_other_requests(serve: Callable[..., Served]) -> None:
    """A request for another protocol is served after those that were sent with it."""
    served = serve()
    with served.connect() as sock:
        sock.sendall(PING * 3 + UPGRADE % b"/upgrade" + b"first")
        received = b""
        while not received.endswith(b"first"):
            piece = sock.recv(65_536)
            assert piece
            received += piece
    assert received.count(b" 200 ") == 3
    assert received.index(b" 101 ") > received.rindex(b" 200 ")


def test_an_upgrade_that_is_not_taken(serve: Callable[..., Served]) -> None:
    """Where the site answers in HTTP, HTTP goes on, as clients that offer HTTP/2 at first expect."""
    served = serve()
    with served.connect() as sock:
        sock.sendall(UPGRADE % b"/ping" * 2_000 + LAST)
        received = all_of(sock)
    assert received.count(b" 200 ") == 2_001
    assert received.endswith(b"/last")


def test_empty_lines(serve: Callable[..., Served]) -> None:
    """Empty lines before a request are passed over, and give an idle connection no more time."""
    served = serve(timeout=0.6)
    with served.connect() as sock:
        sock.sendall(b"\r\n" + PING)
        assert b" 200 " in sock.recv(65_536)
        for _ in range(100):
            try:
                sock.sendall(b"\r\n")
            except OSError:
                break
            time.sleep(0.05)
        else:
            raise AssertionError("the connection was kept by empty lines")
