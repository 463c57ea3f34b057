"""A load generator: many keep-alive HTTP connections from one thread, in a process of its own.

Run as ``python -m bench.load``, it reads one JSON job from standard input and writes one JSON result.
"""

from __future__ import annotations

import selectors
import socket
import ssl
import subprocess
import sys
import time
from typing import Final

import msgspec


class Load(msgspec.Struct, kw_only=True):
    """What to send: the same request over and over, on `clients` connections, for `seconds`.

    With `tls` the connections are encrypted, with `fresh` each request has one of its own.
    """

    port: int
    request: bytes
    clients: int
    seconds: float
    most: int = 1_000_000
    tls: bool = False
    fresh: bool = False


class Result(msgspec.Struct, kw_only=True):
    """What came back. Times in seconds; `bytes` is the size of one reply."""

    calls: int
    errors: int
    elapsed: float
    p50: float
    p99: float
    bytes: int

    @property
    def rate(self) -> float:
        """Calls per second."""
        return self.calls / self.elapsed


def http_post(path: str, body: bytes, content_type: str) -> bytes:
    """A whole keep-alive POST request."""
    return (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def http_get(path: str) -> bytes:
    """A whole keep-alive GET request."""
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()


def generate(load: Load) -> Result:
    """Put the load on the server from a process of its own, so that it shares no lock with the server."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.load"],
        input=msgspec.json.encode(load),
        capture_output=True,
        check=True,
        timeout=load.seconds + 60,
    )
    return msgspec.json.decode(done.stdout, type=Result)


def _trust_all() -> ssl.SSLContext:
    """A client that verifies nothing: it measures the server."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


TRUSTING: Final = _trust_all()


class _Client:
    def __init__(self, load: Load) -> None:
        self.load = load
        self.socket = self._connect()
        self.begun = 0.0
        self.received = bytearray()
        self.expected = -1
        self.ok = True

    def _connect(self) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.load.port), timeout=30)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return TRUSTING.wrap_socket(connection) if self.load.tls else connection

    def renew(self, selector: selectors.BaseSelector) -> None:
        """Take another connection."""
        selector.unregister(self.socket)
        self.socket.close()
        self.begun = time.perf_counter()
        self.socket = self._connect()
        selector.register(self.socket, selectors.EVENT_READ, self)

    def send(self, *, begun: float = 0.0) -> None:
        self.received.clear()
        self.expected = -1
        self.begun = begun or time.perf_counter()
        self.socket.sendall(self.load.request)

    def receive(self) -> int:
        """Read what is there; the size of the reply once it is whole, else 0; -1 if the connection ended."""
        piece = self.socket.recv(1 << 20)
        if not piece:
            return -1
        self.received += piece
        if self.expected < 0:
            end = self.received.find(b"\r\n\r\n")
            if end < 0:
                return 0
            head = bytes(self.received[:end]).lower()
            self.ok = head.split(b" ", 2)[1][:1] == b"2"
            marker = head.find(b"content-length:")
            length = int(head[marker + 15 :].split(b"\r\n", 1)[0]) if marker >= 0 else 0
            self.expected = end + 4 + length
        return self.expected if len(self.received) >= self.expected else 0


def _run(load: Load) -> Result:
    selector = selectors.DefaultSelector()
    clients = [_Client(load) for _ in range(load.clients)]
    for client in clients:
        selector.register(client.socket, selectors.EVENT_READ, client)
        client.send()
    times: list[float] = []
    errors = size = 0
    begin = time.perf_counter()
    while (now := time.perf_counter()) < begin + load.seconds and len(times) < load.most:
        for key, _ in selector.select(timeout=1.0):
            client = key.data
            got = client.receive()
            if got < 0:
                errors += 1
                client.renew(selector)
                client.send()
            elif got:
                times.append(time.perf_counter() - client.begun)
                errors += not client.ok
                size = got
                if load.fresh:
                    client.renew(selector)
                client.send(begun=client.begun if load.fresh else 0.0)
    elapsed = now - begin
    for client in clients:
        client.socket.close()
    times.sort()
    return Result(
        calls=len(times),
        errors=errors,
        elapsed=elapsed,
        p50=times[len(times) // 2] if times else float("nan"),
        p99=times[int(len(times) * 0.99)] if times else float("nan"),
        bytes=size,
    )


if __name__ == "__main__":
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=Load)
    sys.stdout.buffer.write(msgspec.json.encode(_run(job)))
