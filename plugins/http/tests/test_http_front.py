"""The front over real sockets: serving, sharing, limits, misbehaving clients, and the end."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from vdsm_bridge.testing.polling import until
from vdsm_http import Front, Guest, Limits, Request, Response, Site

from .conftest import LARGE, PING, Served, all_of, echo


def test_blocked_handlers_hold_up_nobody(serve: Callable[..., Served]) -> None:
    """While handlers block, among them the one of the leading thread, others are served at once."""
    served = serve()
    with ThreadPoolExecutor(20) as pool:
        calls = [pool.submit(served.get, "/wait") for _ in range(20)]
        for _ in calls:
            assert served.entered.acquire(timeout=10)
        assert served.get("/ping") == b"/ping"
        assert not any(call.done() for call in calls)
        served.gate.set()
        assert {call.result(10) for call in calls} == {b"/wait"}


def test_requests_beyond_the_limit_wait(serve: Callable[..., Served]) -> None:
    """As many run at once as the site allows, the others wait; beyond the backlog they are turned away."""
    served = serve(max_threads=2, backlog=1)
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(served.get, "/wait") for _ in range(3)]
        for _ in range(2):
            assert served.entered.acquire(timeout=10)
        until(lambda: served.attachment.waiting == 1)
        with served.connect() as sock:
            sock.sendall(PING)
            assert b" 503 " in sock.recv(65_536)
        served.gate.set()
        assert [call.result(10) for call in calls] == [b"/wait"] * 3


def test_a_bug_of_a_handler_is_one_reply(serve: Callable[..., Served]) -> None:
    """A handler that raises costs one request; its client gets an incident, no traceback."""
    served = serve()
    reply = served.get("/bug")
    assert b"incident" in reply
    assert b"Traceback" not in reply
    assert b"incident" in served.get("/split"), "a header with a line break is a bug, too"
    assert served.get("/ping") == b"/ping"


def test_slow_senders_are_given_up(serve_plain: Callable[..., Served]) -> None:
    """A client that sends a byte now and then has the time of one request, not of each byte; nobody waits."""
    served = serve_plain(timeout=0.5)
    slow = [served.connect() for _ in range(120)]
    begun = time.monotonic()
    for sock in slow:
        sock.sendall(PING[:5])
    for byte in PING[5:12]:
        for sock in slow:
            with contextlib.suppress(OSError):
                sock.sendall(bytes([byte]))
        assert served.get("/ping") == b"/ping"
        time.sleep(0.1)
    for sock in slow:
        assert b" 408 " in all_of(sock)
        sock.close()
    assert time.monotonic() - begun < 10


def test_the_limit_of_connections_holds(serve: Callable[..., Served]) -> None:
    """Idle connections do not pass the limit: one more of their caller is closed, the others are served."""
    served = serve(max_connections=20)
    idle = [served.connect() for _ in range(20)]
    for sock in idle:
        sock.sendall(PING)
        assert b" 200 " in sock.recv(65_536)
    with served.dial() as sock:
        assert all_of(sock) == b""
    idle[0].sendall(PING)
    assert b" 200 " in idle[0].recv(65_536)
    for sock in idle:
        sock.close()


def test_slow_readers_cost_nobody(serve: Callable[..., Served]) -> None:
    """A client that does not read its reply holds no thread, and is cut after a while."""
    served = serve(timeout=0.5)
    readers = [served.connect() for _ in range(3)]
    for sock in readers:
        sock.sendall(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert served.get("/ping") == b"/ping"
    assert served.get("/large") == LARGE
    for sock in readers:
        sock.close()


def test_pipelined_requests_take_turns(serve: Callable[..., Served]) -> None:
    """Hundreds of requests in one piece are all answered in order, and others are served meanwhile."""
    served = serve()
    with served.connect() as sock:
        sock.sendall(PING * 500 + PING.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        assert served.get("/ping") == b"/ping"
        assert all_of(sock).count(b" 200 OK") == 501


def test_upgrade(serve: Callable[..., Served]) -> None:
    """A connection that leaves HTTP keeps what was sent behind its request; the stop cuts it."""
    served = serve()
    with served.connect() as sock:
        sock.sendall(b"GET /upgrade HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nfirst")
        received = b""
        while not received.endswith(b"first"):
            received += sock.recv(65_536)
        assert b" 101 " in received.partition(b"\r\n")[0]
        sock.sendall(b"second")
        assert sock.recv(65_536) == b"second"
        served.attachment.close(1.0)
        assert all_of(sock) == b""


def test_two_sites_and_a_guest_on_one_port() -> None:
    """Sites of one address are told apart by path, other protocols by their first bytes."""
    front = Front()

    def site(name: str, path: str) -> Site:
        return Site(
            name,
            lambda _request: Response(200, [], name.encode()),
            Limits(),
            claims=lambda _method, asked: asked.startswith(path),
        )

    guest = Guest(lambda first: None if len(first) < 4 else first.startswith(b"ECHO"), echo)
    one = front.attach(site("one", "/one"), [("127.0.0.1", 0)], guests=[guest])
    port = int(one.urls[0].rpartition(":")[2])
    two = front.attach(site("two", "/two"), [("127.0.0.1", port)])
    for path in ("/one", "/two"):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", path)
        assert connection.getresponse().read() == path[1:].encode()
        connection.close()
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        sock.sendall(b"EC")
        sock.sendall(b"HO")
        assert sock.recv(10) == b"ECHO"
    with pytest.raises(OSError, match=f"^Cannot listen on 127.0.0.1:{port}: Address already in use$"):
        front.attach(site("two", "/"), [("127.0.0.1", port)])
    one.close(1.0)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/two")
    assert connection.getresponse().read() == b"two"
    connection.close()
    two.close(1.0)


def test_unix_socket(tmp_path: Path) -> None:
    """The peer of a unix socket is known by its user; the path goes with the site."""
    front, seen = Front(), []

    def answer(request: Request) -> Response:
        seen.append(request.peer)
        return Response(204)

    path = tmp_path / "s"
    attachment = front.attach(Site("unix", answer, Limits()), [str(path)], mode=0o600)
    assert path.stat().st_mode & 0o777 == 0o600
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(path))
        sock.sendall(PING)
        assert b" 204 " in sock.recv(65_536)
    attachment.close(1.0)
    assert not path.exists()
    assert (seen[0].address, seen[0].uid) == ("", path.parent.stat().st_uid)


def test_the_owner_of_a_loopback_peer(serve: Callable[..., Served]) -> None:
    """A peer on loopback is known by the user that owns its socket."""
    seen: list[Any] = []
    front = Front()
    site = Site("owner", lambda request: (seen.append(request.peer), Response(204))[1], Limits())
    attachment = front.attach(site, [("127.0.0.1", 0)])
    with socket.create_connection(("127.0.0.1", int(attachment.urls[0].rpartition(":")[2]))) as sock:
        sock.sendall(PING)
        assert b" 204 " in sock.recv(65_536)
    attachment.close(1.0)
    assert seen[0].owner == Path("/proc/self").stat().st_uid


def test_a_stop_lets_requests_end(serve: Callable[..., Served]) -> None:
    """A request in flight is answered while the site stops; new connections are refused meanwhile."""
    served = serve()
    port = served.port
    with ThreadPoolExecutor(2) as pool:
        call = pool.submit(served.get, "/wait")
        assert served.entered.acquire(timeout=10)
        stop = pool.submit(served.attachment.close, 10.0)

        def refused() -> bool:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=5).close()
            except OSError:
                return True
            return False

        until(refused)
        served.gate.set()
        assert call.result(10) == b"/wait"
        stop.result(10)


def test_nothing_is_left(serve: Callable[..., Served]) -> None:
    """After the last site has gone there is no thread of the front."""
    served = serve()
    assert served.get("/ping") == b"/ping"
    served.attachment.close(1.0)
    until(lambda: not [thread for thread in threading.enumerate() if thread.name.startswith("http-")])
