"""What clients that behave badly cost one that behaves: its times of reply, beside those without them.

The daemon, the client and the attackers are processes of their own. The daemon has the usual limit of 1,024
open files. As root, the attackers are user nobody, so that they are another party than the client; else they
share the client's part of the connections, which the note of each row says. On a machine of few cores, an
attack that keeps the daemon or its own processes computing takes processor time from everybody: that is in
the figures.
"""

from __future__ import annotations

import codecs
import itertools
import multiprocessing
import os
import resource
import selectors
import socket
import time
import xmlrpc.client
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from typing import Any, Final, NamedTuple

from bench.load import http_get, http_post
from bench.measure import Row

SECONDS: Final = float(os.environ.get("VDSM_BENCH_ATTACK_SECONDS", "8"))
_NOBODY: Final = 65_534
_USUAL_FILES: Final = 1_024
#: Seconds between two calls of the client.
_PACE: Final = 0.01
_XML: Final = "text/xml"
PING: Final = http_post("/RPC2", xmlrpc.client.dumps((), "Host.ping").encode(), _XML)
REST_PING: Final = http_get("/api/host/ping")


class Ports(NamedTuple):
    """Where the daemon listens."""

    xmlrpc: int
    rest: int


class Times(NamedTuple):
    """What the client met: seconds of each call, and how many had no good reply."""

    seconds: list[float]
    errors: int

    def share(self, part: float) -> float:
        """Return the time in seconds within which this part of the calls was answered."""
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(len(ordered) * part))] if ordered else float("nan")


def run(seconds: float = SECONDS) -> list[Row]:
    """Each attack, one after the other, between two looks at the times without any."""
    rows = []
    with _process(_daemon) as daemon:
        ports = Ports(*daemon.recv())
        _measure(ports, 1.0)
        for name, attack in ATTACKS.items():
            calm = _measure(ports, seconds / 2)
            with _process(_attacker, attack, ports) as attacker:
                attacker.recv()
                times = _measure(ports, seconds)
            rows += _rows(name, times, calm)
            time.sleep(1.0)
    return rows


def _rows(name: str, times: Times, calm: Times) -> list[Row]:
    party = "" if os.geteuid() == 0 else ", attackers of the same user"
    note = (
        f"{len(times.seconds)} calls, {times.errors} failed, longest {max(times.seconds) * 1e3:.0f} ms{party}"
    )
    return [
        Row(
            bench="good client under attack",
            case=name,
            unit=f"ms {unit}",
            value=times.share(part) * 1e3,
            yardstick=calm.share(part) * 1e3,
            yardstick_name="the same client just before",
            note=note,
        )
        for unit, part in (("p50", 0.5), ("p99", 0.99))
    ]


@contextmanager
def _process(target: Callable[..., None], *arguments: Any) -> Iterator[Connection]:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=target, args=(there, *arguments), daemon=True)
    process.start()
    there.close()  # so that the end of the process is the end of what it sends
    try:
        yield here
    finally:
        with suppress(OSError):
            here.send("stop")
        process.join(20)
        if process.is_alive():
            process.kill()
            process.join()


def _daemon(pipe: Connection) -> None:
    from vdsm_bridge.daemon.main import spare_the_heap  # noqa: PLC0415 - only this process needs them
    from vdsm_bridge.testing import TestHost  # noqa: PLC0415

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (_USUAL_FILES, hard))
    config = {"daemon": {"log_level": "ERROR"}, "plugin": {"xmlrpc": {"port": 0}, "rest": {"port": 0}}}
    with TestHost(installed=True, config=config) as host:
        ports = {
            plugin.name: int(plugin.address[0].split(":")[2].split("/")[0])
            for plugin in host.server.plugins()
            if plugin.name in {"xmlrpc", "rest"}
        }
        spare_the_heap()
        pipe.send((ports["xmlrpc"], ports["rest"]))
        pipe.recv()


# The client.


def _measure(ports: Ports, seconds: float) -> Times:
    with _process(_client, ports, seconds) as pipe:
        return Times(*pipe.recv())


def _client(pipe: Connection, ports: Ports, seconds: float) -> None:
    """Call at a steady pace: XML-RPC and REST in turn, on a kept connection and on new ones."""
    kept: dict[int, socket.socket] = {}
    times: list[float] = []
    errors = 0
    requests = ((ports.xmlrpc, PING), (ports.rest, REST_PING))
    calls = itertools.cycle((*request, keep) for keep in (True, False) for request in requests)
    end = time.monotonic() + seconds
    while (begun := time.monotonic()) < end:
        port, request, keep = next(calls)
        try:
            sock = kept.pop(port, None) if keep else None
            sock = sock or socket.create_connection(("127.0.0.1", port), timeout=10)
            sock.sendall(request)
            errors += not _reply(sock).startswith(b"HTTP/1.1 2")
            if keep:
                kept[port] = sock
            else:
                sock.close()
        except OSError:
            errors += 1
        times.append(time.monotonic() - begun)
        time.sleep(max(0.0, _PACE - times[-1]))
    pipe.send((times, errors))


def _reply(sock: socket.socket) -> bytes:
    received = b""
    while True:
        piece = sock.recv(65_536)
        if not piece:
            return received
        received += piece
        head, end, body = received.partition(b"\r\n\r\n")
        if end:
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0] or 0)
            if len(body) >= length:
                return received


# The attackers.


def _attacker(pipe: Connection, attack: Attack, ports: Ports) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 16_384), hard))
    if os.geteuid() == 0:
        # What an address of the socket module needs; nobody may not be able to read it later.
        codecs.lookup("idna")
        os.setgroups([])
        os.setgid(_NOBODY)
        os.setuid(_NOBODY)
    step = attack(ports)
    next(step)
    pipe.send("ready")
    while not pipe.poll():
        next(step)


#: A generator that attacks a little with each step; the first step makes it ready.
Attack = Callable[[Ports], Iterator[None]]


def _connect(port: int) -> socket.socket | None:
    try:
        return socket.create_connection(("127.0.0.1", port), timeout=5)
    except OSError:
        return None


def idle_1050(ports: Ports) -> Iterator[None]:
    """Hold as many idle connections as the usual limit of open files allows, and renew those that end."""
    yield from _hold(ports, 1_050)


def idle_3000(ports: Ports) -> Iterator[None]:
    """Hold three times as many as one listener takes."""
    yield from _hold(ports, 3_000)


def _hold(ports: Ports, count: int) -> Iterator[None]:
    held: dict[int, socket.socket] = {}
    watch = selectors.DefaultSelector()
    turn = itertools.cycle(ports)
    while True:
        for _ in range(min(100, count - len(held))):
            if sock := _connect(next(turn)):
                held[sock.fileno()] = sock
                watch.register(sock, selectors.EVENT_READ)
        if len(held) >= count * 0.9 or not held:
            yield
        gone = watch.select(0.05)
        for key, _ in gone:
            watch.unregister(key.fileobj)
            held.pop(key.fd).close()
        if gone:
            yield
        time.sleep(0.01)


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


def _repeat(port: int, request: bytes) -> Iterator[None]:
    while True:
        if sock := _connect(port):
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


def streams(ports: Ports) -> Iterator[None]:
    """Open every event stream that is to be had."""
    request = b"GET /api/events HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n"
    held: list[socket.socket] = []
    while True:
        if len(held) < 200 and (sock := _connect(ports.rest)):
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
    "110 connections, a byte every 2 s": drip,
    "large replies that nobody reads": unread,
    "every event stream": streams,
    "connect and leave": reconnect,
    "300,000 attributes on one element": attributes,
    "100 large replies in a multicall": multicall,
}
