"""Requests that mean to be read in two ways, over each HTTP binding, plain and over TLS.

Expected is one refusal, or one plain answer, and never a second reply: bytes that a sender placed in a header
or a body are not taken for a request, and no value of a request becomes a header of the reply.
"""

from __future__ import annotations

import json
import re
import socket
import ssl
import threading
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest

from vdsm_bridge.testing import TestHost
from vdsm_bridge.testing.certificates import TestPki

#: A request whose reply shows that it was taken for one, after which the connection is closed.
EVIL = b"GET /api/host/ping?evil HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
PING = b"<?xml version='1.0'?><methodCall><methodName>Host.ping</methodName></methodCall>"


class Binding(NamedTuple):
    """One way in: where and how a request is sent."""

    name: str
    port: int
    context: ssl.SSLContext | None

    @property
    def line(self) -> bytes:
        """The request line and the headers that each request needs; the framing follows."""
        path, kind = (
            (b"/RPC2", b"text/xml")
            if self.name == "xmlrpc"
            else (b"/api/verbs/Host.ping", b"application/json")
        )
        return b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: %s\r\n" % (path, kind)

    @property
    def body(self) -> bytes:
        """The body of a good call."""
        return PING if self.name == "xmlrpc" else b"{}"

    def send(self, data: bytes) -> bytes:
        """Send bytes and the end; return everything that is sent back."""
        received = b""
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as plain:
            sock = (
                plain
                if self.context is None
                else self.context.wrap_socket(plain, server_hostname="localhost")
            )
            with sock:
                try:
                    sock.sendall(data)
                    # SSLSocket.shutdown() would drop the TLS state.
                    socket.socket.shutdown(sock, socket.SHUT_WR)
                    while piece := sock.recv(65_536):
                        received += piece
                except (ConnectionError, ssl.SSLError):
                    pass
        return received

    def call(self, body: bytes, headers: bytes = b"") -> bytes:
        """Send one request with a plain length; return the whole reply."""
        framing = b"Connection: close\r\nContent-Length: %d\r\n" % len(body)
        return self.send(self.line + headers + framing + b"\r\n" + body)


@pytest.fixture
def bindings(tmp_path: Path) -> Iterator[list[Binding]]:
    """Each way in: both bindings, plain and over TLS on the same ports; all serve on afterwards."""
    pki = TestPki(tmp_path / "pki")
    config: dict[str, Any] = {
        "tls": pki.options,
        "plugin": {name: {"port": 0, "tls": "optional"} for name in ("xmlrpc", "rest")},
        "limits": {"handshakes_per_second": 0, "connections_per_second": 0},
    }
    with TestHost(installed=True, config=config) as host:
        plugins = host.host.plugins()
        ports = {plugin.name: urlsplit(plugin.address[0]).port for plugin in plugins if plugin.address}
        ways = [
            Binding(name, ports[name] or 0, context)
            for name in ("xmlrpc", "rest")
            for context in (None, pki.context())
        ]
        yield ways
        for way in ways:
            assert status(way.call(way.body)) in {200, 204}


def status(reply: bytes) -> int:
    """The status of a reply; 0: there is none."""
    return int(reply.split(b" ", 2)[1]) if reply.startswith(b"HTTP/1.1 ") else 0


def check_alone(reply: bytes) -> None:
    """There is one reply at most, and no value became a header of it."""
    head, _, body = reply.partition(b"\r\n\r\n")
    assert b"\nx-hostile" not in head.lower(), reply
    lengths = re.findall(rb"\r\nContent-Length: ([0-9]+)", head)
    assert len(body) == sum(map(int, lengths)), reply
    assert len(lengths) <= 1, reply


