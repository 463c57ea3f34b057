"""One attempt at one connection: the socket below Proton's engine."""

from __future__ import annotations

import errno
import ipaddress
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from proton import Collector, Connection, Delivery, Event, EventType, Link, Transport

from vdsm_bridge.errors import VdsmError
from vdsm_qmf.bus.loop import READ, WRITE, Loop
from vdsm_qmf.bus.security import Broker, Security, prepare

log = logging.getLogger(__name__)

_CHUNK: Final = 64 * 1024
#: The socket has not finished connecting (connect(2)).
_PENDING: Final = frozenset({errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EAGAIN})

AddressInfo = tuple[Any, Any, int, str, Any]


class Owner(Protocol):
    """Whom a wire tells what happens. Everything is called on the loop's thread."""

    def opened(self) -> None:
        """The broker has accepted the connection."""

    def link_opened(self, link: Link) -> None:
        """The broker has answered an attach."""

    def credited(self, link: Link) -> None:
        """A link has credit."""

    def delivered(self, delivery: Delivery) -> None:
        """A delivery came in, or one that went out has changed its state."""

    def ended(self, reason: str) -> None:
        """The connection is gone, or never came to be. Nothing is called after this."""


class Wire:
    """A connection to a broker, from the lookup of its address to its end.

    :param idle_timeout: seconds of silence of the broker after which it counts as gone
    """

    def __init__(
        self,
        loop: Loop,
        broker: Broker,
        security: Security,
        owner: Owner,
        *,
        container: str,
        idle_timeout: float,
    ) -> None:
        self._loop = loop
        self._broker = broker
        self._security = security
        self._owner: Owner | None = owner
        self._idle_timeout = idle_timeout
        self._socket: socket.socket | None = None
        self._connecting = False
        self._reason = ""
        self._addresses: list[AddressInfo] = []
        self._collector = Collector()
        self._transport = Transport()
        self.connection = Connection()
        self.connection.container = container
        self._ticking: Any = None
        self._actions: Mapping[EventType, Callable[[Any], None]] = {
            Event.CONNECTION_REMOTE_OPEN: lambda _event: self._tell().opened(),
            Event.CONNECTION_REMOTE_CLOSE: self._remote_close,
            Event.SESSION_REMOTE_CLOSE: self._remote_close,
            Event.LINK_REMOTE_CLOSE: self._remote_close,
            Event.LINK_REMOTE_DETACH: self._remote_close,
            Event.LINK_REMOTE_OPEN: lambda event: self._tell().link_opened(event.link),
            Event.LINK_FLOW: lambda event: self._tell().credited(event.link),
            Event.DELIVERY: lambda event: self._tell().delivered(event.delivery),
        }

    def open(self) -> None:
        """Begin. Whatever comes of it is told to the owner."""
        host = self._broker.host
        try:
            ipaddress.ip_address(host)
        except ValueError:
            # A resolver that hangs must not stop the loop.
            threading.Thread(target=self._resolve, name=f"resolve {host}", daemon=True).start()
        else:
            self._resolve()

    def close(self) -> None:
        """Say goodbye; `ended` follows when the broker has answered."""
        self.connection.close()
        self.pump()

    def abandon(self, reason: str) -> None:
        """End it at once, without a word to the broker."""
        self._end(reason)

    def pump(self) -> None:
        """Let the engine work on what came in, and write what goes out."""
        if self._socket is None or self._connecting:
            return
        self._dispatch()
        if self._owner is not None:
            self._write()
            self._dispatch()
            self._watch()

    # -- connecting

    def _resolve(self) -> None:
        try:
            found = socket.getaddrinfo(self._broker.host, self._broker.port, type=socket.SOCK_STREAM)
        except OSError as error:
            reason = f"the name of the host is not known: {error.strerror or error}"
            self._loop.call_soon(lambda: self._end(reason))
        else:
            self._loop.call_soon(lambda: self._start(found))

    def _start(self, addresses: list[AddressInfo]) -> None:
        if self._owner is None:
            return
        self._addresses = addresses
        try:
            self.connection.collect(self._collector)
            prepare(self._transport, self.connection, self._broker, self._security)
        except VdsmError as error:
            self._end(str(error))
            return
        self._transport.idle_timeout = self._idle_timeout
        self.connection.open()
        self._try_next("there is no address")

    def _try_next(self, reason: str) -> None:
        self._drop_socket()
        if not self._addresses:
            self._end(reason)
            return
        family, kind, protocol, _, address = self._addresses.pop(0)
        self._socket = socket.socket(family, kind, protocol)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        self._connecting = True
        code = self._socket.connect_ex(address)
        if code and code not in _PENDING:
            self._try_next(os.strerror(code))
        else:
            self._loop.watch(self._socket, WRITE, self._ready)

    # -- at work

    def _ready(self, events: int) -> None:
        if self._socket is None:
            return
        if self._connecting:
            code = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                self._try_next(os.strerror(code))
                return
            self._connecting = False
        elif events & READ:
            self._read()
        self.pump()

    def _read(self) -> None:
        capacity = self._transport.capacity()
        if capacity <= 0:
            return
        assert self._socket is not None
        try:
            data = self._socket.recv(min(capacity, _CHUNK))
        except BlockingIOError:
            return
        except OSError as error:
            self._reason = self._reason or error.strerror or str(error)
            data = b""
        if data:
            self._transport.push(data)
        else:
            self._reason = self._reason or "the broker has closed the connection"
            self._transport.close_tail()
            self._transport.close_head()

    def _write(self) -> None:
        self._tick()
        while self._socket is not None and (pending := self._transport.pending()) > 0:
            try:
                sent = self._socket.send(self._transport.peek(pending) or b"")
            except BlockingIOError:
                return
            except OSError as error:
                self._reason = self._reason or error.strerror or str(error)
                self._transport.close_tail()
                self._transport.close_head()
                return
            self._transport.pop(sent)

    def _tick(self) -> None:
        """Heartbeats of AMQP itself: ours go out in time, the broker's are waited for."""
        now = time.monotonic()
        at = self._transport.tick(now)
        if self._ticking is not None:
            if self._ticking.work is not None and now < self._ticking.at <= at:
                # It comes early and is set anew: cheaper than one timer for each message.
                return
            self._ticking.cancel()
            self._ticking = None
        if at and self._socket is not None:
            self._ticking = self._loop.call_later(max(0.0, at - now), self.pump)

    def _dispatch(self) -> None:
        while self._owner is not None and (event := self._collector.peek()) is not None:
            action = self._actions.get(event.type)
            if action is not None:
                action(event)
            if self._owner is not None:
                self._collector.pop()

    def _watch(self) -> None:
        if self._socket is None:
            return
        if self._transport.closed:
            self._end(self._reason or _condition(self._transport) or "the connection was closed")
            return
        wanted = READ if self._transport.capacity() > 0 else 0
        if self._transport.pending() > 0:
            wanted |= WRITE
        self._loop.watch(self._socket, wanted, self._ready)

    # -- the end

    def _remote_close(self, event: Any) -> None:
        context = event.context
        self._reason = self._reason or _condition_of(context.remote_condition) or "the broker closed it"
        # A session or a link that the broker ends leaves half an agent: it all begins anew.
        self.connection.close()

    def _end(self, reason: str) -> None:
        owner, self._owner = self._owner, None
        if owner is None:
            return
        self._drop_socket()
        if self._ticking is not None:
            self._ticking.cancel()
        if self._transport.connection is not None:
            self._transport.unbind()
        self._collector.release()
        self._actions = {}
        owner.ended(reason)

    def _drop_socket(self) -> None:
        if self._socket is not None:
            self._loop.watch(self._socket, 0, self._ready)
            self._socket.close()
            self._socket = None

    def _tell(self) -> Owner:
        assert self._owner is not None
        return self._owner


def _condition(transport: Transport) -> str:
    return _condition_of(transport.condition)


def _condition_of(condition: Any) -> str:
    if condition is None:
        return ""
    return ": ".join(str(part) for part in (condition.name, condition.description) if part)
