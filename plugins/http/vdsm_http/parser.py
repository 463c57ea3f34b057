"""Requests from bytes: llhttp parses them, this module limits them and refuses ambiguous framing.

llhttp runs in its strict mode. It refuses two lengths, a length beside chunks, sizes that are no plain
hexadecimal numbers, folded header lines and bare line feeds (RFC 9112, sections 2.2, 5.1, 5.2, 6 and 7.1):
a proxy in front of the daemon and the daemon agree on where a request ends. Debian's httptools uses llhttp's
predecessor, which is more lenient: everything that determines the end of a request is checked here, too.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

import httptools

from vdsm_http.messages import Peer, Refusal, Request
from vdsm_http.site import Site

_VERSIONS: Final = frozenset({"1.0", "1.1"})
#: Header lines of one request. Browsers and libraries send about twenty.
_MAX_LINES: Final = 200
#: Bytes of chunk framing that a chunked body may have beside its content: one-byte chunks have six for each.
_FRAMING: Final = 6
_FRAMING_BASE: Final = 16_384
_VERSION_LINE: Final = re.compile(rb"\A(?:\r\n)*[A-Za-z]+ [^ \r\n]+ HTTP/(\d+\.\d+)\r\n")
_HUGE_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*[0-9]{16,}[ \t]*\r\n", re.IGNORECASE)
#: Line ends that some servers take for the end of a line and others do not, and folded lines.
_DOUBTFUL_LINES: Final = re.compile(rb"(?<!\r)\n|\n[ \t]")
_TOKEN: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.6.2
#: Headers that may occur only once in a request.
_ONCE: Final = frozenset({"host", "content-length", "transfer-encoding"})
_NAMES: Final[dict[bytes, str]] = {}
#: Maximum number of header names that are cached in their lower-case form; clients use few.
_MAX_NAMES: Final = 512

_HEAD, _BODY, _BETWEEN = "head", "body", "between"


class RequestParser:
    """The requests of one connection, in order.

    :param choose: the site of a request, by method and path
    """

    def __init__(
        self,
        peer: Peer,
        choose: Callable[[str, str], Site],
        max_header: int,
    ) -> None:
        self._peer = peer
        self._choose = choose
        self._max_header = max_header
        self._memory: dict[Any, Any] = {}
        self._parser = httptools.HttpRequestParser(self)
        #: Complete requests that have not been taken yet, each with its site.
        self.requests: deque[tuple[Site, Request]] = deque()
        self._where = _BETWEEN
        self._url = b""
        self._headers: dict[str, str] = {}
        self._lines = 0
        self._head_size = 0
        #: Bytes received for the head after those that it began in: a line without an end is in no callback.
        self._raw_head = 0
        self._raw_body = 0
        self._body: list[bytes] = []
        self._body_size = 0
        self._site: Site | None = None
        self._request: Request | None = None
        self._refusal: Refusal | None = None
        #: Bytes after a request that asks for another protocol, or None.
        self.upgraded: bytes | None = None
        #: Bytes that the body of the present request has announced.
        self.expected = 0
        #: Whether the client waits for permission to send that body (`Expect: 100-continue`).
        self.awaits = False

    @property
    def between(self) -> bool:
        """Whether no request is incomplete."""
        return self._where is _BETWEEN

    @property
    def buffered(self) -> int:
        """Bytes of the body that has begun to arrive."""
        return self._body_size

    @property
    def site(self) -> Site | None:
        """The site of the request that has begun, once its head was read."""
        return self._site

    def feed(self, data: bytes) -> None:
        """Read what was received.

        :raises Refusal: it is not acceptable. Requests that were whole before are in `requests`
        """
        where = self._where
        if where is not _BODY:
            self._check_lines(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self.upgraded = data[upgrade.args[0] :]
            return
        except httptools.HttpParserError as error:
            if self.requests and not self.requests[-1][1].keep_alive:
                return  # what follows the last request of a connection is ignored
            raise self._refusal or self._reason(data, error) from None
        if self._where is _HEAD and where is not _BETWEEN:
            self._raw_head += len(data)
            self._check_head()
        elif self._where is _BODY and where is _BODY:
            self._raw_body += len(data)
            if self._site and self._raw_body > _FRAMING * self._site.limits.max_body + _FRAMING_BASE:
                raise self._too_large(self._site)

    def stay(self) -> bytes:
        """Read HTTP again, as the other protocol was not taken. Return what was received of it."""
        data, self.upgraded = self.upgraded or b"", None
        self._parser = httptools.HttpRequestParser(self)
        return data

    def release(self) -> None:
        """Read no more. The parts that point at each other are parted: no garbage collection is needed."""
        del self._parser

    # The callbacks of llhttp. An exception ends `feed_data`, which then raises an error of its own.

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._where = _HEAD
        self._url = b""
        self._headers = {}
        self._lines = self._head_size = self._raw_head = self._raw_body = self._body_size = self.expected = 0
        self._body = []
        self._site = None

    def on_url(self, piece: bytes) -> None:
        """Take a piece of the target."""
        self._url += piece
        self._head_size += len(piece)
        if self._head_size > self._max_header:
            self._check_head()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, or a trailer, which is counted and dropped."""
        self._lines += 1
        self._head_size += len(name) + len(value) + 4
        if self._head_size > self._max_header or self._lines > _MAX_LINES:
            self._check_head()
        if self._where is _BODY:
            return
        key = _NAMES.get(name) or _name(name)
        if not key:
            raise self._refuse(HTTPStatus.BAD_REQUEST, "The name of a header is malformed")
        text = value.decode("latin-1")
        if key in self._headers:
            if key in _ONCE:
                raise self._refuse(HTTPStatus.BAD_REQUEST, f"The header {key} is given twice")
            self._headers[key] += f", {text}"
        else:
            self._headers[key] = text

    def on_headers_complete(self) -> None:
        """Check the head, and choose the site."""
        headers = self._headers
        version = self._parser.get_http_version()
        if version not in _VERSIONS:
            raise self._refuse(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "HTTP/1.1 and HTTP/1.0 are spoken here")
        if not self._url.startswith(b"/") and self._url != b"*":
            raise self._refuse(HTTPStatus.BAD_REQUEST, "The target of a request is a path")
        coding = headers.get("transfer-encoding")
        if coding is not None and (coding.lower() != "chunked" or version == "1.0"):
            raise self._refuse(HTTPStatus.NOT_IMPLEMENTED, "The only transfer coding is chunked, in HTTP/1.1")
        length = headers.get("content-length")
        if length is not None and (coding is not None or not (length.isascii() and length.isdigit())):
            raise self._refuse(HTTPStatus.BAD_REQUEST, "Content-Length is no number, or not the only framing")
        request = self._request = Request(
            self._parser.get_method().decode("ascii"),
            self._url.decode("latin-1"),
            version=version,
            headers=headers,
            peer=self._peer,
            memory=self._memory,
            keep_alive=self._parser.should_keep_alive(),
        )
        site = self._site = self._choose(request.method, request.path)
        if self._head_size > site.limits.max_header:
            raise self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "The headers are too large")
        self.expected = int(length or 0)
        if self.expected > site.limits.max_body:
            raise self._too_large(site)
        self._where = _BODY
        if "expect" in headers and (self.expected or coding) and version == "1.1":
            if headers["expect"].lower() != "100-continue":
                raise self._refuse(HTTPStatus.EXPECTATION_FAILED, "The only expectation is 100-continue")
            self.awaits = True

    def on_body(self, piece: bytes) -> None:
        """Take a piece of the body."""
        self.awaits = False
        self._body.append(piece)
        self._body_size += len(piece)
        site = self._site
        if site is not None and self._body_size > site.limits.max_body:
            raise self._too_large(site)

    def on_message_complete(self) -> None:
        """Finish a request."""
        request, site = self._request, self._site
        assert request is not None
        assert site is not None
        if self._body:
            request.body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
            self._body = []
        self._body_size = 0
        self.awaits = False
        self._request = None
        self._where = _BETWEEN
        self.requests.append((site, request))

    def _check_lines(self, data: bytes) -> None:
        """Check the line ends of a head, as far as it was received."""
        end = data.find(b"\r\n\r\n")
        head = data if end < 0 else data[:end]
        # A line feed at the very beginning may end the line of the piece before.
        if _DOUBTFUL_LINES.search(head, 1 if head[:1] == b"\n" and self._where is _HEAD else 0):
            raise Refusal(HTTPStatus.BAD_REQUEST, "A line of the head does not end with CR LF, or is folded")

    def _check_head(self) -> None:
        limit = self._max_header if self._site is None else self._site.limits.max_header
        if max(self._head_size, self._raw_head) <= limit and self._lines <= _MAX_LINES:
            return
        if not self._headers and not self._lines:
            raise self._refuse(HTTPStatus.REQUEST_URI_TOO_LONG, "The request line is too long")
        raise self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "The headers are too large")

    def _refuse(self, status: HTTPStatus, reason: str) -> Refusal:
        self._refusal = Refusal(status, reason)
        return self._refusal

    def _too_large(self, site: Site) -> Refusal:
        return self._refuse(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"The body is larger than {site.limits.max_body} bytes"
        )

    def _reason(self, data: bytes, error: httptools.HttpParserError) -> Refusal:
        """Return the refusal for an error of llhttp, by its class; its texts may change."""
        if self._where is _BODY:
            return Refusal(HTTPStatus.BAD_REQUEST, "The framing of the body is broken")
        line = _VERSION_LINE.match(data)
        if line and line[1].decode("ascii") not in _VERSIONS:
            return Refusal(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "HTTP/1.1 and HTTP/1.0 are spoken here")
        if _HUGE_LENGTH.search(data):
            return Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The body is too large")
        return Refusal(HTTPStatus.BAD_REQUEST, f"The request is malformed: {error}")


def _name(name: bytes) -> str:
    if _TOKEN.fullmatch(name) is None:
        return ""
    text = name.decode("latin-1").lower()
    if len(_NAMES) < _MAX_NAMES and len(name) < 64:
        _NAMES[name] = text
    return text
