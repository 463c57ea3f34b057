"""The bytes of a reply's head."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from email.utils import formatdate
from typing import Final

from vdsm_http.messages import Header, phrase

_STATUS: Final[dict[int, str]] = {}
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class _Date:
    """The `Date` header, written once a second."""

    def __init__(self) -> None:
        self._line = (0, "")

    def line(self) -> str:
        second, line = self._line
        now = int(time.time())
        if now != second:
            line = f"Date: {formatdate(now, usegmt=True)}\r\nServer: vdsm\r\n"
            self._line = (now, line)
        return line


_date: Final = _Date()


def head(status: int, headers: Iterable[Header], *, length: int | None, connection: str = "") -> bytes:
    """Return the status line and headers of a reply.

    :param length: bytes of the body; None leaves `Content-Length` out
    :param connection: the value of `Connection`, if it is sent
    :raises ValueError: a header has a line break or is not Latin-1
    """
    start = _STATUS.get(status)
    if start is None:
        start = _STATUS[status] = f"HTTP/1.1 {status} {phrase(status)}\r\n"
    lines = [f"{name}: {value}" for name, value in headers]
    text = "\r\n".join(lines)
    if text.count("\n") != max(0, len(lines) - 1) or text.count("\r") != max(0, len(lines) - 1):
        raise ValueError("a header of the reply has a line break")
    if lines:
        text += "\r\n"
    if length is not None:
        text += f"Content-Length: {length}\r\n"
    if connection:
        text += f"Connection: {connection}\r\n"
    return f"{start}{_date.line()}{text}\r\n".encode("latin-1")


def drop(pieces: deque[memoryview], sent: int) -> None:
    """Remove the bytes that were sent from the beginning of the pieces."""
    while sent:
        if len(pieces[0]) <= sent:
            sent -= len(pieces.popleft())
        else:
            pieces[0] = pieces[0][sent:]
            sent = 0
