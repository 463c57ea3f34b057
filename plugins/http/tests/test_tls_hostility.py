"""Clients that mean harm, or are broken: each costs its own connection, and nobody else's time."""

from __future__ import annotations

import contextlib
import gc
import resource
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests import soak
from vdsm_bridge.config import LimitOptions
from vdsm_bridge.testing.certificates import TestPki
from vdsm_bridge.testing.polling import until

from .conftest import PING, Served, all_of

Serve = Callable[..., Served]


def client_hello(context: ssl.SSLContext) -> bytes:
    """The first record of a client."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def open_files() -> int:
    """How many descriptors this process has."""
    return len(list(Path("/proc/self/fd").iterdir()))


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@pytest.fixture
def served(serve_tls: Serve) -> Iterator[Served]:
    """A site over TLS, which serves to the end, and holds no connection when its clients are gone."""
    served = serve_tls()
    yield served
    assert served.get("/ping") == b"/ping"
    (listener,) = served.front._listeners.values()
    until(lambda: not listener.sessions)


@pytest.fixture(autouse=True)
def descriptors_come_back() -> Iterator[None]:
    """What a test has opened is closed at its end."""
    gc.collect()
    before = open_files()
    yield
    gc.collect()
    assert open_files() <= before


@pytest.mark.soak
def test_damaged_client_hellos(served: Served, pki: TestPki) -> None:
    """Records with changed, missing and additional bytes end in an alert or a closed connection."""
    chance, whole = soak.chance("client hello"), client_hello(pki.context())
    for number in range(soak.count(300)):
        data = bytearray(whole)
        for _ in range(chance.randint(1, 8)):
            match chance.randrange(3):
                case 0:
                    data[chance.randrange(1, len(data))] = chance.randrange(256)
                case 1:
                    del data[chance.randrange(1, len(data)) :]
                    break
                case 2:
                    at = chance.randrange(1, len(data))
                    data[at:at] = chance.randbytes(chance.randint(1, 40))
        with served.dial() as sock:
            sock.sendall(data)
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_WR)
            all_of(sock)
        if number % 50 == 0:
            assert served.get("/ping") == b"/ping"


@pytest.mark.soak
def test_damage_after_the_handshake(served: Served, pki: TestPki) -> None:
    """Bytes that are no record, records that are not authentic, and oversized ones end a connection."""
    chance = soak.chance("records")
    for _ in range(soak.count(30)):
        with served.connect() as sock:
            sock.sendall(PING)
            assert b" 200 " in sock.recv(65_536)
            junk = chance.choice(
                [
                    b"\x17\x03\x03\xff\xff" + chance.randbytes(0xFFFF),
                    b"\x17\x03\x03\x00\x40" + chance.randbytes(64),
                    b"\x16\x03\x03\x00\x04" + chance.randbytes(4),
                    b"\x15\x03\x03\x00\x02\x02\x28",
                    PING,
                ]
            )
            with contextlib.suppress(OSError):
                socket.socket.sendall(sock, junk)
                sock.recv(65_536)


@pytest.mark.parametrize(
    "junk", [b"\x16", b"\x16\x03", b"\x16" * 100_000, b"\x16\x03\x01\xff\xff" + b"x" * 70_000]
)
def test_what_only_begins_like_tls(served: Served, junk: bytes) -> None:
    """Whatever follows the first byte, the connection ends when the client has no more to say."""
    with served.dial() as sock:
        with contextlib.suppress(OSError):
            sock.sendall(junk)
            sock.shutdown(socket.SHUT_WR)
        assert b"HTTP" not in all_of(sock)


def test_a_handshake_has_a_deadline(serve_tls: Serve, pki: TestPki) -> None:
    """A client that sends its hello byte by byte is cut off, though it is never silent for long."""
    served = serve_tls(tls={"handshake_timeout": 0.5})
    hello = client_hello(pki.context())
    with served.dial() as sock:
        began, sent = time.monotonic(), 0
        sock.settimeout(0.02)
        with contextlib.suppress(ConnectionError):
            while time.monotonic() - began < 20:
                sock.sendall(hello[sent : sent + 1])
                sent += 1
                with contextlib.suppress(TimeoutError):
                    if not sock.recv(1):
                        break
        assert sent < len(hello)
        assert 0.4 < time.monotonic() - began < 15


def test_a_slow_handshake_within_its_deadline(served: Served, pki: TestPki) -> None:
    """A hello in many pieces is as good as one."""
    ours, theirs = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = pki.context().wrap_bio(ours, theirs, server_hostname="localhost")
    with served.dial() as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while True:
            try:
                client.do_handshake()
            except ssl.SSLWantReadError:
                for byte in theirs.read():
                    sock.sendall(bytes([byte]))
                ours.write(sock.recv(65_536))
            else:
                break
        client.write(PING)
        for byte in theirs.read():
            sock.sendall(bytes([byte]))
        reply = b""
        while b"/ping" not in reply:
            ours.write(sock.recv(65_536))
            with contextlib.suppress(ssl.SSLWantReadError):
                reply += client.read(65_536)
        assert b" 200 " in reply


def test_half_open_handshakes_cost_nobody(serve_tls: Serve, pki: TestPki) -> None:
    """A thousand handshakes that do not go on leave other clients, old and new ones, with their replies."""
    served = serve_tls(max_connections=2_000)
    # All clients of this test are one party.
    unlimited = LimitOptions(connections=0, connections_per_second=0, handshakes_per_second=0)
    served.front._capacity.options = lambda: unlimited
    hello = client_hello(pki.context())
    with ExitStack() as stack:
        good = stack.enter_context(served.connect())
        for number in range(1_000):
            sock = stack.enter_context(served.dial())
            # Half of them got the server's part and do not answer; the others never finish their own.
            sock.sendall(hello if number % 2 else hello[:-1])
            if number % 100 == 0:
                good.sendall(PING)
                assert b" 200 " in good.recv(65_536)
                assert served.get("/ping") == b"/ping"
        (listener,) = served.front._listeners.values()
        until(lambda: len(listener.sessions) > 1_000)
        good.sendall(PING)
        assert b" 200 " in good.recv(65_536)


def test_half_open_handshakes_make_room(
    serve_tls: Serve, pki: TestPki, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They count for their address like idle connections: where places are short, they yield to others."""
    served = serve_tls(max_connections=20)
    parties = iter(["many"] * 20)
    monkeypatch.setattr("vdsm_http.tls.handshake.party", lambda _: next(parties, "few"))
    hello = client_hello(pki.context())
    with ExitStack() as stack:
        held = [stack.enter_context(served.dial()) for _ in range(20)]
        for sock in held:
            sock.sendall(hello)
            assert sock.recv(1) == b"\x16"
        for number in range(5):
            sock = stack.enter_context(served.connect())
            sock.sendall(PING)
            assert b" 200 " in sock.recv(65_536)
            # What came before the end: the rest of the server's part of the handshake.
            all_of(held[number])


