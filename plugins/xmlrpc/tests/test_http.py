"""HTTP's part: paths, methods, sizes, keep-alive, credentials; and clients that behave badly."""

from __future__ import annotations

import contextlib
import http.client
import logging
import socket
import time
import xmlrpc.client
from typing import Any

import pytest

from vdsm_bridge.call.context import FlowFilter
from vdsm_bridge.testing.tokens import TOKENS

from .conftest import LAMP, Serve, Served

PING = xmlrpc.client.dumps((), "ping").encode()
WHISPER = xmlrpc.client.dumps((), "Room.whisper").encode()


def exchange(served: Served, data: bytes, *, half_close: bool = False) -> bytes:
    """Send bytes, and read until the server closes the connection, which it may do before it has them all."""
    with socket.create_connection(("127.0.0.1", served.port), timeout=10) as sock:
        with contextlib.suppress(OSError):
            sock.sendall(data)
            if half_close:
                sock.shutdown(socket.SHUT_WR)
        received = b""
        while piece := sock.recv(65_536):
            received += piece
    return received


def head(*lines: str) -> bytes:
    return "\r\n".join(
        ["POST /RPC2 HTTP/1.1", "Host: localhost", "Content-Type: text/xml", *lines, "", ""]
    ).encode()


@pytest.mark.parametrize("path", ["/RPC2", "/"])
def test_paths(served: Served, path: str) -> None:
    """VDSM's two paths."""
    answer = served.post(PING, path=path)
    assert (answer.status, answer.getheader("Content-Type")) == (200, "text/xml")
    assert xmlrpc.client.loads(answer.body)[0][0]["status"]["code"] == 0


@pytest.mark.parametrize("path", ["/rpc2", "/RPC2/", "/x", "/%2e%2e/etc/passwd"])
def test_other_paths(served: Served, path: str) -> None:
    """There is nothing else."""
    assert served.post(PING, path=path).status == 404


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH"])
def test_other_methods(served: Served, method: str) -> None:
    """XML-RPC is POST; other methods are refused with the allowed one."""
    answer = served.post(b"", method=method)
    assert (answer.status, answer.getheader("Allow")) == (405, "POST")


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "", "multipart/form-data"]
)
def test_other_content_types(served: Served, content_type: str) -> None:
    """What a form of a web page can send is refused."""
    assert served.post(PING, headers={"Content-Type": content_type}).status == 415


@pytest.mark.parametrize("content_type", ["application/xml", "text/xml; charset=utf-8", "TEXT/XML"])
def test_content_types(served: Served, content_type: str) -> None:
    """The names of XML are accepted."""
    assert served.post(PING, headers={"Content-Type": content_type}).status == 200


def test_web_pages(served: Served) -> None:
    """A request that a page in a browser makes is refused, though the browser runs on this host."""
    assert served.post(PING, headers={"Origin": "http://127.0.0.1:8088"}).status == 403


def test_keep_alive(served: Served) -> None:
    """Many requests go over one connection, also after one that was refused for what it said."""
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=10)
    connection.connect()
    sock = connection.sock
    for body in [PING, PING, b"<broken", PING]:
        connection.request("POST", "/RPC2", body, {"Content-Type": "text/xml"})
        assert connection.getresponse().read()
        assert connection.sock is sock
        time.sleep(0.05)  # longer than a thread lingers: the connection goes back to the selector
    connection.close()


def test_pipelined_requests(served: Served) -> None:
    """Requests that arrive together are answered one after the other."""
    one = head(f"Content-Length: {len(PING)}") + PING
    last = head(f"Content-Length: {len(PING)}", "Connection: close") + PING
    assert exchange(served, one + one + last).count(b"200 OK") == 3


def test_http_1_0(served: Served) -> None:
    """Old clients speak HTTP/1.0 and expect the connection to be closed."""
    request = head(f"Content-Length: {len(PING)}").replace(b"HTTP/1.1", b"HTTP/1.0") + PING
    answer = exchange(served, request)
    assert b"200 OK" in answer.partition(b"\r\n")[0]
    assert b"Done" in answer


def test_chunked(served: Served) -> None:
    """A body may come in chunks, with trailers; the connection stays usable."""
    chunks = b"".join(b"%x\r\n%s\r\n" % (1, bytes([byte])) for byte in PING) + b"0\r\nX: y\r\n\r\n"
    last = head(f"Content-Length: {len(PING)}", "Connection: close") + PING
    answer = exchange(served, head("Transfer-Encoding: chunked") + chunks + last)
    assert answer.count(b"200 OK") == 2


