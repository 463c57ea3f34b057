"""What goes over an encrypted connection: large and small, both ways at once, and to a proper end."""

from __future__ import annotations

import contextlib
import hashlib
import random
import socket
import ssl
import threading
from collections.abc import Callable

import pytest

from vdsm_bridge.testing.certificates import TestPki
from vdsm_bridge.testing.polling import until
from vdsm_http import Channel, Front, Guest, Limits, Request, Response, Site, Tls
from vdsm_http.loop import READ, WRITE
from vdsm_http.tls.connection import TlsConnection

from .conftest import LARGE, PING, Served, all_of

Serve = Callable[..., Served]
SIZES = [1, 16_383, 16_384, 16_385, 65_536, 65_537, 1_000_000, 3_999_999]


def digest(request: Request) -> Response:
    """Reply with what arrived."""
    return Response(200, [], hashlib.sha256(request.body).hexdigest().encode())


@pytest.mark.parametrize("size", SIZES)
def test_bodies(serve_tls: Serve, size: int) -> None:
    """A body arrives as it was sent, whatever its records are like."""
    served = serve_tls()
    served.site.handler = digest
    body = random.Random(size).randbytes(size)
    with served.connect() as sock:
        for records in (1, 7):
            head = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % size
            step = max(1, size // records)
            for piece in (head, *(body[at : at + step] for at in range(0, size, step))):
                sock.sendall(piece)
            assert sock.recv(65_536).endswith(hashlib.sha256(body).hexdigest().encode())


@pytest.mark.parametrize("size", SIZES)
def test_replies(serve_tls: Serve, size: int) -> None:
    """A reply arrives as it was given, in one piece or in many, at a client that reads slowly."""
    served = serve_tls()
    body = random.Random(size).randbytes(size)
    pieces = [body[at : at + 5_000] for at in range(0, size, 5_000)]
    for given in (body, pieces):
        served.site.handler = lambda _, given=given: Response(200, [], given, close=True)  # type: ignore[misc]
        with served.connect() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32_768)
            sock.sendall(PING)
            assert all_of(sock).partition(b"\r\n\r\n")[2] == body


def test_many_in_one_record(serve_tls: Serve) -> None:
    """Requests that arrive together are all answered, in order."""
    served = serve_tls()
    with served.connect() as sock:
        sock.sendall(
            b"".join(b"GET /%d HTTP/1.1\r\nHost: localhost\r\n\r\n" % number for number in range(200))
        )
        received = b""
        while b"/199" not in received:
            received += sock.recv(65_536)
    at = [received.index(b"\r\n\r\n/%d" % number) for number in range(200)]
    assert at == sorted(at)


def test_the_end_is_announced(serve_tls: Serve) -> None:
    """A reply that ends its connection is followed by `close_notify`, so that a client sees it whole."""
    served = serve_tls()
    for request in (b"GET /ping HTTP/1.0\r\n\r\n", b"nonsense\r\n\r\n"):
        with served.connect() as sock:
            sock.suppress_ragged_eofs = False  # type: ignore[attr-defined]
            sock.sendall(request)
            # An end without the announcement would raise.
            assert b"".join(iter(lambda: sock.recv(65_536), b""))