#: Framings about which two readers may differ. `%d` is the length of the good body.
FRAMINGS = [
    b"Content-Length: %d\r\nContent-Length: 0\r\n",
    b"Content-Length: 0\r\nContent-Length: %d\r\n",
    b"Content-Length: %d\r\ncontent-length: %d\r\n",
    b"Content-Length: %d, %d\r\n",
    b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: chunked\r\nContent-Length: %d\r\n",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
    b"Transfer-Encoding: identity, chunked\r\n",
    b"Transfer-Encoding: xchunked\r\nContent-Length: %d\r\n",
    b"Transfer-Encoding: \x0bchunked\r\nContent-Length: %d\r\n",
    b"Transfer-Encoding:\r\n chunked\r\nContent-Length: %d\r\n",
    b"Transfer_Encoding: chunked\r\nContent-Length : %d\r\n",
    b"Transfer-Encoding : chunked\r\nContent-Length: %d\r\n",
    b" Transfer-Encoding: chunked\r\nContent-Length: %d\r\n",
    b"X: a\r\n\tTransfer-Encoding: chunked\r\nContent-Length: %d\r\n",
    b"X: a\nTransfer-Encoding: chunked\r\nContent-Length: %d\r\n",
    b"X: a\rTransfer-Encoding: chunked\r\nContent-Length: %d\r\n",
    b"X: a\x00\r\nContent-Length: %d\r\n",
    b"X\x00: a\r\nContent-Length: %d\r\n",
    b": a\r\nContent-Length: %d\r\n",
    b"X\r\nContent-Length: %d\r\n",
    b"Content-Length: +%d\r\n",
    b"Content-Length: -1\r\n",
    b"Content-Length: 0x%d\r\n",
    b"Content-Length: 1_0\r\n",
    b"Content-Length: 1e1\r\n",
    b"Content-Length: 18446744073709551617\r\n",
    b"Content-Length: \xb2\r\n",
    b"Host: other\r\nContent-Length: %d\r\n",
]


def test_ambiguous_framing(bindings: list[Binding]) -> None:
    """A request whose end is doubtful is refused, and what follows it is not taken for a request."""
    for binding, framing in product(bindings, FRAMINGS):
        head = binding.line + framing.replace(b"%d", str(len(binding.body)).encode()) + b"\r\n"
        for body in (binding.body, b"0\r\n\r\n"):
            reply = binding.send(head + body + EVIL)
            check_alone(reply)
            assert status(reply) in {400, 413, 501}, (binding.name, framing, reply)


#: Bodies in chunks whose end is doubtful.
CHUNKS = [
    b"0x2\r\n{}\r\n0\r\n\r\n",
    b"+2\r\n{}\r\n0\r\n\r\n",
    b"-2\r\n{}\r\n0\r\n\r\n",
    b" 2\r\n{}\r\n0\r\n\r\n",
    b"2 \r\n{}\r\n0\r\n\r\n",
    b"2\n{}\n0\n\n",
    b"2\r{}\r0\r\r",
    b"2\r\n{}0\r\n\r\n",
    b"2\r\n{}XX0\r\n\r\n",
    b"2\r\n{}\n0\r\n\r\n",
    b"2;a=\nb\r\n{}\r\n0\r\n\r\n",
    b"2;a\x00\r\n{}\r\n0\r\n\r\n",
    b"10000000000000002\r\n{}\r\n0\r\n\r\n",
    b"fffffffffffffffe\r\n{}\r\n0\r\n\r\n",
    b"\r\n{}\r\n0\r\n\r\n",
    b"2\r\n{}\r\n0\r\nContent-Length: 5\nX: y\r\n\r\n",
]


def test_chunks_of_doubtful_size(bindings: list[Binding]) -> None:
    """A chunk whose end is doubtful is refused, and what follows it is not taken for a request."""
    for binding, chunks in product(bindings, CHUNKS):
        reply = binding.send(binding.line + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + EVIL)
        check_alone(reply)
        # A chunk of 2^64 bytes is waited for, and ends early.
        assert status(reply) in {400, 413} or (not reply and chunks[:1] == b"f"), (
            binding.name,
            chunks,
            reply,
        )


#: Request lines and heads of a doubtful form.
HEADS = [
    b"GET /api HTTP/1.1\nHost: localhost\n\n",
    b"GET /api HTTP/1.1\rHost: localhost\r\r",
    b"GET\t/api\tHTTP/1.1\r\nHost: localhost\r\n\r\n",
    b" GET /api HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /api HTTP/1.10\r\nHost: localhost\r\n\r\n",
    b"GET /api HTTP/1.1 \r\nHost: localhost\r\n\r\n",
    b"GET /api HTTP/1.1\r\n Host: localhost\r\n\r\n",
    b"GET /api\r\n\r\n",
    b"GET /api\x7f HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"POST /api HTTP/1.0\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
]


