"""Where a request ends is never in doubt: every ambiguous framing is refused."""

from __future__ import annotations

from http import HTTPStatus
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vdsm_http import Limits, Peer, Refusal, Request, Response, Site
from vdsm_http.parser import RequestParser

SITE = Site("test", lambda _request: Response(200), Limits(max_header=2_048, max_body=1_000))
POST = b"POST /x?y=1 HTTP/1.1\r\nHost: h\r\n"
WHOLE = POST + b"Content-Length: 3\r\n\r\nabc"


def parser() -> RequestParser:
    """A parser of one connection."""
    return RequestParser(Peer("192.0.2.1"), lambda _method, _path: SITE, 2_048)


def read(*pieces: bytes) -> list[Request]:
    """The requests in these pieces."""
    reading = parser()
    for piece in pieces:
        reading.feed(piece)
    return [request for _, request in reading.requests]


def refused(*pieces: bytes) -> int:
    """The status with which these pieces are refused."""
    with pytest.raises(Refusal) as caught:
        read(*pieces)
    return int(caught.value.status)


def test_a_request() -> None:
    """Method, target, headers and body are as they were sent."""
    (request,) = read(WHOLE)
    assert (request.method, request.path, request.query, request.body) == ("POST", "/x", "y=1", b"abc")
    assert request.headers == {"host": "h", "content-length": "3"}
    assert request.keep_alive


@given(st.lists(st.integers(1, len(WHOLE) - 1), max_size=12))
def test_pieces_are_one_request(cuts: list[int]) -> None:
    """However a request is cut into pieces, it is the same."""
    places = [0, *sorted(set(cuts)), len(WHOLE)]
    pieces = [WHOLE[a:b] for a, b in pairwise(places)]
    (request,) = read(*pieces)
    assert (request.target, request.body) == ("/x?y=1", b"abc")


def test_chunks_and_trailers() -> None:
    """A body in chunks is put together; trailers are dropped; the next request follows."""
    chunked = POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\nX: y\r\n\r\n"
    first, second = read(chunked + WHOLE)
    assert (first.body, second.body) == (b"abc", b"abc")
    assert "x" not in first.headers


@pytest.mark.parametrize(
    ("framing", "status"),
    [
        (b"Content-Length: 3\r\nContent-Length: 3", 400),
        (b"Content-Length: 3\r\nContent-Length: 4", 400),
        (b"Content-Length: 3\r\nTransfer-Encoding: chunked", 400),
        (b"Transfer-Encoding: chunked\r\nContent-Length: 3", 400),
        (b"Content-Length: +3", 400),
        (b"Content-Length: 3, 3", 400),
        (b"Content-Length: 0x3", 400),
        (b"Content-Length : 3", 400),
        (b"Content-Length: 99999999999999999999", 413),
        (b"Content-Length: 1001", 413),
        (b"Transfer-Encoding: gzip", 501),
        (b"Transfer-Encoding: gzip, chunked", 501),
        (b"Transfer-Encoding: chunked, identity", 400),
        (b"X: a\r\n b", 400),
        (b"Host: other", 400),
        (b"X: " + b"y" * 3_000, 431),
        (b"\r\n".join(b"X%d: y" % number for number in range(250)), 431),
    ],
)
def test_framing_that_is_refused(framing: bytes, status: int) -> None:
    """Two lengths, a length beside chunks, odd numbers, folded lines and excess are refused by name."""
    assert refused(POST + framing + b"\r\n\r\nabc") == status


@pytest.mark.parametrize("size", [b"-1", b"0x2", b"+2", b" 2", b"2 ", b"g", b""])
def test_chunk_sizes_that_are_none(size: bytes) -> None:
    """The size of a chunk is a plain hexadecimal number."""
    assert refused(POST + b"Transfer-Encoding: chunked\r\n\r\n" + size + b"\r\nab\r\n") == 400


def test_framing_of_chunks_is_bounded() -> None:
    """Extensions and endless sizes of chunks do not make a body of any length."""
    reading = parser()
    reading.feed(POST + b"Transfer-Encoding: chunked\r\n\r\n")
    for _ in range(22):  # six bytes for each of the body's thousand, and 16 KiB
        reading.feed(b"0" * 1_000)
    with pytest.raises(Refusal) as caught:
        reading.feed(b"0" * 1_000)
    assert caught.value.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"GET /\n\n", 400),
        (b"GET / HTTP/9.9\r\n\r\n", 505),
        (b"GET / HTTP/2.0\r\n\r\n", 505),
        (b"get / HTTP/1.1\r\n\r\n", 400),
        (b"GET http://other/ HTTP/1.1\r\n\r\n", 400),
        (b"GET /a\x00b HTTP/1.1\r\n\r\n", 400),
        (b"GET /" + b"a" * 3_000 + b" HTTP/1.1\r\n\r\n", 414),
    ],
)
def test_request_lines_that_are_refused(line: bytes, status: int) -> None:
    """A request line is one of HTTP/1.1 or HTTP/1.0, of a path, and of bounded length."""
    assert refused(line) == status


def test_what_follows_the_last_request_is_ignored() -> None:
    """Bytes behind a request that closes the connection are not taken for a request."""
    (request,) = read(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\nGET /evil HTTP/1.1\r\n\r\n")
    assert (request.path, request.keep_alive) == ("/", False)


def test_upgrade() -> None:
    """Bytes behind a request for another protocol belong to that protocol."""
    reading = parser()
    reading.feed(b"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x00")
    assert reading.upgraded == b"\x81\x00"
    assert len(reading.requests) == 1
