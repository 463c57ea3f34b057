"""The HTTP parser of the front."""

from __future__ import annotations

from vdsm_http import Limits, Peer, Refusal, Response, Site
from vdsm_http.parser import RequestParser

_SITE = Site("fuzz", lambda _request: Response(200), Limits(max_header=4_096, max_body=10_000))
#: How far two connections with the same bytes got: requests, and whether they were refused.
_Reading = tuple[list[tuple[str, str, bytes]], bool]


def requests(data: bytes) -> None:
    """Requests are the same however the bytes are split: request smuggling is impossible.

    The first byte is the size of the pieces.
    """
    size, content = (data[0] or 1, data[1:]) if data else (1, b"")
    whole, whole_refused = _read(content, max(1, len(content)))
    pieces, pieces_refused = _read(content, size)
    if not (whole_refused or pieces_refused):
        assert whole == pieces, (whole, pieces)
    else:
        # A refusal may come a piece earlier or later, and what was read before it does not differ.
        common = min(len(whole), len(pieces))
        assert whole[:common] == pieces[:common], (whole, pieces)


def _read(content: bytes, size: int) -> _Reading:
    parser = RequestParser(Peer("192.0.2.1"), lambda _method, _path: _SITE, 4_096)
    refused = False
    for begin in range(0, len(content), size):
        try:
            parser.feed(content[begin : begin + size])
        except Refusal:
            refused = True
            break
        if parser.upgraded is not None:
            break
        if parser.requests and not parser.requests[-1][1].keep_alive:
            break
    parser.release()
    return [(request.method, request.target, request.body) for _, request in parser.requests], refused
