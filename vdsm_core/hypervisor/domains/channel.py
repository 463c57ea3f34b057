"""Channels to programs within a guest (virtio-serial ports), as streams of libvirt."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Final

import libvirt

from vdsm_core.errors import VdsmError
from vdsm_core.hypervisor.connection.caller import Caller, lookup
from vdsm_core.hypervisor.connection.pool import ConnectionPool
from vdsm_core.hypervisor.error_mapping import translate
from vdsm_core.hypervisor.errors import AgentUnavailable

log = logging.getLogger(__name__)

#: Bytes that are read at once.
_CHUNK: Final = 65_536
#: What a stream returns that has nothing to read, or no room for what is written.
_WOULD_BLOCK: Final = -2
_OPENING: Final = "open_channel"


class Channel:
    """One channel of a running domain, from this side.

    `received` is called with what the guest sends, and `closed` once, with the reason, when it ends otherwise
    than by `close`. Both are called on libvirt's event loop or in a worker: they must not block.
    """

    def __init__(
        self, caller: Caller, uuid: str, received: Callable[[bytes], None], closed: Callable[[str], None]
    ) -> None:
        self._caller = caller
        self._uuid = uuid
        self._received = received
        self._closed = closed
        self._lock = threading.Lock()
        self._stream: Any = None
        self._over = False

    @property
    def is_open(self) -> bool:
        """Whether data can be sent."""
        return self._stream is not None and not self._over

    def send(self, data: bytes) -> None:
        """Send data to the guest. Never blocks.

        :raises AgentUnavailable: the channel is closed, or the guest does not read what it was sent before
        """
        with self._lock:
            stream = self._stream
            if stream is None or self._over:
                raise _unavailable("the channel is not open")
            while data:
                try:
                    sent = stream.send(data)
                except libvirt.libvirtError as error:
                    raise _unavailable(str(error)) from None
                if sent == _WOULD_BLOCK:
                    raise _unavailable("the guest does not read")
                data = data[sent:]

    def close(self) -> None:
        """Close it, in the background."""
        self._end("")

    def open(self, connection: Any, name: str) -> None:
        """Open it, in a worker.

        :param name: of the port
        """
        stream = connection.newStream(libvirt.VIR_STREAM_NONBLOCK)
        lookup(connection, self._uuid).openChannel(name, stream, 0)
        with self._lock:
            if not self._over:
                self._stream = stream
        if self._over:
            _abort(stream)
            return
        events = (
            libvirt.VIR_STREAM_EVENT_READABLE
            | libvirt.VIR_STREAM_EVENT_ERROR
            | libvirt.VIR_STREAM_EVENT_HANGUP
        )
        stream.eventAddCallback(events, self._happened, None)

    def fail(self, reason: str) -> None:
        """End it for a reason that `closed` gets."""
        if self._end(reason):
            self._closed(reason)

    def _happened(self, stream: Any, events: int, _opaque: Any) -> None:
        try:
            data = stream.recv(_CHUNK) if events & libvirt.VIR_STREAM_EVENT_READABLE else b""
        except libvirt.libvirtError as error:
            self.fail(str(error))
            return
        if data == _WOULD_BLOCK:
            return
        if not data:
            self.fail("it was closed by QEMU or by libvirt")
            return
        try:
            self._received(data)
        except Exception:
            # libvirt would print the traceback on stderr and forget it.
            log.exception("What came through a channel of domain %s cannot be handled", self._uuid)

    def _end(self, reason: str) -> bool:
        """Close the stream in a worker; whether it was not over before."""
        with self._lock:
            if self._over:
                return False
            self._over = True
            stream, self._stream = self._stream, None
        if stream is not None:
            try:
                self._caller.begin(lambda _connection: _abort(stream), "close_channel", self._uuid)
            except VdsmError as error:
                log.debug(
                    "The channel of domain %s ends with its connection: %s (%s)", self._uuid, error, reason
                )
        return True


class Channels:
    """Opens channels. They share connections of their own, on which no other call waits.

    A call of a channel counts as a call of its own, not as one on the domain.
    """

    def __init__(self, caller: Caller, pool: ConnectionPool, uri: str) -> None:
        self._caller = caller
        self._pool = pool
        self._uri = uri

    def open_soon(
        self,
        uuid: str,
        name: str,
        *,
        received: Callable[[bytes], None],
        closed: Callable[[str], None],
        opened: Callable[[Channel], None],
    ) -> Channel:
        """Open a channel in the background.

        :param name: of the port, such as "org.qemu.guest_agent.0"
        :param received: is called with what the guest sends
        :param closed: is called with the reason when the channel cannot be opened, or ends
        :param opened: is called with the channel when data can be sent
        :raises HypervisorUnavailable: libvirt is not reached
        :raises ResourceExhausted: too many calls are under way
        """
        channel = Channel(self._caller, uuid, received, closed)
        started = time.monotonic()

        def work(connection: Any) -> None:
            try:
                channel.open(connection, name)
            except libvirt.libvirtError as error:
                failure = translate(
                    error, uri=self._uri, operation=_OPENING, target=uuid, seconds=time.monotonic() - started
                )
            except VdsmError as error:
                failure = error
            else:
                if channel.is_open:
                    opened(channel)
                return
            channel.fail(str(failure))

        self._caller.begin(work, _OPENING, f"{uuid.lower()} (channel {name})", pool=self._pool)
        return channel


def _unavailable(reason: str) -> AgentUnavailable:
    return AgentUnavailable(operation="send", reason=reason, libvirt_code=libvirt.VIR_ERR_AGENT_UNRESPONSIVE)


def _abort(stream: Any) -> None:
    for end in (stream.eventRemoveCallback, stream.abort):
        try:
            end()
        except libvirt.libvirtError as error:
            log.debug("Closing a channel: %s", error)