def test_doubtful_heads(bindings: list[Binding]) -> None:
    """A request line or a head of a doubtful form gets one refusal."""
    for binding, head in product(bindings, HEADS):
        reply = binding.send(head + EVIL)
        check_alone(reply)
        assert status(reply) in {400, 404, 405, 501, 505}, (binding.name, head, reply)


#: Values that would end a header and begin another one, or another reply.
SPLITS = [
    "a\r\nX-Hostile: yes",
    "a\nX-Hostile: yes",
    "a\rX-Hostile: yes",
    "a\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    "\u010a",
    "\x85X",
]
HEADERS = [
    "FlowID",
    "X-Correlation-Id",
    "Request-Id",
    "Idempotency-Key",
    "Request-Timeout",
    "Origin",
    "Accept",
    "Accept-Encoding",
    "If-None-Match",
    "If-Match",
    "Prefer",
    "Authorization",
    "User-Agent",
]


def test_splitting_by_headers(bindings: list[Binding]) -> None:
    """A line break in a value, in whatever encoding, ends no header of the reply; a bare one is refused."""
    for binding, name, value in product(bindings, HEADERS, SPLITS):
        written = [percent(value), value.encode("unicode-escape")]
        if "\r\n" not in value:
            written.append(value.encode("utf-8"))  # the others are two headers, as any client may send them
        for each in written:
            reply = binding.call(binding.body, b"%s: %s\r\n" % (name.encode(), each))
            check_alone(reply)
            assert status(reply) or binding.context, (binding.name, name, each)


def percent(text: str) -> bytes:
    """Encode all bytes."""
    return b"".join(b"%%%02X" % byte for byte in text.encode("utf-8"))


PATHS = b"/%s /api/%s /api/verbs/%s /api/vms/%s /api/tasks/%s /api?%s=1 /api/docs/%s /RPC2/%s".split()


def test_splitting_by_targets(bindings: list[Binding]) -> None:
    """A line break in a path, a name of a verb or a query never reaches a header of the reply."""
    request = b"%s %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    end = b"Connection: close\r\nContent-Length: 2\r\n\r\n{}"
    for binding, method, path, value in product(bindings, (b"GET", b"POST", b"OPTIONS"), PATHS, SPLITS):
        reply = binding.send(request % (method, path % percent(value)) + end)
        check_alone(reply)
        assert 200 <= status(reply) < 500, (binding.name, method, path, reply)


def test_splitting_by_names_of_verbs(bindings: list[Binding]) -> None:
    """The name of a method with a line break is in no header of the refusal."""
    for binding, value in product(bindings, SPLITS):
        name = "".join(f"&#{ord(letter)};" for letter in value)
        check_alone(binding.call(f"<methodCall><methodName>{name}</methodName></methodCall>".encode()))


def laughs() -> bytes:
    """Entities that would grow to 10^10 bytes."""
    names = [f'<!ENTITY a{level} "{f"&a{level - 1};" * 10}">' for level in range(1, 10)]
    entities = '<!ENTITY a0 "laughs">' + "".join(names)
    return f"<!DOCTYPE m [{entities}]><methodCall><methodName>&a9;</methodName></methodCall>".encode()


class Trap:
    """A server that counts connections."""

    def __init__(self, server: socket.socket) -> None:
        self.port = int(server.getsockname()[1])
        self.count = 0
        self.over = threading.Event()
        self._server = server
        self._server.settimeout(0.1)

    def accept(self) -> None:
        """Count until it is over."""
        while not self.over.is_set():
            try:
                self._server.accept()[0].close()
                self.count += 1
            except TimeoutError:
                continue


