"""One attempt at one connection: Proton's engine as an asyncio protocol."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from proton import Collector, Connection, Delivery, Event, EventType, Link, Transport

from vdsm_bridge.errors import VdsmError
from vdsm_qmf.bus.loop import Loop, Timer
from vdsm_qmf.bus.security import Broker, Security, prepare

log = logging.getLogger(__name__)

_CHUNK: Final = 64 * 1024
#: Seconds until the next address of a broker is tried beside one that does not answer (RFC 8305, section 5).
_NEXT_ADDRESS: Final = 0.25


class ConnectionHandler(Protocol):
    """What acts on the events of a connection. Everything is called on the loop's thread."""

    def opened(self) -> None:
        """Handle that the broker has accepted the connection."""

    def link_opened(self, link: Link) -> None:
        """Handle the broker's answer to an attach."""

    def credited(self, link: Link) -> None:
        """Handle new credit of a link."""

    def delivered(self, delivery: Delivery) -> None:
        """Handle an incoming delivery, or the new state of an outgoing one."""

    def ended(self, reason: str) -> None:
        """Handle the end of the connection, or of the attempt. No other call follows."""


class BrokerConnection(asyncio.BufferedProtocol):
    """A connection to a broker, from the resolution of its name to its end.

    :param idle_timeout: seconds of silence of the broker after which it counts as gone
    """

    def __init__(
        self,
        loop: Loop,
        broker: Broker,
        security: Security,
        handler: ConnectionHandler,
        *,
        container: str,
        idle_timeout: float,
    ) -> None:
        self._loop = loop
        self._broker = broker
        self._security = security
        self._handler: ConnectionHandler | None = handler
        self._idle_timeout = idle_timeout
        self._task: asyncio.Task[None] | None = None
        self._socket: asyncio.Transport | None = None
        #: Whether the socket's buffer has room. What it has no room for stays in Proton, where it is counted.
        self._writable = True
        self._reading = True
        self._buffer = memoryview(bytearray(_CHUNK))
        self._reason = ""
        self._collector = Collector()
        self._engine = Transport()
        self.connection = Connection()
        self.connection.container = container
        self._tick_timer: Timer | None = None
        self._actions: Mapping[EventType, Callable[[Any], None]] = {
            Event.CONNECTION_REMOTE_OPEN: lambda _event: handler.opened(),
            Event.CONNECTION_REMOTE_CLOSE: self._remote_close,
            Event.SESSION_REMOTE_CLOSE: self._remote_close,
            Event.LINK_REMOTE_CLOSE: self._remote_close,
            Event.LINK_REMOTE_DETACH: self._remote_close,
            Event.LINK_REMOTE_OPEN: lambda event: handler.link_opened(event.link),
            Event.LINK_FLOW: lambda event: handler.credited(event.link),
            Event.DELIVERY: lambda event: handler.delivered(event.delivery),
        }

    def open(self) -> None:
        """Begin to connect. The handler is called with whatever follows."""
        self._task = self._loop.create_task(self._connect())

    def close(self) -> None:
        """Close in order; `ended` follows when the broker has answered."""
        self.connection.close()
        self.pump()

    def abandon(self, reason: str) -> None:
        """End at once, without an AMQP close."""
        self._end(reason)

    def pump(self) -> None:
        """Process what arrived, and write what is to be sent."""
        if self._socket is None:
            return
        self._dispatch()
        if self._handler is not None:
            self._write()
            self._dispatch()
            self._update_socket()

    # -- connecting

    async def _connect(self) -> None:
        broker = self._broker
        try:
            self.connection.collect(self._collector)
            prepare(self._engine, self.connection, broker, self._security)
            self._engine.idle_timeout = self._idle_timeout
            self.connection.open()
            await self._loop.event_loop.create_connection(
                lambda: self, broker.host, broker.port, happy_eyeballs_delay=_NEXT_ADDRESS
            )
        except VdsmError as error:
            self._end(str(error))
        except socket.gaierror as error:
            self._end(f"the name of the host cannot be resolved: {error.strerror or error}")
        except OSError as error:
            self._end(os.strerror(error.errno) if error.errno else str(error))

    # -- asyncio's protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.BufferedProtocol`."""
        assert isinstance(transport, asyncio.Transport)
        if self._handler is None:
            transport.abort()
            return
        self._socket = transport
        self.pump()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return a buffer no larger than what Proton takes."""
        del sizehint
        return self._buffer[: min(self._engine.capacity(), _CHUNK)]

    def buffer_updated(self, nbytes: int) -> None:
        """Hand what arrived to Proton."""
        if self._handler is not None:
            self._engine.push(bytes(self._buffer[:nbytes]))
            self.pump()

    def connection_lost(self, exc: Exception | None) -> None:
        """End, unless this end did so itself."""
        reason = (
            (getattr(exc, "strerror", None) or str(exc)) if exc else "the broker has closed the connection"
        )
        self._reason = self._reason or reason
        if self._handler is not None:
            self._engine.close_tail()
            self._engine.close_head()
            self._dispatch()
            self._end(self._reason)

    def pause_writing(self) -> None:
        """See `asyncio.BufferedProtocol`."""
        self._writable = False

    def resume_writing(self) -> None:
        """See `asyncio.BufferedProtocol`."""
        self._writable = True
        self.pump()

    # -- at work

    def _write(self) -> None:
        self._tick()
        assert self._socket is not None
        while self._writable and (pending := self._engine.pending()) > 0:
            data = self._engine.peek(pending) or b""
            self._socket.write(data)
            self._engine.pop(len(data))

    def _tick(self) -> None:
        """Let Proton send heartbeats of AMQP in time, and wait for those of the broker."""
        now = time.monotonic()
        at = self._engine.tick(now)
        if self._tick_timer is not None:
            if self._is_early_enough(at):
                # It fires early and is set anew: cheaper than one timer for each message.
                return
            self._tick_timer.cancel()
            self._tick_timer = None
        if at:
            self._tick_timer = self._loop.call_later(max(0.0, at - now), self._ticked)

    def _is_early_enough(self, at: float) -> bool:
        # asyncio's clock is `time.monotonic`.
        return self._tick_timer is not None and self._tick_timer.when() <= at

    def _ticked(self) -> None:
        self._tick_timer = None
        self.pump()

    def _dispatch(self) -> None:
        while self._handler is not None and (event := self._collector.peek()) is not None:
            action = self._actions.get(event.type)
            if action is not None:
                action(event)
            if self._handler is not None:
                self._collector.pop()

    def _update_socket(self) -> None:
        if self._socket is None:
            return
        if self._engine.closed:
            self._end(self._reason or _text_of(self._engine.condition) or "the connection was closed")
            return
        reading = self._engine.capacity() > 0
        if reading != self._reading:
            self._reading = reading
            if reading:
                self._socket.resume_reading()
            else:
                self._socket.pause_reading()

    # -- the end

    def _remote_close(self, event: Any) -> None:
        self._reason = self._reason or _text_of(event.context.remote_condition) or "the broker closed it"
        # A session or a link that the broker ends leaves half an agent: everything is opened anew.
        self.connection.close()

    def _end(self, reason: str) -> None:
        handler, self._handler = self._handler, None
        if handler is None:
            return
        if self._task is not None:
            self._task.cancel()
        if self._socket is not None:
            self._socket.abort()
            self._socket = None
        if self._tick_timer is not None:
            self._tick_timer.cancel()
        if self._engine.connection is not None:
            self._engine.unbind()
        self._collector.release()
        self._actions = {}
        handler.ended(reason)


def _text_of(condition: Any) -> str:
    if condition is None:
        return ""
    return ": ".join(str(part) for part in (condition.name, condition.description) if part)
