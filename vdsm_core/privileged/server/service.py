"""Serving the one peer of the helper: connections, each on a thread, until the helper is to end."""

from __future__ import annotations

import logging
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Any, Final

from vdsm_core.errors import InvalidRequest
from vdsm_core.privileged.errors import HelperUnavailable
from vdsm_core.privileged.frames import (
    BEGUN,
    MAX_REQUEST,
    RELOAD,
    ConnectionEnded,
    Frames,
    ProtocolError,
    Reply,
    failed,
    framed,
    peer_uid,
    request_of,
)
from vdsm_core.privileged.operation import Operation
from vdsm_core.privileged.server.dispatch import Dispatcher

log = logging.getLogger("vdsm.helper")

#: Connections at the same time, and so operations.
MAX_CONNECTIONS: Final = 64


class _Ending(Exception):
    """The helper ends; the operation was not begun."""


class Service:
    """Accepts connections of one user, and runs what they ask for.

    :param peers: the user ids that are accepted; empty: none
    """

    def __init__(self, listener: socket.socket, dispatcher: Dispatcher, peers: Collection[int]) -> None:
        self._listener = listener
        self._dispatcher = dispatcher
        self._peers = frozenset(peers)
        self._slots = threading.Semaphore(MAX_CONNECTIONS)
        self._changing = threading.Lock()
        self._running = 0
        self._stale = False
        self._ended = False
        self._connections: set[socket.socket] = set()
        self._wake, self._waker = os.pipe()
        os.set_blocking(self._waker, False)

    def serve(self, *, lifeline: int | None = None, stopped: Callable[[], bool] = lambda: False) -> None:
        """Serve until `finish` was called and no operation runs, or until it is stopped.

        :param lifeline: a descriptor whose end stops the serving
        :param stopped: asked after each `finish`; true ends the serving although operations run
        """
        self._listener.setblocking(False)
        poll = select.poll()
        for descriptor in (self._listener.fileno(), self._wake, *([] if lifeline is None else [lifeline])):
            poll.register(descriptor, select.POLLIN)
        while not (self._over() or stopped()):
            ready = {descriptor for descriptor, _ in poll.poll()}
            if lifeline in ready:
                return
            if self._wake in ready:
                os.read(self._wake, 64)
            if self._listener.fileno() in ready:
                self._accept()

    def finish(self) -> None:
        """End as soon as no operation runs. May be called from any thread, and by a signal's handler."""
        self._stale = True
        with suppress(BlockingIOError):
            os.write(self._waker, b"x")

    def drain(self, seconds: float) -> bool:
        """Begin nothing any more, and wait for what runs; whether all of it has ended."""
        deadline = time.monotonic() + seconds
        while True:
            with self._changing:
                self._ended = True
                if not self._running:
                    return True
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)

    def close(self) -> None:
        """Close every connection."""
        with self._changing:
            self._ended = True
            for connection in self._connections:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        os.close(self._wake)
        os.close(self._waker)

    def _over(self) -> bool:
        with self._changing:
            if self._stale and not self._running:
                self._ended = True
        return self._ended

    def _accept(self) -> None:
        if not self._slots.acquire(timeout=0.1):
            return
        try:
            connection, _ = self._listener.accept()
        except OSError:
            # It has gone, or another process of the helper has taken it.
            self._slots.release()
            return
        uid = peer_uid(connection)
        if uid not in self._peers:
            log.warning("A connection of user id %d was refused: it is not the daemon's", uid)
            self._refuse(connection, uid)
            self._slots.release()
            return
        connection.setblocking(True)
        with self._changing:
            self._connections.add(connection)
        threading.Thread(target=self._attend, args=(connection,), name="connection", daemon=True).start()

    @staticmethod
    def _refuse(connection: socket.socket, uid: int) -> None:
        reason = f"the helper serves the daemon's account only, and not user id {uid}. Set [daemon] user"
        error = HelperUnavailable(operation="", reason=reason)
        with suppress(OSError), connection:
            connection.setblocking(False)
            connection.send(framed(failed(error.slug, str(error), error.facts)))

    def _attend(self, connection: socket.socket) -> None:
        frames = Frames(connection, MAX_REQUEST)
        try:
            with connection:
                while self._exchange(frames):
                    pass
        except (ConnectionEnded, _Ending):
            pass
        except ProtocolError as error:
            log.warning("A connection was closed: %s", error)
        except OSError as error:
            log.info("A connection has ended: %s", error)
        finally:
            with self._changing:
                self._connections.discard(connection)
            self._slots.release()

    def _exchange(self, frames: Frames) -> bool:
        """Read a request and reply; whether the connection can be used on."""
        try:
            request = request_of(frames.receive())
        except ConnectionEnded:
            return False
        except ProtocolError as error:
            log.warning("A request was refused: %s", error)
            reply = failed(InvalidRequest.slug, str(error), {"reason": str(error)})
            frames.send(framed(reply))
            return False
        if request.operation == RELOAD:
            frames.send(framed(Reply("done")))
            self.finish()
            return True
        began = False

        def begun(operation: Operation[..., Any]) -> None:
            nonlocal began
            with self._changing:
                if self._ended:
                    raise _Ending
                self._running += 1
                began = True
            # A call that may be repeated needs no such mark, and its caller is not woken for it.
            if not operation.idempotent:
                frames.send(BEGUN)

        try:
            frames.send(framed(self._dispatcher.answer(request, begun)))
        finally:
            if began:
                self._one_less()
        return True

    def _one_less(self) -> None:
        with self._changing:
            self._running -= 1
            last = self._stale and not self._running
        if last:
            self.finish()