def test_oversized(serve: Serve) -> None:
    """A body over the limit is refused before it is read."""
    served = serve(max_body=2_048)
    assert served.post(b"x" * 2_049).status == 413
    assert exchange(served, head("Content-Length: 99999999999999999999999")).startswith(b"HTTP/1.1 413")
    assert served.alive()


def test_oversized_body_is_told_so(serve: Serve) -> None:
    """A client that sends megabytes too many gets its answer, though its request is not read to the end."""
    served = serve(max_body=2_048)
    assert served.post(b"x" * 5_000_000).status == 413


def test_oversized_chunks(serve: Serve) -> None:
    """Chunks are counted: a body without a length is bounded as well."""
    served = serve(max_body=2_048)
    chunk = b"400\r\n" + b"x" * 1_024 + b"\r\n"
    assert exchange(served, head("Transfer-Encoding: chunked") + chunk * 3).startswith(b"HTTP/1.1 413")
    huge = head("Transfer-Encoding: chunked") + b"ffffffffffff\r\n" + b"x" * 3_000
    assert exchange(served, huge).startswith(b"HTTP/1.1 413")
    assert served.alive()


@pytest.mark.parametrize("length", ["-5", "x", "1 2", "+7", "0x10"])
def test_length_that_is_none(served: Served, length: str) -> None:
    """A length that is no number is refused; a negative one does not read for ever."""
    assert exchange(served, head(f"Content-Length: {length}") + PING).startswith(b"HTTP/1.1 400")


def test_no_length(served: Served) -> None:
    """A body of unknown length is refused."""
    assert exchange(served, head()).startswith(b"HTTP/1.1 411")


@pytest.mark.parametrize("chunks", [b"zz\r\nabc\r\n", b"3\r\nabcdef\r\n", b"3\r\nabc\r\n0\r\nno trailer\n"])
def test_malformed_chunks(served: Served, chunks: bytes) -> None:
    """Chunks that are none are refused, and what follows is not taken for a request."""
    answer = exchange(served, head("Transfer-Encoding: chunked") + chunks + head("Content-Length: 0"))
    assert answer.startswith(b"HTTP/1.1 400")
    assert answer.count(b"HTTP/1.1") == 1


def test_body_that_ends_early(served: Served) -> None:
    """A client that stops in the middle gets an error, if it still reads."""
    answer = exchange(served, head("Content-Length: 100") + b"abc", half_close=True)
    assert answer.startswith(b"HTTP/1.1 400")
    assert served.alive()


def test_oversized_headers(served: Served) -> None:
    """Headers are bounded."""
    answer = exchange(served, head("X: " + "y" * 100_000))
    assert answer.split(b"\r\n")[0].split()[1] == b"431"
    assert served.alive()


@pytest.mark.parametrize(
    "data", [b"\r\n", b"\x00\xff\x16\x03\x01", b"GET / HTTP/9.9\r\n\r\n", b"POST\r\n\r\n", b"x" * 70_000]
)
def test_no_http(served: Served, data: bytes) -> None:
    """What is not HTTP is refused or dropped, and the server goes on."""
    assert b"Traceback" not in exchange(served, data, half_close=True)
    assert served.alive()


def test_silent_connections_hold_no_thread(serve: Serve) -> None:
    """Connections whose clients say nothing cost no thread: others are served at once."""
    served = serve(threads=1, max_threads=2)
    silent = [socket.create_connection(("127.0.0.1", served.port)) for _ in range(20)]
    try:
        begin = time.monotonic()
        assert served.alive()
        assert time.monotonic() - begin < 5.0
    finally:
        for sock in silent:
            sock.close()


def test_silent_connections_are_closed(serve: Serve) -> None:
    """A connection that is silent for too long is closed, before its first word and after."""
    served = serve(timeout=0.3)
    assert exchange(served, b"") == b""
    assert exchange(served, head(f"Content-Length: {len(PING)}") + PING).count(b"200 OK") == 1


def test_slow_request_is_given_up(serve: Serve) -> None:
    """A client that stops in the middle of a request and keeps the connection gets a timeout error."""
    served = serve(timeout=0.3)
    assert exchange(served, head("Content-Length: 100") + b"abc").startswith(b"HTTP/1.1 408")
    assert served.alive()


def test_too_many_connections(serve: Serve) -> None:
    """Over the limit, a new connection is closed; those that exist are served."""
    served = serve(max_connections=3)
    kept = [http.client.HTTPConnection("127.0.0.1", served.port, timeout=5) for _ in range(3)]
    try:
        for connection in kept:
            connection.connect()
        time.sleep(0.2)
        assert exchange(served, b"") == b""
    finally:
        for connection in kept:
            connection.close()