def test_memory_comes_back(served: Served, pki: TestPki) -> None:
    """Thousands of handshakes, whole and broken, do not add up in memory."""
    context, hello = pki.context(), client_hello(pki.context())

    def some(count: int) -> None:
        for number in range(count):
            if number % 3 == 0:
                with served.dial() as sock:
                    sock.sendall(hello[: number % len(hello) or 1])
            else:
                with served.secured(served.dial(), context) as sock:
                    sock.sendall(PING)
                    sock.recv(65_536)

    some(300)
    gc.collect()
    before = resident()
    some(1_500)
    gc.collect()
    assert resident() - before < 8 * 1024 * 1024


def test_renegotiation_is_refused(served: Served, pki: TestPki) -> None:
    """A client of TLS 1.2 that begins a second handshake gets none, and its connection ends or goes on."""
    context = pki.context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with served.secured(served.dial(), context) as sock:
        sock.sendall(PING)
        assert b" 200 " in sock.recv(65_536)
        # A record of the handshake within the session; a client would send its hello so.
        socket.socket.sendall(sock, client_hello(context))
        with contextlib.suppress(OSError):
            assert sock.recv(65_536) == b""


@pytest.mark.parametrize("at", ["connected", "hello", "handshake", "request", "reply"])
def test_clients_that_leave(served: Served, pki: TestPki, at: str) -> None:
    """A client may go at any point, with a reset too."""
    hello = client_hello(pki.context())
    for number in range(20):
        sock = served.dial() if at in {"connected", "hello"} else served.connect()
        with sock:
            if at == "hello":
                sock.sendall(hello)
            if at == "request":
                sock.sendall(PING[:9])
            if at == "reply":
                sock.sendall(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n")
                sock.recv(1)
            if number % 2:
                # Closing resets the connection at once (SO_LINGER with 0 seconds).
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