@pytest.fixture
def trap() -> Iterator[Trap]:
    """A server to which nothing connects."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        trap = Trap(server)
        thread = threading.Thread(target=trap.accept)
        thread.start()
        yield trap
        trap.over.set()
        thread.join()


CALL = (
    "<methodCall><methodName>Host.echo</methodName><params><param><value>%s</value></param></params>"
    "</methodCall>"
)


def documents(source: str) -> list[bytes]:
    """Documents that have something fetched, if the reader follows them."""
    entity, call = f'<!DOCTYPE m [<!ENTITY x SYSTEM "{source}">]>', CALL % "&x;"
    return [
        (entity + call).encode(),
        f'<!DOCTYPE m [<!ENTITY % p SYSTEM "{source}"> %p;]>{call}'.encode(),
        f'<!DOCTYPE m SYSTEM "{source}">{CALL % "x"}'.encode(),
        f'<m xmlns:xi="http://www.w3.org/2001/XInclude"><xi:include href="{source}"/></m>'.encode(),
        f'<?xml version="1.0" encoding="utf-16"?>{entity}{call}'.encode("utf-16"),
    ]


def test_entities(bindings: list[Binding], trap: Trap, tmp_path: Path) -> None:
    """Entities are neither expanded nor fetched, in whatever encoding they are declared."""
    secret = tmp_path / "secret"
    secret.write_text("the content of the file")
    hostile = [laughs(), laughs().decode().encode("utf-16"), b"<!DOCTYPE m [" + b"<!ENTITY a 'b'>" * 100_000]
    for source in (f"file://{secret}", f"http://127.0.0.1:{trap.port}/x", f"ftp://127.0.0.1:{trap.port}/x"):
        hostile += documents(source)
    for binding, document in product(bindings, hostile):
        reply = binding.call(document)
        check_alone(reply)
        assert status(reply) in {200, 400}, (binding.name, document[:200], reply)
        assert status(reply) == 400 or b"<fault>" in reply
        assert secret.read_bytes() not in reply
        assert len(reply) < 10_000
    assert trap.count == 0


#: Bodies of JSON that are odd, and what an odd value of XML-RPC is.
JSON_BODIES = [
    b'{"message": "\\ud800"}',
    b'{"message": "\\udc00\\ud800"}',
    b'{"message": "a\\u0000b"}',
    b'{"message": "\xed\xa0\x80"}',
    b'{"message": "\xff"}',
    b'{"message": NaN}',
    b'{"message": -Infinity}',
    b'{"message": 1e999}',
    b'{"message": ' + b"9" * 100_000 + b"}",
    b'{"message": 0.' + b"1" * 100_000 + b"}",
    b'{"message": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    b'{"message": ' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001,
    b'{"message": "a", "message": "b"}',
    b'{"__proto__": {"a": 1}}',
    b'\xef\xbb\xbf{"message": "a"}',
    '{"message": "a"}'.encode("utf-16"),
    '{"message": "a"}'.encode("utf-32"),
    b"",
    b"null",
    b'"a"',
    b"\0",
]
XML_VALUES = [
    b"&#xD800;",
    b"&#0;",
    b"\x00",
    b"\xed\xa0\x80",
    b"<int>" + b"9" * 100_000 + b"</int>",
    b"<i8>9223372036854775808</i8>",
    b"<double>nan</double>",
    b"<double>1e999</double>",
    b"<double>" + b"1" * 100_000 + b"</double>",
    b"<boolean>2</boolean>",
    b"<base64>&#0;*</base64>",
    b"<dateTime.iso8601>99999999T99:99:99</dateTime.iso8601>",
    b"<array><data>" * 10_000,
    b"<array><data><value>" * 10_000 + b"</value></data></array>" * 10_000,
    b"<struct>" + b"<member><name>a</name><value>1</value></member>" * 2 + b"</struct>",
]


def test_odd_values(bindings: list[Binding]) -> None:
    """Surrogates, NUL, NaN, huge numbers and deep nesting get an answer or a typed refusal; no incident."""
    request = b"POST /api/verbs/Host.echo HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    for binding in bindings:
        if binding.name == "rest":
            for body in JSON_BODIES:
                framing = b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
                reply = binding.send(request + framing + body)
                check_alone(reply)
                assert status(reply) in {200, 204, 400, 422}, (body[:100], reply)
                json.loads(reply.partition(b"\r\n\r\n")[2] or b"null")
        else:
            for value in XML_VALUES:
                reply = binding.call(CALL.encode().replace(b"%s", value))
                check_alone(reply)
                assert status(reply) == 200, (value[:100], reply)
                assert b"incident" not in reply, (value[:100], reply)
