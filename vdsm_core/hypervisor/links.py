"""Connections to libvirt, opened as calls need them.

libvirtd works on five requests of one connection at a time (`max_client_requests`) and reads no further ones
meanwhile: a few calls that do not return would block all others. So each connection carries a few calls at
once, and the next call gets another connection.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any, Final

import libvirt

log = logging.getLogger(__name__)

#: Calls at once on one connection: one less than libvirtd's default of `max_client_requests`.
CALLS_EACH: Final = 4


class _Link:
    __slots__ = ("calls", "connection", "retired")

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.calls = 1
        self.retired = False


class Links:
    """The connections for one kind of calls."""

    def __init__(self, connect: Callable[[], Any], calls_each: int = CALLS_EACH) -> None:
        self._connect = connect
        self._calls_each = calls_each
        self._lock = threading.Lock()
        self._links: list[_Link] = []
        self._generation = 0

    @contextlib.contextmanager
    def lease(self) -> Iterator[Any]:
        """A connection for one call. Opens one when all are busy, which may take long: use it in a worker.

        :raises libvirtError: a new connection cannot be opened
        """
        link = self._reserve() or self._open()
        try:
            yield link.connection
        finally:
            self._release(link)

    def retire(self) -> None:
        """Use none of the present connections again; each is closed when its last call has returned."""
        with self._lock:
            self._generation += 1
            links, self._links = self._links, []
            for link in links:
                link.retired = True
            unused = [link for link in links if link.calls == 0]
        for link in unused:
            close(link.connection)

    def _reserve(self) -> _Link | None:
        dead = []
        try:
            with self._lock:
                for link in list(self._links):
                    if link.calls >= self._calls_each:
                        continue
                    if alive(link.connection):
                        link.calls += 1
                        return link
                    self._links.remove(link)
                    link.retired = True
                    if link.calls == 0:
                        dead.append(link)
            return None
        finally:
            for link in dead:
                close(link.connection)

    def _open(self) -> _Link:
        generation = self._generation
        link = _Link(self._connect())
        with self._lock:
            # One that took so long that its like were retired meanwhile serves this call only.
            link.retired = generation != self._generation
            if not link.retired:
                self._links.append(link)
        return link

    def _release(self, link: _Link) -> None:
        with self._lock:
            link.calls -= 1
            unused = link.retired and link.calls == 0
        if unused:
            close(link.connection)


def alive(connection: Any) -> bool:
    """Whether a connection can still be used, as far as is known on this side."""
    try:
        return bool(connection.isAlive())
    except libvirt.libvirtError:
        return False


def close(connection: Any) -> None:
    """Close a connection. One that is broken already is closed all the same."""
    try:
        connection.close()
    except libvirt.libvirtError as error:
        log.debug("Closing a connection: %s", error)
