"""A site: the handler of requests that a binding passes to the front, with its limits."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import msgspec

from vdsm_http.messages import Request, Response

Handler = Callable[[Request], Response]


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of one site.

    `timeout` is in seconds: for a request from its first byte to its last, for a reply until it is read, and
    for the silence between two requests. A body or reply adds the time that it takes at 64 KiB/s.
    `max_header` and `max_body` are in bytes. `max_threads` bounds the requests that run at once; `backlog`
    those that wait. `max_connections` bounds the open connections of each listener.
    """

    timeout: float = 30.0
    max_header: int = 65_536
    max_body: int = 4 * 1024 * 1024
    max_threads: int = 100
    backlog: int = 1_000
    max_connections: int = 1_000


class Site:
    """One application on the front.

    :param name: names threads and log lines
    :param handler: answers a request. It may block. An exception is a bug, and becomes a 500
    :param claims: whether a request, by method and path, is this site's, where several share a listener
    :param refuse: the reply to a request that does not reach the handler
    """

    def __init__(
        self,
        name: str,
        handler: Handler,
        limits: Limits,
        *,
        claims: Callable[[str, str], bool] = lambda _method, _path: True,
        refuse: Callable[[HTTPStatus, str], Response] | None = None,
    ) -> None:
        self.name = name
        self.handler = handler
        self.limits = limits
        self.claims = claims
        self.refuse = refuse or plain_refusal
        #: Requests that run now, and those that wait for their turn; the loop keeps both.
        self.running = 0
        self.waiting: deque[Any] = deque()
        #: Whether it has left the front, or is about to.
        self.closing = False


def plain_refusal(status: HTTPStatus, reason: str) -> Response:
    """Return a refusal as plain text."""
    text = f"{reason}\n".encode()
    later = [("Retry-After", "1")] if status == HTTPStatus.SERVICE_UNAVAILABLE else []
    headers = [("Content-Type", "text/plain; charset=utf-8"), *later]
    return Response(status, headers, text, close=True)
