"""Sockets: coming up, going down, bounds, broken requests."""

from __future__ import annotations

import json
import os
import socket
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from vdsm_bridge.testing import TestHost
from vdsm_bridge.testing.polling import until
from vdsm_rest import RestBinding, RestOptions

from .conftest import LAMP, Serve, Served
from .rest_client import RestClient


def raw(port: int, data: bytes, *, end: bool = True) -> bytes:
    """Send bytes, and read until the host closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        sock.sendall(data)
        if end:
            sock.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: sock.recv(65_536), b""))


def test_nothing_is_left(short_path: Path) -> None:
    """After a stop there is no thread, no socket and no file; starting again works."""
    path = short_path / "api.sock"
    before = set(threading.enumerate())
    with TestHost() as host:
        for _ in range(2):
            binding = RestBinding(host.bridge, RestOptions(port=0, socket=str(path)))
            binding.start()
            for url in binding.address:
                with RestClient(url) as client:
                    assert client.get("/api/host/ping").status == 204
            binding.stop(2.0)
            assert binding.address == ()
            assert not path.exists()
            left = {thread.name for thread in set(threading.enumerate()) - before if "rest" in thread.name}
            assert not left


def test_unix_socket(serve: Serve, short_path: Path) -> None:
    """The socket has its mode from the start; the caller is known by its user."""
    path = short_path / "api.sock"
    served = serve(socket=str(path), socket_mode="0600", access={"loopback": "none"})
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert served.addresses[0] == f"unix:{path}"
    with RestClient(served.addresses[0]) as client:
        whispered = client.get("/api/room/whisper")
        assert whispered.status == 200
        assert whispered.json == {0: "root"}.get(os.geteuid(), whispered.json)


def test_stale_socket_is_replaced(serve: Serve, short_path: Path) -> None:
    """What a killed daemon left behind does not hinder the next one."""
    path = short_path / "api.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    served = serve(socket=str(path), address="")
    with RestClient(served.addresses[0]) as client:
        assert client.get("/api").status == 200


@pytest.mark.parametrize("what", ["a live socket", "a file"])
def test_foreign_path_is_left_alone(served: Served, short_path: Path, what: str) -> None:
    """A socket in use, or a file, is not replaced; the failed start leaves nothing."""
    path = short_path / "api.sock"
    with socket.socket(socket.AF_UNIX) as other:
        if what == "a file":
            path.write_text("mine")
        else:
            other.bind(str(path))
            other.listen()
        binding = RestBinding(served.host.bridge, RestOptions(port=0, socket=str(path)))
        with pytest.raises(OSError, match=str(path)):
            binding.start()
        assert path.exists()


def test_port_that_is_taken(served: Served) -> None:
    """The binding is shown as failed, with the reason; the other goes on."""
    second = RestBinding(served.host.bridge, RestOptions(port=served.port))
    with pytest.raises(OSError, match=f"^Cannot listen on 127.0.0.1:{served.port}: Address already in use$"):
        second.start()
    assert second.address == ()
    with RestClient(served.url) as client:
        assert client.get("/api/host/ping").status == 204


def test_calls_end_before_the_stop(serve: Serve) -> None:
    """A call that runs when the daemon stops is answered."""
    served = serve()
    binding = RestBinding(served.host.bridge, RestOptions(port=0))
    binding.start()
    (url,) = binding.address
    with ThreadPoolExecutor(1) as pool, RestClient(url) as client:
        body = {"text": "late", "pause": 0.5}
        call = pool.submit(client.post, f"/api/lamps/{LAMP}/engrave", body)
        until(lambda: served.host.call("Host.getQueues"))
        binding.stop(5.0)
        assert call.result(5).status == 200


def test_waiting_calls_do_not_keep_others_out(serve: Serve) -> None:
    """More calls wait on one object than there are threads at the start; another caller is served at once."""
    served = serve(threads=2, max_threads=20)
    with ThreadPoolExecutor(6) as pool:

        def engrave(number: int) -> int:
            with RestClient(served.url) as client:
                body = {"text": str(number), "pause": 0.5}
                return client.post(f"/api/lamps/{LAMP}/engrave", body).status

        calls = [pool.submit(engrave, number) for number in range(6)]
        until(lambda: len(served.host.call("Host.getQueues")) >= 5)
        with RestClient(served.url) as client:
            assert client.get("/api/lamps").status == 200
        # The last of them still waits.
        assert served.host.call("Host.getQueues")
        assert [call.result(10) for call in calls] == [200] * 6


def test_silent_connections_cost_no_thread(serve: Serve) -> None:
    """Idle connections do not block others, and are closed in the end."""
    served = serve(threads=2, max_threads=2, timeout=1.0)
    silent = [socket.create_connection(("127.0.0.1", served.port), timeout=10) for _ in range(30)]
    with RestClient(served.url) as client:
        assert client.get("/api/host/ping").status == 204
    for sock in silent:
        assert sock.recv(1) == b""
        sock.close()


def test_body_too_large(serve: Serve) -> None:
    """A large body is refused by its announced length, or while it comes, and the refusal can be read."""
    served = serve(max_body=1000)
    big = b'{"message": "' + b"x" * 200_000 + b'"}'
    with RestClient(served.url) as client:
        answer = client.post("/api/verbs/Host.echo", big)
        assert (answer.status, answer.json["slug"]) == (413, "body-too-large")
    chunk = b"186a0\r\n" + b"x" * 100_000 + b"\r\n0\r\n\r\n"
    head = (
        b"POST /api/verbs/Host.echo HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n"
    )
    assert b" 413 " in raw(served.port, head + chunk).split(b"\r\n")[0]
    # A chunk's length that never ends.
    assert b" 413 " in raw(served.port, head + b"0" * 100_000).split(b"\r\n")[0]
    with RestClient(served.url) as client:
        assert client.post("/api/verbs/Host.echo", {"message": "x" * 900}).status == 200


def test_chunked_body(served: Served) -> None:
    """A body in chunks, with a trailer, is a body like any other; the connection goes on."""
    body = json.dumps({"message": "chunks"}).encode()
    chunked = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\nX-Trailer: x\r\n\r\n"
    head = (
        b"POST /api/verbs/Host.echo HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n"
    )
    got = raw(served.port, head + chunked + head + chunked)
    assert got.count(b'"chunks"') == 2


def test_unread_body_ends_the_connection(served: Served) -> None:
    """What follows a refused request in chunks is never taken for a request."""
    smuggled = b"POST /api/lamps/%s/switch HTTP/1.1\r\nHost: localhost\r\n\r\n" % LAMP.encode()
    head = b"GET /api/nothing HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    got = raw(served.port, head + b"%x\r\n%s\r\n0\r\n\r\n" % (len(smuggled), smuggled))
    assert got.count(b"HTTP/1.1") == 1
    assert b" 404 " in got.split(b"\r\n")[0]


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\n\n", 400),
        (b"GET /api HTTP/9.9\r\n\r\n", 505),
        (b"get /api HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET http://evil/api HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET /api HTTP/1.1\r\nHost\r\n\r\n", 400),
        (b"GET /api HTTP/1.1\r\n\r\n", 421),
        (b"POST /api/lamps HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n", 400),
        (b"POST /api/lamps HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n", 400),
        (b"POST /api HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST /api/lamps HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"POST /api/lamps HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"GET /" + b"a" * 300_000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET /api HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 300_000 + b"\r\n\r\n", 431),
        (b"GET /api\x00 HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    ],
)  # fmt: skip
def test_broken_requests(served: Served, request_: bytes, status: int) -> None:
    """A request that is none is refused with a problem document; the server goes on."""
    head, _, body = raw(served.port, request_).partition(b"\r\n\r\n")
    assert head.split(b" ")[1] == str(status).encode()
    assert b"application/problem+json" in head
    assert json.loads(body)["status"] == status
    with RestClient(served.url) as client:
        assert client.get("/api/host/ping").status == 204


def test_caller_that_goes_away(served: Served) -> None:
    """Callers that hang up at any point end nothing but themselves."""
    whole = b"POST /api/verbs/Host.ping HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}"
    for length in range(0, len(whole), 7):
        with socket.create_connection(("127.0.0.1", served.port)) as sock:
            sock.sendall(whole[:length])
    with RestClient(served.url) as client:
        assert client.get("/api/host/ping").status == 204
