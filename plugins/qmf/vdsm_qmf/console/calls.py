"""Requests that wait for their answer.

A request is sent again when its host, or the console, has a new connection to a broker: what was on its way
may be lost. It carries a request id, so that the host does the work once however often it is asked.
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
from vdsm_qmf import forms
from vdsm_qmf.bus import Bus, Timer
from vdsm_qmf.console.model import Host
from vdsm_qmf.message import PARTIAL, Address, Request, compose
from vdsm_qmf.names import DIRECT

#: Seconds that the host has more than its deadline, so that its own account of the delay arrives.
GRACE: Final = 2.0
#: Seconds that a request sent again waits for room.
_PATIENCE: Final = 5.0


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of one agent, however often it has to be sent."""

    host: str
    agent: str
    opcode: str
    body: Mapping[str, Any]
    timeout: float
    properties: Mapping[str, Any] = {}


class _Pending:
    """A question, its answer to come, and under which connections it was last sent."""

    def __init__(self, question: Question) -> None:
        self.question = question
        self.deadline = time.monotonic() + question.timeout
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

    :param user: whom the broker knows the console as; it goes into each request
    :param learn: called with each answer's properties and its host
    """

    def __init__(self, user: str, token: str, learn: Callable[[str, Mapping[str, Any]], None]) -> None:
        self._user = user
        self._token = token
        self._learn = learn
        self._bus: Bus | None = None
        #: Where the answers come to.
        self.key = f"vdsm-console-{uuid.uuid4()}"
        self._lock = threading.Lock()
        self._pending: dict[str, _Pending] = {}
        self._count = itertools.count(1)
        self._closed = False

    def attach(self, bus: Bus) -> None:
        """The bus to send on."""
        self._bus = bus

    def ask(self, question: Question, host: Host | None) -> Future[Any]:
        """Send a question, now or when the broker is there."""
        pending = _Pending(question)
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

    def again(self, hosts: Callable[[str], Host | None], only: str = "") -> None:
        """Send again what may have been lost: sent over another connection than there is now.

        :param only: requests to this host
        """
        assert self._bus is not None
        with self._lock:
            stale = [
                pending
                for pending in self._pending.values()
                if (not only or pending.question.host == only)
                and pending.sent != self._connections(hosts(pending.question.host))
            ]
            for pending in stale:
                del self._pending[pending.key]
                self._register(pending)
        for pending in stale:
            self._send(pending, hosts(pending.question.host), min(_PATIENCE, pending.left))

    def answered(self, request: Request) -> None:
        """An answer has come."""
        with self._lock:
            pending = self._pending.get(str(request.correlation_id))
        if pending is None:
            return
        self._learn(pending.question.host, request.properties)
        if request.broken is not None:
            self._end(pending, error=Unreachable(f"the answer cannot be read: {request.broken}"))
        elif request.opcode == forms.EXCEPTION:
            self._end(pending, error=_refused(request.body))
        elif request.opcode == forms.QUERY_RESPONSE:
            pending.parts += request.body if isinstance(request.body, list) else []
            if PARTIAL not in request.properties:
                self._end(pending, value=pending.parts)
        elif request.opcode == forms.METHOD_RESPONSE:
            told = request.body.get("_arguments") if isinstance(request.body, dict) else None
            self._end(pending, value=told or {})

    def close(self) -> None:
        """End everything that waits."""
        with self._lock:
            self._closed = True
            left = list(self._pending.values())
        for pending in left:
            self._end(pending, error=Unreachable("the console was closed"))

    def _register(self, pending: _Pending) -> None:
        # A new number each time: what comes late for an earlier one belongs to nothing.
        pending.key = str(next(self._count))
        pending.parts = []
        self._pending[pending.key] = pending

    def _limit(self, pending: _Pending) -> None:
        """On the loop's thread: no answer is waited for without end."""
        assert self._bus is not None
        if not pending.answer.done():
            pending.timer = self._bus.loop.call_later(pending.left + GRACE, lambda: self._late(pending))

    def _late(self, pending: _Pending) -> None:
        assert self._bus is not None
        question = pending.question
        text = f"{question.host} did not answer within {question.timeout:g} s"
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
        question = pending.question
        address = Address(DIRECT, question.agent)
        properties = forms.request_properties(question.opcode, **question.properties)
        properties[forms.TIMEOUT] = pending.left
        if self._token:
            properties[forms.TOKEN] = self._token
        try:
            data = compose(
                dict(question.body),
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
            self._end(pending, error=Unreachable("too much waits to be sent already"))

    def _end(self, pending: _Pending, *, value: Any = None, error: Exception | None = None) -> None:
        with self._lock:
            self._pending.pop(pending.key, None)
        timer = pending.timer
        if timer is not None:
            timer.cancel()
        with suppress(InvalidStateError):  # the caller may have cancelled it
            if error is not None:
                pending.answer.set_exception(error)
            else:
                pending.answer.set_result(value)


def _refused(body: Any) -> CallRefused:
    told = body.get("_values", {}) if isinstance(body, dict) else {}
    facts = told.get("facts")
    return CallRefused(
        str(told.get("slug", "error")),
        int(told.get("error_code", 7)),  # 7 where there is none, as console.py of Qpid has it
        str(told.get("error_text", "the host gave no reason")),
        facts if isinstance(facts, dict) else {},
    )
