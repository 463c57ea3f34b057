"""Incoming messages of a console: heartbeats and answers of agents, events, answers to calls."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from vdsm_qmf.bus import Bus
from vdsm_qmf.console import requests
from vdsm_qmf.console.calls import Calls
from vdsm_qmf.console.hosts import Hosts
from vdsm_qmf.console.stream import EventStream
from vdsm_qmf.protocol import bodies, message
from vdsm_qmf.protocol.errors import Malformed, Oversized
from vdsm_qmf.protocol.message import Request
from vdsm_qmf.protocol.names import DIRECT, AgentName
from vdsm_qmf.workers import Workers

log = logging.getLogger(__name__)

#: Messages that may wait to be parsed.
_MESSAGES: Final = 100_000
#: Bytes of the largest answer that is parsed.
MAX_ANSWER: Final = 256 * 1024 * 1024


class Receiver:
    """Parses what arrives on one thread, and hands it to hosts, calls and event streams."""

    def __init__(self, hosts: Hosts, calls: Calls) -> None:
        self._hosts = hosts
        self._calls = calls
        self._bus: Bus | None = None
        self._thread = Workers("qmf console front", 1, _MESSAGES)
        self._lock = threading.Lock()
        self._streams: tuple[EventStream, ...] = ()
        #: By host, the number of the newest event that has arrived. On the receiver's thread only.
        self._newest: dict[str, int] = {}
        #: Set once there has been a connection.
        self.connected = threading.Event()

    def attach(self, bus: Bus) -> None:
        """Receive from a bus."""
        self._bus = bus

    def run_later(self, work: Callable[[], None]) -> None:
        """Run work on the receiver's thread."""
        self._thread.submit(work)

    def stop(self) -> None:
        """End the thread."""
        self._thread.stop(1.0)

    # -- event streams

    def add(self, stream: EventStream) -> None:
        """Deliver events to a stream, from the next one on."""
        with self._lock:
            self._streams += (stream,)
        self.run_later(lambda: self._begin(stream))

    def remove(self, stream: EventStream) -> None:
        """Deliver no more events to a stream."""
        with self._lock:
            self._streams = tuple(one for one in self._streams if one is not stream)

    def close_streams(self) -> None:
        """Close all streams."""
        for stream in self._streams:
            stream.close()

    def _begin(self, stream: EventStream) -> None:
        # A stream begins after the newest event that has arrived here.
        for host in self._hosts.all():
            newest = max(host.newest_event, self._newest.get(host.id, 0))
            stream.update(msgspec.structs.replace(host, newest_event=newest))

    # -- the bus

    def up(self) -> None:
        """See `Listener`."""
        self.connected.set()
        self._hosts.set_connected(connected=True)
        self.run_later(self._locate)

    def down(self, reason: str) -> None:
        """See `Listener`."""
        log.info("The console has no connection: %s", reason)
        self._hosts.set_connected(connected=False)

    def received(self, data: bytes, link: int, *, oversized: bool) -> None:
        """See `Listener`."""
        if not self._thread.submit(lambda: self._parse(data, link, oversized=oversized)):
            log.warning("Dropped a message of %d bytes: too many are waiting", len(data))
            self._done(link)

    def _done(self, link: int) -> None:
        assert self._bus is not None
        self._bus.done(link)

    def _parse(self, data: bytes, link: int, *, oversized: bool) -> None:
        try:
            if oversized:
                # Fail the call now rather than at its timeout.
                request = message.parse_head(data, Oversized(limit=MAX_ANSWER))
            else:
                request = message.parse(data)
            self._dispatch(request)
        except (Malformed, ValueError, TypeError, KeyError) as error:
            # Any client of the bus can send anything.
            log.warning("Dropped a message that cannot be parsed: %r", error)
        finally:
            self._done(link)

    def _dispatch(self, request: Request) -> None:
        if request.opcode in {bodies.HEARTBEAT, bodies.LOCATE_RESPONSE}:
            if isinstance(request.body, dict):
                self._update(request.body)
        elif request.opcode == bodies.INDICATION:
            self._deliver(request)
        else:
            self._calls.answered(request)

    def _update(self, attributes: Mapping[str, Any]) -> None:
        host = self._hosts.update(attributes)
        if host is None:
            return
        self._calls.resend(self._hosts.get, host.id)
        for stream in self._streams:
            stream.update(host)

    def _deliver(self, request: Request) -> None:
        if request.properties.get(message.CONTENT) != bodies.EVENT or not isinstance(request.body, list):
            return
        agent = AgentName.parse(request.text(message.AGENT))
        if agent.kind != self._hosts.kind:
            return
        host = agent.instance
        for event in request.body:
            values = event.get("_values") if isinstance(event, dict) else None
            if isinstance(values, dict) and bodies.SEQ in values:
                self._newest[host] = int(values[bodies.SEQ])
                for stream in self._streams:
                    stream.receive(host, values)

    def _locate(self) -> None:
        """Locate all agents, and send again what may have been lost."""
        assert self._bus is not None
        dialect = self._bus.dialect
        if dialect is None:
            return
        data = requests.locate(dialect.reply_to(DIRECT, self._calls.key))
        self._bus.send(requests.LOCATE, data, timeout=1.0)
        self._calls.resend(self._hosts.get)
