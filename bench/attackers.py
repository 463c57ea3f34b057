"""The attacks: each holds, sends, or drops what a good client would not."""

from __future__ import annotations

import itertools
import os
import selectors
import socket
import ssl
import time
import xmlrpc.client
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final, NamedTuple

from bench.load import TRUSTING, http_get, http_post

#: The address from which attackers connect: limits by address are theirs alone.
_ATTACKER: Final = "127.0.0.2"
_XML: Final = "text/xml"
PING: Final = http_post("/RPC2", xmlrpc.client.dumps((), "Host.ping").encode(), _XML)
REST_PING: Final = http_get("/api/host/ping")


class Ports(NamedTuple):
    """The address that the daemon listens on."""

    xmlrpc: int
    rest: int


#: A generator that attacks a little with each step; the first step makes it ready.
Attack = Callable[[Ports], Iterator[None]]


def _connect(port: int, timeout: float = 1.0) -> socket.socket | None:
    try:
        return socket.create_connection(("127.0.0.1", port), timeout, (_ATTACKER, 0))
    except OSError:
        return None


def _secure(port: int) -> socket.socket | None:
    """Connect over TLS."""
    sock = _connect(port)
    if sock is None:
        return None
    try:
        return TRUSTING.wrap_socket(sock)
    except OSError:
        sock.close()
        return None


def idle_1050(ports: Ports) -> Iterator[None]:
    """Hold as many idle connections as the usual limit of open files allows, and renew those that end."""
    yield from _hold(ports, 1_050)


def idle_3000(ports: Ports) -> Iterator[None]:
    """Hold three times as many as one listener takes."""
    yield from _hold(ports, 3_000)


def _hold(ports: Ports, count: int, first: bytes = b"") -> Iterator[None]:
    held: dict[int, socket.socket] = {}
    watch = selectors.DefaultSelector()
    turn = itertools.cycle(ports)
    while True:
        for _ in range(min(100, count - len(held))):
            sock = _connect(next(turn))
            if sock is None:
                yield  # the host takes no further one for now
                break
            with suppress(OSError):
                sock.sendall(first)
            held[sock.fileno()] = sock
            watch.register(sock, selectors.EVENT_READ)
        if len(held) >= count * 0.9 or not held:
            yield
        gone = [key for key, _ in watch.select(0.05) if not _still_there(held[key.fd])]
        for key in gone:
            watch.unregister(key.fileobj)
            held.pop(key.fd).close()
        if gone:
            yield
        time.sleep(0.01)


def _still_there(sock: socket.socket) -> bool:
    """Read what is to be read. Return whether it was something else than the end."""
    try:
        return bool(sock.recv(65_536))
    except OSError:
        return False


def half_open(ports: Ports) -> Iterator[None]:
    """Hold 1,000 TLS handshakes that do not go on, and renew those that end."""
    yield from _hold(Ports(ports.xmlrpc, ports.xmlrpc), 1_000, _hello())


def _hello() -> bytes:
    """The first message of a client."""
    hello = ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        TRUSTING.wrap_bio(ssl.MemoryBIO(), hello).do_handshake()
    return hello.read()


def churn(ports: Ports) -> Iterator[None]:
    """Begin 100 TLS handshakes at once, leave them when they are answered, and begin anew."""
    hello = _hello()
    while True:
        socks = [sock for _ in range(100) if (sock := _connect(ports.xmlrpc, 0.05))]
        for sock in socks:
            with suppress(OSError):
                sock.sendall(hello)
        for sock in socks:
            with suppress(OSError):
                sock.recv(1)
            sock.close()
        yield


def handshakes(ports: Ports) -> Iterator[None]:
    """Shake hands and leave, as quickly as one process can."""
    while True:
        if sock := _connect(ports.xmlrpc):
            with suppress(OSError):
                sock = TRUSTING.wrap_socket(sock)
            sock.close()
        yield


def drip(ports: Ports) -> Iterator[None]:
    """Send one byte every two seconds on 110 connections, and begin anew on those that end."""
    places = [port for port in ports for _ in range(55)]
    socks: list[socket.socket | None] = [None] * len(places)
    while True:
        for number, port in enumerate(places):
            sock = socks[number]
            try:
                if sock is None:
                    raise ConnectionError
                sock.sendall(b"G")
            except OSError:
                socks[number] = _connect(port)
        yield
        for _ in range(20):
            time.sleep(0.1)
            yield


def unread(ports: Ports) -> Iterator[None]:
    """Ask for large replies, many at once, and read none."""
    request = http_get("/api/openapi.json") * 20
    socks: list[socket.socket] = []
    while True:
        if len(socks) >= 50:
            socks.pop(0).close()
        if sock := _connect(ports.rest):
            with suppress(OSError):
                sock.sendall(request)
            socks.append(sock)
        yield
        time.sleep(0.05)


def attributes(ports: Ports) -> Iterator[None]:
    """Send an element with 300,000 attributes, again and again."""
    body = b"<?xml version='1.0'?><methodCall " + b" ".join(b'a%d="1"' % n for n in range(300_000)) + b">"
    yield from _repeat(ports.xmlrpc, http_post("/RPC2", body, _XML))


