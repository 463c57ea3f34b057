"""Sites that leave the front: what waits is told so, what is theirs goes with them, others stay."""

from __future__ import annotations

import gc
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from vdsm_bridge.testing.polling import until
from vdsm_http import Front, Guest, Limits, Response, Site
from vdsm_http.parser import RequestParser
from vdsm_http.session import Session

from .conftest import PING, Served, all_of, echo

WAIT = PING.replace(b"/ping", b"/wait")


def test_requests_that_wait_are_told_so(serve: Callable[..., Served]) -> None:
    """A request whose turn does not come before the end of the grace gets a 503, no silence."""
    served = serve(max_threads=1)
    with served.connect() as running, served.connect() as waiting:
        running.sendall(WAIT)
        assert served.entered.acquire(timeout=10)
        waiting.sendall(WAIT)
        until(lambda: served.attachment.waiting == 1)
        served.attachment.close(0.3)
        assert all_of(waiting).startswith(b"HTTP/1.1 503 ")
    served.gate.set()


def test_stops_share_the_time(serve: Callable[..., Served]) -> None:
    """Two sites that stop side by side, each with a request that does not end, take the time of one."""
    served, other = serve(), Served()
    site = Site("other", other.answer, Limits())
    second = served.front.attach(site, [("127.0.0.1", 0)])
    port = int(second.urls[0].rpartition(":")[2])
    with served.connect() as one, socket.create_connection(("127.0.0.1", port), timeout=10) as two:
        one.sendall(WAIT)
        two.sendall(WAIT)
        assert served.entered.acquire(timeout=10)
        assert other.entered.acquire(timeout=10)
        begun = time.monotonic()
        with ThreadPoolExecutor(2) as pool:
            stops = [pool.submit(each.close, 10.0) for each in (served.attachment, second)]
            for stop in stops:
                stop.result(60)
        assert 10.0 <= time.monotonic() - begun < 19.8
    served.gate.set()
    other.gate.set()
    other.attachment.close(1.0)


def test_what_belongs_to_a_site_goes_with_it() -> None:
    """On a shared address, guests and connections of the site that leaves end; those of the other stay."""
    front = Front()

    def site(name: str) -> Site:
        return Site(
            name,
            lambda _: Response(101, [("Upgrade", "echo")], takeover=echo),
            Limits(),
            claims=lambda _, path: path == f"/{name}",
        )

    one = front.attach(
        site("one"), [("127.0.0.1", 0)], guests=[Guest(lambda first: first.startswith(b"ECHO"), echo)]
    )
    place = ("127.0.0.1", int(one.urls[0].rpartition(":")[2]))
    two = front.attach(site("two"), [place])
    upgrade = b"GET /%s HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"
    with socket.create_connection(place, 10) as guest, socket.create_connection(place, 10) as mine:
        guest.sendall(b"ECHO")
        assert guest.recv(4) == b"ECHO"
        mine.sendall(upgrade % b"one")
        assert b" 101 " in mine.recv(65_536)
        with socket.create_connection(place, 10) as other, socket.create_connection(place, 10) as late:
            other.sendall(upgrade % b"two")
            assert b" 101 " in other.recv(65_536)
            one.close(1.0)
            assert all_of(guest) == b""
            assert all_of(mine) == b""
            other.sendall(b"still there")
            assert other.recv(65_536) == b"still there"
            late.sendall(b"ECHO\r\n\r\n")
            assert b" 400 " in late.recv(65_536), "the guest is gone: these bytes are bad HTTP now"
            two.close(1.0)


def test_a_site_returns(serve: Callable[..., Served]) -> None:
    """A site that left can be attached again, and closing twice is harmless."""
    served = serve()
    served.attachment.close(1.0)
    served.attachment.close(1.0)
    served.attachment = served.front.attach(served.site, [("127.0.0.1", 0)], tls=served.tls)
    with served.connect() as sock:
        for _ in range(2):
            sock.sendall(PING)
            assert b" 200 " in sock.recv(65_536)


def left() -> int:
    """How many sessions and parsers there are."""
    time.sleep(0.2)  # each look takes the interpreter from those that are about to end
    return sum(isinstance(each, Session | RequestParser) for each in gc.get_objects())


@pytest.mark.parametrize("sent", [PING, b"", b"no HTTP\r\n\r\n", b"GET /upgrade" + PING[9:], PING + PING[:9]])
def test_connections_leave_no_garbage(serve: Callable[..., Served], sent: bytes) -> None:
    """A connection that is over is gone at once: collecting garbage stops all threads."""
    served = serve()
    gc.collect()
    gc.disable()
    try:
        for _ in range(20):
            with served.connect() as sock:
                sock.sendall(sent)
                sock.shutdown(socket.SHUT_WR)
                all_of(sock)
        # The loop may still hold the last one, of which it heard last.
        until(lambda: left() < 3)
    finally:
        gc.enable()
