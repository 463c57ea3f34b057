"""Connections to libvirt, opened as calls need them.

Each connection carries one call at a time. libvirtd works on five requests of one connection at once
(`max_client_requests`) and leaves further ones unread, so a few calls that do not return would block all that
share their connection. And with libvirt 9.0, calls beside one that does not return were seen to be answered
only when the next keepalive message woke the connection up.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import libvirt

log = logging.getLogger(__name__)


class _Pooled:
    __slots__ = ("connection", "generation", "used")

    def __init__(self, connection: Any, generation: int) -> None:
        self.connection = connection
        self.generation = generation
        #: When its last call ended, on the monotonic clock.
        self.used = 0.0


class ConnectionPool:
    """Connections for one kind of call."""

    def __init__(self, connect: Callable[[], Any]) -> None:
        self._connect = connect
        self._lock = threading.Lock()
        self._idle: list[_Pooled] = []
        self._generation = 0

    @contextlib.contextmanager
    def lease(self) -> Iterator[Any]:
        """Lend a connection for one call. Opens one when all are busy, which may take long: use a worker.

        :raises libvirtError: a new connection cannot be opened
        """
        pooled = self._take() or self._open()
        try:
            yield pooled.connection
        finally:
            self._give_back(pooled)

    def retire(self) -> None:
        """Use none of the present connections again: those in use are closed when their calls return."""
        with self._lock:
            self._generation += 1
            idle, self._idle = self._idle, []
        for pooled in idle:
            close(pooled.connection)

    def prune(self, seconds: float) -> None:
        """Close the connections that have not been used for so long, save one."""
        limit = time.monotonic() - seconds
        with self._lock:
            # The last one is used first, so the first one is the one that is needed least.
            unused = [pooled for pooled in self._idle[:-1] if pooled.used < limit]
            self._idle = [pooled for pooled in self._idle if pooled not in unused]
        for pooled in unused:
            close(pooled.connection)

    def _take(self) -> _Pooled | None:
        while True:
            with self._lock:
                if not self._idle:
                    return None
                pooled = self._idle.pop()
            if alive(pooled.connection):
                return pooled
            close(pooled.connection)

    def _open(self) -> _Pooled:
        generation = self._generation
        return _Pooled(self._connect(), generation)

    def _give_back(self, pooled: _Pooled) -> None:
        with self._lock:
            # One that took so long that its like were retired meanwhile has served its last call.
            keep = pooled.generation == self._generation
            if keep:
                pooled.used = time.monotonic()
                self._idle.append(pooled)
        if not keep:
            close(pooled.connection)


def alive(connection: Any) -> bool:
    """Return whether a connection can still be used, as far as is known on this side."""
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