def test_a_client_that_announces_its_end(serve_tls: Serve) -> None:
    """A client may end its own direction, and still gets the reply to what it sent before."""
    served = serve_tls()
    with served.connect() as sock:
        sock.sendall(b"GET /wait HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert served.entered.acquire(timeout=10)
        ended = threading.Thread(target=lambda: served.gate.set())
        assert isinstance(sock, ssl.SSLSocket)
        sock.setblocking(False)
        with contextlib.suppress(ssl.SSLWantReadError):
            sock.unwrap()
        ended.start()
        ended.join()
        sock.settimeout(10)
        # The reply comes before the server's own announcement.
        assert socket.socket.recv(sock, 1) == b"\x17"


def test_an_expected_body(serve_tls: Serve) -> None:
    """`100 Continue` goes over TLS, too."""
    served = serve_tls()
    served.site.handler = digest
    with served.connect() as sock:
        sock.sendall(
            b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
        )
        assert sock.recv(65_536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(b"ab")
        assert sock.recv(65_536).endswith(hashlib.sha256(b"ab").hexdigest().encode())


def test_both_directions_at_once(serve_tls: Serve) -> None:
    """A stream that was taken over carries megabytes both ways at the same time, between two threads."""
    served = serve_tls()
    data = random.Random(7).randbytes(8_000_000)
    taken: list[Channel] = []
    served.site.handler = lambda _: Response(101, [("Upgrade", "x")], takeover=taken.append)
    with served.connect() as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
        assert b" 101 " in sock.recv(65_536)
        until(lambda: taken)
        channel = taken[0]
        channel.settimeout(30)
        received = [bytearray(), bytearray()]

        def read(source: Callable[[int], bytes], into: bytearray) -> None:
            while len(into) < len(data) and (piece := source(65_536)):
                into += piece

        # The client's socket is used by one thread: only ours may be used by two.
        sock.setblocking(False)
        threads = [
            threading.Thread(target=channel.send, args=(data,)),
            threading.Thread(target=read, args=(channel.receive, received[0])),
        ]
        for thread in threads:
            thread.start()
        sent = 0
        while sent < len(data) or len(received[1]) < len(data):
            with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
                received[1] += sock.recv(65_536)
            with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
                if sent < len(data):
                    sent += sock.send(data[sent : sent + 16_384])
        for thread in threads:
            thread.join(30)
        assert received == [data, data]
        channel.close()


def test_a_channel_keeps_its_bounds(serve_tls: Serve) -> None:
    """`receive` and `send` end in time; a cut wakes whoever waits; who closes announces it."""
    served = serve_tls()
    taken: list[Channel] = []
    served.site.handler = lambda _: Response(101, [("Upgrade", "x")], takeover=taken.append)
    upgrade = b"GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nearly"
    for number in range(2):
        with served.connect() as sock:
            sock.sendall(upgrade)
            assert b" 101 " in sock.recv(65_536)
            until(lambda number=number: len(taken) > number)  # type: ignore[misc]
            channel = taken[number]
            assert channel.receive(2) + channel.receive() == b"early"
            channel.settimeout(0.05)
            with pytest.raises(TimeoutError):
                channel.receive()
            with pytest.raises(TimeoutError):
                channel.send(LARGE)
            channel.settimeout(None)
            assert not channel.peer_left()
            if number:
                threading.Timer(0.05, channel.cut).start()
                assert channel.receive() == b""
            channel.close()


def test_guests_see_what_was_sent(pki: TestPki) -> None:
    """A protocol beside HTTP is recognised by its first bytes after decryption."""
    peers = []

    def take(channel: Channel) -> None:
        peers.append(channel.peer)
        channel.send(channel.receive().swapcase())
        channel.close()

    front, options = Front(), pki.tls_options()
    guest = Guest(lambda first: first.startswith(b"CONNECT") or (None if len(first) < 7 else False), take)
    attachment = front.attach(
        Site("both", lambda _: Response(204), Limits()),
        [("127.0.0.1", 0)],
        guests=[guest],
        tls=Tls("required", lambda: options),
    )
    port = int(attachment.urls[0].rpartition(":")[2])
    context = pki.context(pki.client("engine"))
    try:
        for sent, received in ((b"CONNECT\nhost:x\n\n\0", b"connect\nHOST:X\n\n\0"), (PING, b" 204 ")):
            with context.wrap_socket(
                socket.create_connection(("127.0.0.1", port), timeout=10), server_hostname="localhost"
            ) as sock:
                sock.sendall(sent[:3])
                sock.sendall(sent[3:])
                assert received in sock.recv(65_536)
        assert [peer.certificate and peer.certificate.common_name for peer in peers] == ["engine"]
    finally:
        attachment.close(1.0)


class Stalled:
    """An SSL socket whose peer takes nothing, until it does."""

    def __init__(self) -> None:
        self.open = False
        self.sent = b""
        self.wants: type[Exception] = ssl.SSLWantWriteError

    def send(self, data: bytes) -> int:
        if not self.open:
            raise self.wants
        self.sent += bytes(data)
        return len(data)

    def recv(self, _size: int) -> bytes:
        if not self.open:
            raise self.wants
        return b"x"


def test_bytes_between_replies_keep_their_place() -> None:
    """What could not be sent at once goes out before the next reply, and once."""
    stalled = Stalled()
    connection = TlsConnection(stalled, lambda _: None)  # type: ignore[arg-type]
    connection.interject(b"100 ")
    with pytest.raises(BlockingIOError):
        connection.send(b"200")
    stalled.open = True
    assert connection.send(b"200") == 3
    assert connection.send(b"!") == 1
    assert stalled.sent == b"100 200!"


def test_reading_may_wait_for_writing() -> None:
    """Where TLS has to write before it can read (RFC 8446, section 4.6.3), the loop waits for that."""
    stalled, events = Stalled(), []
    connection = TlsConnection(stalled, events.append)  # type: ignore[arg-type]
    for _ in range(2):
        with pytest.raises(BlockingIOError):
            connection.recv(9)
    assert events == [WRITE]
    stalled.wants = ssl.SSLWantReadError
    with pytest.raises(BlockingIOError):
        connection.recv(9)
    stalled.open = True
    assert connection.recv(9) == b"x"
    assert events == [WRITE, READ]