@pytest.mark.parametrize("body", [b"<oops", b"<x/>", b"<!DOCTYPE a [<!ENTITY b 'c'>]><methodCall/>"])
def test_bad_xml_is_logged_once(served: Served, body: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """A request that cannot be read is answered by a fault and logged once, without what it said."""
    caplog.set_level(logging.INFO)
    caplog.clear()
    answer = served.post(body)
    assert answer.status == 200
    with pytest.raises(xmlrpc.client.Fault) as caught:
        xmlrpc.client.loads(answer.body)
    assert caught.value.faultCode in (-32700, -32600)
    (record,) = caplog.records
    assert (record.levelname, record.name) == ("WARNING", "vdsm_xmlrpc.application")
    assert "oops" not in record.getMessage()
    assert record.exc_info is None


def whisper(served: Served, **headers: str) -> Any:
    answer = served.post(WHISPER, headers={name.replace("_", "-"): value for name, value in headers.items()})
    return xmlrpc.client.loads(answer.body)[0][0]


def test_tokens(served: Served) -> None:
    """A bearer token says who calls; a wrong one is refused in the envelope."""
    assert whisper(served)["result"] == "loopback"
    assert whisper(served, Authorization=f"Bearer {TOKENS['admin']}")["result"] == "admin"
    refused = whisper(served, Authorization=f"bearer {TOKENS['monitor']}")["status"]
    assert (refused["slug"], refused["code"]) == ("forbidden", 100)
    assert whisper(served, Authorization="Bearer guessed")["status"]["slug"] == "unauthenticated"


def test_flow_id(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    """The caller's tag stands in the log records of its call."""
    seen: list[str] = []

    class Catch(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            FlowFilter().filter(record)
            seen.append(record.flow)  # type: ignore[attr-defined]

    handler = Catch()
    logger = logging.getLogger("vdsm_bridge.call.bridge")
    caplog.set_level(logging.INFO)
    logger.addHandler(handler)
    try:
        with served.proxy([("FlowID", "order-66\xad")]) as proxy:
            proxy.Lamp.switch(LAMP, True)
    finally:
        logger.removeHandler(handler)
    assert seen == ["[order-66] "]


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("Request-Timeout", "soon"),
        ("Request-Timeout", "-1"),
        ("Request-Timeout", "nan"),
        ("Request-Id", "x" * 200),
    ],
)
def test_headers_that_make_no_sense(served: Served, header: str, value: str) -> None:
    """A header that cannot be honoured is an error that names it."""
    answer = served.post(PING, headers={header: value})
    status = xmlrpc.client.loads(answer.body)[0][0]["status"]
    assert (status["slug"], status["code"]) == ("invalid-argument", 91)
    assert header in status["message"]


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "::", "0.0.0.0"])
def test_foreign_names_on_loopback(serve: Serve, address: str) -> None:
    """A name of another host that was pointed at loopback is refused, whatever address is listened on."""
    served = serve(address=address)
    family, target = (socket.AF_INET6, "::1") if address == "::1" else (socket.AF_INET, "127.0.0.1")
    for host, status in (("evil.example", b"421"), ("localhost", b"200"), (f"{target}:1", b"200")):
        name = f"[{target}]" if host.startswith("::1") else host
        request = head(f"Content-Length: {len(PING)}", "Connection: close").replace(
            b"Host: localhost", f"Host: {name}".encode()
        )
        with socket.socket(family) as sock:
            sock.settimeout(10)
            sock.connect((target, served.port))
            sock.sendall(request + PING)
            assert sock.recv(65_536).split()[1] == status


def test_several_addresses(serve: Serve) -> None:
    """The binding listens on each address of a list; its URLs say so."""
    served = serve(address=["127.0.0.1", "127.0.0.2"])
    (info,) = (plugin for plugin in served.host.host.plugins() if plugin.name == "xmlrpc")
    assert [url.split("/")[2].split(":")[0] for url in info.address] == ["127.0.0.1", "127.0.0.2"]
    for url in info.address:
        with xmlrpc.client.ServerProxy(url) as proxy:
            assert proxy.ping()["status"]["code"] == 0  # type: ignore[index,call-overload]


def test_old_client_without_host(served: Served) -> None:
    """A client of HTTP/1.0 names no host, and is served."""
    request = head(f"Content-Length: {len(PING)}").replace(b"HTTP/1.1", b"HTTP/1.0")
    assert b" 200 " in exchange(served, request.replace(b"Host: localhost\r\n", b"") + PING)