def multicall(ports: Ports) -> Iterator[None]:
    """Ask 100 times for the largest reply in one multicall, again and again."""
    calls = [{"methodName": "Host.getVerbs", "params": []}] * 100
    body = xmlrpc.client.dumps((calls,), "system.multicall").encode()
    yield from _repeat(ports.xmlrpc, http_post("/RPC2", body, _XML))


def _repeat(port: int, request: bytes, *, tls: bool = False) -> Iterator[None]:
    while True:
        if sock := (_secure if tls else _connect)(port):
            with suppress(OSError):
                sock.sendall(request)
                while sock.recv(1 << 20):
                    pass
            sock.close()
        yield


def reconnect(ports: Ports) -> Iterator[None]:
    """Connect, ask for what is no HTTP, and leave, as quickly as one process can."""
    for port in itertools.cycle(ports):
        if sock := _connect(port):
            with suppress(OSError):
                sock.sendall(b"\x16\x03\x01\r\n\r\n")
            sock.close()
        yield


def rate(ports: Ports) -> Iterator[None]:
    """Send good requests on kept connections, as quickly as one process can, and read the replies."""
    kept = [_connect(port) for port in (*ports, *ports)]
    requests = [PING, REST_PING, PING, REST_PING]
    while True:
        for number, sock in enumerate(kept):
            try:
                if sock is None:
                    raise ConnectionError
                sock.settimeout(5)
                sock.sendall(requests[number] * 16)
                sock.recv(65_536)
            except OSError:
                kept[number] = _connect(ports[number % 2])
        yield


def garbage(ports: Ports) -> Iterator[None]:
    """Pipeline good requests and bytes that are no HTTP on one connection, again and again."""
    request = REST_PING * 20 + b"\x00\xff\r\n" * 1_000
    yield from _repeat(ports.rest, request)


def tls_garbage(ports: Ports) -> Iterator[None]:
    """Begin with a handshake, send bytes that are no TLS, and begin anew."""
    yield from _repeat(ports.xmlrpc, _hello() + os.urandom(10_000))


def bodies(ports: Ports) -> Iterator[None]:
    """Send bodies of 4 MB of text over XML-RPC, again and again."""
    body = xmlrpc.client.dumps(("x" * 4_000_000,), "Host.echo").encode()
    yield from _repeat(ports.xmlrpc, http_post("/RPC2", body, _XML))


def tls_bodies(ports: Ports) -> Iterator[None]:
    """Send bodies of 4 MB of text over XML-RPC and TLS, again and again."""
    body = xmlrpc.client.dumps(("x" * 4_000_000,), "Host.echo").encode()
    yield from _repeat(ports.xmlrpc, http_post("/RPC2", body, _XML), tls=True)


def deep(ports: Ports) -> Iterator[None]:
    """Send JSON that is nested 100,000 times, again and again."""
    body = b"[" * 100_000 + b"]" * 100_000
    yield from _repeat(ports.rest, http_post("/api/verbs/Host.ping", body, "application/json"))


def arrays(ports: Ports) -> Iterator[None]:
    """Send arrays of 500,000 numbers, again and again."""
    body = b'{"vmIDs": [' + b",".join([b"1"] * 500_000) + b"]}"
    yield from _repeat(ports.rest, http_post("/api/verbs/VM.list", body, "application/json"))


def subscriptions(ports: Ports) -> Iterator[None]:
    """Subscribe to all events as often as possible, and poll none."""
    request = http_post("/RPC2", xmlrpc.client.dumps((), "Events.subscribe").encode(), _XML)
    sock = _connect(ports.xmlrpc)
    while True:
        try:
            if sock is None:
                raise ConnectionError
            sock.sendall(request)
            sock.recv(65_536)
        except OSError:
            sock = _connect(ports.xmlrpc)
        yield


def streams(ports: Ports) -> Iterator[None]:
    """Open every event stream that is to be had."""
    yield from _streams(ports, _connect)


def tls_streams(ports: Ports) -> Iterator[None]:
    """Open every event stream that is to be had over TLS."""
    yield from _streams(ports, _secure)


def _streams(ports: Ports, connect: Callable[[int], socket.socket | None]) -> Iterator[None]:
    request = b"GET /api/events HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n"
    held: list[socket.socket] = []
    while True:
        if len(held) < 200 and (sock := connect(ports.rest)):
            with suppress(OSError):
                sock.sendall(request)
            held.append(sock)
        else:
            time.sleep(0.05)
        if len(held) >= 100:
            yield


ATTACKS: Final[dict[str, Attack]] = {
    "1,050 idle connections": idle_1050,
    "3,000 idle connections": idle_3000,
    "1,000 TLS handshakes that stand still": half_open,
    "100 TLS handshakes at once, again and again": churn,
    "TLS handshakes without a pause": handshakes,
    "110 connections, a byte every 2 s": drip,
    "large replies that are not read": unread,
    "every event stream": streams,
    "every event stream over TLS": tls_streams,
    "requests without a pause": rate,
    "pipelined garbage": garbage,
    "garbage within TLS handshakes": tls_garbage,
    "4 MB bodies": bodies,
    "4 MB bodies over TLS": tls_bodies,
    "JSON nested 100,000 times": deep,
    "arrays of 500,000 numbers": arrays,
    "every subscription": subscriptions,
    "connect and leave": reconnect,
    "300,000 attributes on one element": attributes,
    "100 large replies in a multicall": multicall,
}
