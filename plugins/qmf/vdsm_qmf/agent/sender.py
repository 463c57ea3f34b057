"""How the agent's messages leave: answers to whoever asked, indications to everybody."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any, Final

from vdsm_bridge.errors import VdsmError
from vdsm_qmf import forms
from vdsm_qmf.bus import Bus
from vdsm_qmf.bus.outbox import OnOutcome
from vdsm_qmf.failures import NotCarriable
from vdsm_qmf.message import Address, Request, compose, compose_data
from vdsm_qmf.names import TOPIC, AgentName

log = logging.getLogger(__name__)

#: Seconds that an answer waits for room before it is given up; who asked sees a timeout.
_PATIENCE: Final = 10.0


class Sender:
    """Sends in the name of one agent. Nothing here is called on the loop's thread, `indicate` apart.

    :param reply_queues: patterns of the queues that answers may go to
    """

    def __init__(self, bus: Bus, name: AgentName, reply_queues: tuple[str, ...]) -> None:
        self._bus = bus
        self._reply_queues = reply_queues
        self.agent = name
        self._name = str(name)

    def answer(self, request: Request, opcode: str, body: Any, content: str = "", **more: Any) -> bool:
        """Answer a request. False: there is nowhere to send it, or no room for it."""
        properties = forms.properties(opcode, self._name, forms.RESPONSE, content, **more)
        return self._reply(request, body, properties)

    def answer_locate(self, request: Request, attributes: Any) -> bool:
        """Answer who looks for agents; QMF counts that among the indications."""
        properties = forms.properties(forms.LOCATE_RESPONSE, self._name, forms.INDICATED)
        return self._reply(request, attributes, properties)

    def answer_list(self, request: Request, items: Iterable[Any], content: str, **more: Any) -> None:
        """Answer a query: an element a message, `partial` on all but the last."""
        for item, last in _with_last(items):
            body = [] if item is _NOTHING else [item]
            properties = forms.properties(
                forms.QUERY_RESPONSE, self._name, forms.RESPONSE, content, partial=not last, **more
            )
            if not self._reply(request, body, properties):
                return

    def refuse(self, request: Request, error: VdsmError, **more: Any) -> None:
        """Answer with an exception. Requests that are answers themselves get none."""
        if request.opcode in forms.ANSWERS:
            return
        properties = forms.properties(forms.EXCEPTION, self._name, forms.INDICATED, **more)
        self._reply(request, forms.exception(error), properties)

    def answer_v1(self, request: Request, data: bytes) -> None:
        """Answer a request of the first QMF: bytes, and no mark of QMFv2."""
        address = self._address(request)
        if address is not None:
            self._bus.send(address, compose_data(data, address, {"qmf.agent": self._name}), timeout=_PATIENCE)

    def indicate(
        self,
        key: str,
        opcode: str,
        body: Any,
        content: str = "",
        *,
        lifetime: float = 0.0,
        timeout: float = 0.0,
        outcome: OnOutcome | None = None,
    ) -> int:
        """Tell everybody who listens.

        :returns: bytes; 0 if there was no room
        """
        address = Address(TOPIC, key)
        properties = forms.properties(opcode, self._name, forms.INDICATED, content)
        data = compose(body, address, properties, ttl=lifetime)
        sent = self._bus.send(address, data, timeout=timeout, lifetime=lifetime, outcome=outcome)
        return len(data) if sent else 0

    def _reply(self, request: Request, body: Any, properties: Mapping[str, Any]) -> bool:
        address = self._address(request)
        if address is None:
            return False
        try:
            data = compose(body, address, dict(properties), correlation_id=request.correlation_id)
        except NotCarriable as error:
            refused = forms.properties(forms.EXCEPTION, self._name, forms.INDICATED)
            data = compose(forms.exception(error), address, refused, correlation_id=request.correlation_id)
        if self._bus.send(address, data, timeout=_PATIENCE):
            return True
        log.warning("An answer of %d bytes was given up: the broker does not take it", len(data))
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
    """Each item, and whether it is the last; one `_NOTHING` if there is none."""
    last = _NOTHING
    for item in items:
        if last is not _NOTHING:
            yield last, False
        last = item
    yield last, True
