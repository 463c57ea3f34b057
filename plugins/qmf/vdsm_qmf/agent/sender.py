"""Outgoing messages of the agent: answers to one console, indications to all."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any, Final

from vdsm_bridge.errors import VdsmError
from vdsm_qmf.bus import Bus
from vdsm_qmf.bus.send_queue import OnOutcome
from vdsm_qmf.protocol import bodies
from vdsm_qmf.protocol.errors import NotCarriable
from vdsm_qmf.protocol.message import Address, Request, compose, compose_data
from vdsm_qmf.protocol.names import TOPIC, AgentName

log = logging.getLogger(__name__)

#: Seconds that an answer waits for room before it is dropped; the console sees a timeout.
_ROOM_TIMEOUT: Final = 10.0


class Sender:
    """Sends in the name of one agent. Only `indicate` may be called on the loop's thread.

    :param reply_queues: patterns of the queues that answers may go to
    """

    def __init__(self, bus: Bus, name: AgentName, reply_queues: tuple[str, ...]) -> None:
        self._bus = bus
        self._reply_queues = reply_queues
        self.agent = name
        self._name = str(name)

    def answer(self, request: Request, opcode: str, body: Any, content: str = "", **more: Any) -> bool:
        """Answer a request.

        :returns: whether the answer has an address, and there was room for it
        """
        properties = bodies.properties(opcode, self._name, bodies.RESPONSE, content, **more)
        return self._reply(request, body, properties)

    def answer_locate(self, request: Request, attributes: Any) -> bool:
        """Answer a request that locates agents; in QMF the answer is an indication."""
        properties = bodies.properties(bodies.LOCATE_RESPONSE, self._name, bodies.INDICATED)
        return self._reply(request, attributes, properties)

    def answer_list(self, request: Request, items: Iterable[Any], content: str, **more: Any) -> None:
        """Answer a query with a message for each item; all but the last are `partial`."""
        for item, last in _with_last(items):
            body = [] if item is _NOTHING else [item]
            properties = bodies.properties(
                bodies.QUERY_RESPONSE, self._name, bodies.RESPONSE, content, partial=not last, **more
            )
            if not self._reply(request, body, properties):
                return

    def refuse(self, request: Request, error: VdsmError, **more: Any) -> None:
        """Answer with an exception, unless the message is an answer itself."""
        if request.opcode in bodies.ANSWERS:
            return
        properties = bodies.properties(bodies.EXCEPTION, self._name, bodies.INDICATED, **more)
        self._reply(request, bodies.exception(error), properties)

    def answer_v1(self, request: Request, data: bytes) -> None:
        """Answer a request of QMFv1 with bytes, without the properties of QMFv2."""
        address = self._address(request)
        if address is not None:
            self._bus.send(
                address, compose_data(data, address, {"qmf.agent": self._name}), timeout=_ROOM_TIMEOUT
            )

    def indicate(
        self,
        key: str,
        opcode: str,
        body: Any,
        content: str = "",
        *,
        lifetime: float = 0.0,
        timeout: float = 0.0,
        on_outcome: OnOutcome | None = None,
    ) -> int:
        """Send an indication to all consoles that subscribe to a key.

        :returns: size of the message in bytes; 0 if there was no room
        """
        address = Address(TOPIC, key)
        properties = bodies.properties(opcode, self._name, bodies.INDICATED, content)
        data = compose(body, address, properties, ttl=lifetime)
        sent = self._bus.send(address, data, timeout=timeout, lifetime=lifetime, on_outcome=on_outcome)
        return len(data) if sent else 0

    def _reply(self, request: Request, body: Any, properties: Mapping[str, Any]) -> bool:
        address = self._address(request)
        if address is None:
            return False
        try:
            data = compose(body, address, dict(properties), correlation_id=request.correlation_id)
        except NotCarriable as error:
            refusal = bodies.properties(bodies.EXCEPTION, self._name, bodies.INDICATED)
            data = compose(bodies.exception(error), address, refusal, correlation_id=request.correlation_id)
        if self._bus.send(address, data, timeout=_ROOM_TIMEOUT):
            return True
        log.warning("Dropped an answer of %d bytes: the broker did not accept it in time", len(data))
        return False

    def _address(self, request: Request) -> Address | None:
        dialect = self._bus.dialect
        address = dialect.parse(request.reply_to) if dialect is not None and request.reply_to else None
        if address is not None and (address.exchange or self._is_reply_queue(address.key)):
            return address
        log.debug("A request cannot be answered: its reply-to is '%s'", request.reply_to[:200])
        return None

    def _is_reply_queue(self, name: str) -> bool:
        return any(fnmatchcase(name, pattern) for pattern in self._reply_queues)


_NOTHING: Final = object()


def _with_last(items: Iterable[Any]) -> Iterator[tuple[Any, bool]]:
    """Yield each item, and whether it is the last; one `_NOTHING` if there are none."""
    last = _NOTHING
    for item in items:
        if last is not _NOTHING:
            yield last, False
        last = item
    yield last, True
