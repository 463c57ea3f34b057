"""Requests that wait for their answer.

A request is sent again when its host, or the console, has a new connection to a broker: what was under way
may be lost. It has a request id, so that the host executes it once, however often it arrives.
"""

from __future__ import annotations

import itertools
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Any, Final

import msgspec

from vdsm_bridge.errors import VdsmError
from vdsm_bridge.transport import CallRefused, Unreachable
from vdsm_qmf.bus import Bus, Timer
from vdsm_qmf.console.model import Host
from vdsm_qmf.protocol import bodies
from vdsm_qmf.protocol.message import PARTIAL, Address, Request, compose
from vdsm_qmf.protocol.names import DIRECT

#: Seconds to wait beyond the host's deadline, so that its own error about the delay arrives.
GRACE: Final = 2.0
#: Seconds that a request which is sent again waits for room.
_ROOM_TIMEOUT: Final = 5.0


class AgentRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request to one agent, however often it is sent."""

    host: str
    agent: str
    opcode: str
    body: Mapping[str, Any]
    timeout: float
    properties: Mapping[str, Any] = {}


class _Pending:
    """A request, the future of its answer, and the connections over which it was last sent."""

    def __init__(self, request: AgentRequest) -> None:
        self.request = request
        self.deadline = time.monotonic() + request.timeout
        self.answer: Future[Any] = Future()
        self.parts: list[Any] = []
        self.sent: tuple[int, int, int] | None = None
        self.timer: Timer | None = None
        self.key = ""

    @property
    def left(self) -> float:
        return max(0.0, self.deadline - time.monotonic())


class Calls:
    """All requests of one console.

    :param user: the console's user on the broker, for the `user-id` of each request
    :param token: a bearer token for the hosts
    """

    def __init__(self, user: str, token: str) -> None:
        self._user = user
        self._token = token
        #: By host, the revision of its API in its last answer.
        self._revisions: dict[str, str] = {}
        self._bus: Bus | None = None
        #: The routing key of the answers.
        self.key = f"vdsm-console-{uuid.uuid4()}"
        self._lock = threading.Lock()
        self._pending: dict[str, _Pending] = {}
        self._count = itertools.count(1)
        self._closed = False

    def attach(self, bus: Bus) -> None:
        """Send on a bus."""
        self._bus = bus

    def revision(self, host: str) -> str:
        """Return the revision of a host's API in its last answer; empty without an answer."""
        return self._revisions.get(host, "")

    def send(self, request: AgentRequest, host: Host | None) -> Future[Any]:
        """Send a request, now or when there is a connection."""
        pending = _Pending(request)
        assert self._bus is not None
        loop = self._bus.loop
        loop.call_soon(lambda: self._limit(pending))
        with self._lock:
            if self._closed:
                pending.answer.set_exception(Unreachable("the console is closed"))
                return pending.answer
            self._register(pending)
        self._send(pending, host, pending.left)
        return pending.answer

    def resend(self, hosts: Callable[[str], Host | None], only: str = "") -> None:
        """Send again what may be lost: what was sent over an earlier connection.

        :param only: id of the host whose requests are sent again; empty: all hosts
        """
        assert self._bus is not None
        with self._lock:
            stale = [
                pending
                for pending in self._pending.values()
                if (not only or pending.request.host == only)
                and pending.sent != self._connections(hosts(pending.request.host))
            ]
            for pending in stale:
                del self._pending[pending.key]
                self._register(pending)
        for pending in stale:
            self._send(pending, hosts(pending.request.host), min(_ROOM_TIMEOUT, pending.left))

    def answered(self, request: Request) -> None:
        """Handle an answer."""
        with self._lock:
            pending = self._pending.get(str(request.correlation_id))
        if pending is None:
            return
        revision = request.properties.get(bodies.REVISION)
        if isinstance(revision, str):
            self._revisions[pending.request.host] = revision
        if request.error is not None:
            self._end(pending, error=Unreachable(f"cannot parse the answer: {request.error}"))
        elif request.opcode == bodies.EXCEPTION:
            self._end(pending, error=_refused(request.body))
        elif request.opcode == bodies.QUERY_RESPONSE:
            pending.parts += request.body if isinstance(request.body, list) else []
            if PARTIAL not in request.properties:
                self._end(pending, value=pending.parts)
        elif request.opcode == bodies.METHOD_RESPONSE:
            arguments = request.body.get("_arguments") if isinstance(request.body, dict) else None
            self._end(pending, value=arguments or {})

    def close(self) -> None:
        """Fail all waiting requests."""
        with self._lock:
            self._closed = True
            left = list(self._pending.values())
        for pending in left:
            self._end(pending, error=Unreachable("the console was closed"))

    def _register(self, pending: _Pending) -> None:
        # A new number each time: late answers to an earlier one are ignored.
        pending.key = str(next(self._count))
        pending.parts = []
        self._pending[pending.key] = pending

    def _limit(self, pending: _Pending) -> None:
        """Set the timeout of a request. Called on the loop's thread."""
        assert self._bus is not None
        if not pending.answer.done():
            pending.timer = self._bus.loop.call_later(pending.left + GRACE, lambda: self._late(pending))

    def _late(self, pending: _Pending) -> None:
        assert self._bus is not None
        request = pending.request
        text = f"{request.host} did not answer within {request.timeout:g} s"
        if not self._bus.is_up:
            text += f"; no connection to the broker {self._bus.trouble}"
        self._end(pending, error=Unreachable(text))

    def _connections(self, host: Host | None) -> tuple[int, int, int]:
        assert self._bus is not None
        theirs = (host.epoch, host.connection) if host is not None else (0, 0)
        return self._bus.connections, *theirs

    def _send(self, pending: _Pending, host: Host | None, patience: float) -> None:
        bus = self._bus
        assert bus is not None
        if not bus.is_up or bus.dialect is None:
            return
        pending.sent = self._connections(host)
        request = pending.request
        address = Address(DIRECT, request.agent)
        properties = bodies.request_properties(request.opcode, **request.properties)
        properties[bodies.TIMEOUT] = pending.left
        if self._token:
            properties[bodies.TOKEN] = self._token
        try:
            data = compose(
                dict(request.body),
                address,
                properties,
                correlation_id=pending.key,
                reply_to=bus.dialect.reply_to(DIRECT, self.key),
                user_id=self._user,
                ttl=pending.left + GRACE,
            )
        except VdsmError as error:
            self._end(pending, error=CallRefused(error.slug, error.code, str(error)))
            return
        if not bus.send(address, data, timeout=patience, lifetime=pending.left):
            self._end(pending, error=Unreachable("the send queue is full; try again later"))

    def _end(self, pending: _Pending, *, value: Any = None, error: Exception | None = None) -> None:
        with self._lock:
            self._pending.pop(pending.key, None)
        timer = pending.timer
        if timer is not None:
            timer.cancel()
        with suppress(InvalidStateError):  # cancelled by the caller
            if error is not None:
                pending.answer.set_exception(error)
            else:
                pending.answer.set_result(value)


def _refused(body: Any) -> CallRefused:
    values = body.get("_values", {}) if isinstance(body, dict) else {}
    facts = values.get("facts")
    return CallRefused(
        str(values.get("slug", "error")),
        int(values.get("error_code", 7)),  # 7 where there is none, as console.py of Qpid has it
        str(values.get("error_text", "the host gave no reason")),
        facts if isinstance(facts, dict) else {},
    )
