"""The agent: one host on the message bus."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable
from typing import Any, Final

from vdsm_bridge import Bridge, WaitSlots, report_incident
from vdsm_bridge.errors import ResourceExhausted, VdsmError
from vdsm_qmf import forms, message, v1
from vdsm_qmf.agent.callers import Callers
from vdsm_qmf.agent.eventpump import EventPump
from vdsm_qmf.agent.inventory import Inventory
from vdsm_qmf.agent.methods import Methods
from vdsm_qmf.agent.queries import Queries
from vdsm_qmf.agent.replay import Replay
from vdsm_qmf.agent.schemas import Schemas
from vdsm_qmf.agent.sender import Sender
from vdsm_qmf.agent.watch import Watch
from vdsm_qmf.bus import Bus, BusSettings, Loop, Subscription
from vdsm_qmf.bus.loop import Timer
from vdsm_qmf.failures import Malformed, Oversized, UnknownOpcode
from vdsm_qmf.message import Request
from vdsm_qmf.names import DIRECT, LOCATE_KEY, TOPIC, AgentName
from vdsm_qmf.options import QmfOptions
from vdsm_qmf.predicate import compile_predicate
from vdsm_qmf.workers import Workers

log = logging.getLogger(__name__)

#: Messages that may wait to be read; their number is bounded by the credit already.
_PREPARED: Final = 10_000


class Agent:
    """Answers requests, and tells of itself, its events and its objects."""

    def __init__(
        self,
        bridge: Bridge,
        options: QmfOptions,
        settings: BusSettings,
        loop: Loop,
        *,
        name: AgentName,
        epoch: int,
    ) -> None:
        self.name = name
        self._bridge = bridge
        self._options = options
        self._epoch = epoch
        self._loop = loop
        own = (Subscription(TOPIC, LOCATE_KEY), Subscription(DIRECT, str(name)))
        self.bus = Bus(loop, settings, own, self)
        self._sender = Sender(self.bus, name, options.reply_queues)
        self._schemas = Schemas(bridge)
        inventory = Inventory(bridge)
        self._queries = Queries(bridge, self._schemas, inventory, name)
        self._methods = Methods(bridge, self._schemas, Replay(bridge), name)
        # Half of the threads is left to calls that do not wait for events.
        self._waiting = WaitSlots(max(1, options.threads // 2))
        self._callers = Callers(bridge, self._waiting, anonymous=options.anonymous)
        self._events = EventPump(bridge, self._schemas, self._sender, name)
        self._watch = Watch(
            inventory, self._queries, self._schemas, self._sender, interval=options.data_interval
        )
        # One thread reads every message in its order; what may take long goes on to the others.
        self._front = Workers(f"qmf front {name.instance}", 1, _PREPARED)
        self._workers = Workers(f"qmf {name.instance}", options.threads, options.queue)
        self._heartbeat: Timer | None = None

    def start(self) -> None:
        """Begin to connect; returns at once, whether a broker is there or not."""
        self._schemas.current()
        self._events.start()
        self._watch.start()
        self.bus.start()

    def stop(self, grace: float) -> None:
        """Let the calls that run end within `grace` seconds, send their answers, close."""
        deadline = time.monotonic() + grace
        self._waiting.end()
        self._watch.stop()
        self._events.stop()
        self._front.stop(max(0.0, deadline - time.monotonic()))
        self._workers.stop(max(0.0, deadline - time.monotonic()))
        self.bus.stop(max(0.1, deadline - time.monotonic()))

    # -- the bus

    def up(self) -> None:
        """See `Listener`."""
        self._beat()
        self._events.up()
        self._watch.set_up(up=True)

    def down(self, reason: str) -> None:
        """See `Listener`."""
        del reason
        if self._heartbeat is not None:
            self._heartbeat.cancel()
        self._events.down()
        self._watch.set_up(up=False)

    def received(self, data: bytes, link: int, *, oversized: bool) -> None:
        """See `Listener`."""
        came = time.monotonic()
        if not self._front.submit(lambda: self._read(data, link, came, oversized=oversized)):
            self.bus.done(link)

    def _beat(self) -> None:
        interval = self._options.heartbeat
        self._heartbeat = self._loop.call_later(interval, self._beat)
        if self.bus.is_up:
            # One that finds no room is followed by others.
            self._sender.indicate(
                self.name.heartbeat_key(), forms.HEARTBEAT, self._attributes(), lifetime=2 * interval
            )

    def _attributes(self) -> dict[str, Any]:
        return forms.attributes(
            self.name,
            now=time.time_ns(),
            interval=self._options.heartbeat,
            epoch=self._epoch,
            schema_updated=self._schemas.updated,
            connection=self.bus.connections,
            newest_event=self._events.position,
            hostname=socket.gethostname(),
        )

    # -- requests

    def _read(self, data: bytes, link: int, came: float, *, oversized: bool) -> None:
        """On the front thread: who asks what. Whatever happens, the credit goes back."""
        later = False
        try:
            try:
                if oversized:
                    limit = Oversized(limit=self._options.max_message)
                    request = message.parse_head(data, limit)
                else:
                    request = message.parse(data)
            except Malformed as error:
                log.warning("A message came in that cannot be read: %s", error)
                return
            later = self._dispatch(request, link, came)
        finally:
            if not later:
                self.bus.done(link)

    def _dispatch(self, request: Request, link: int, came: float) -> bool:
        """Do it, or have it done. True: a worker gives the credit back."""
        if request.opcode in forms.ANSWERS:
            return False
        work = self._quick(request) if request.broken is None else self._broken(request)
        if work is not None:
            self._carefully(request, work)
            return False
        job = self._slow(request, came)

        def run() -> None:
            try:
                self._carefully(request, job)
            finally:
                self.bus.done(link)

        if self._workers.submit(run):
            return True
        self._sender.refuse(
            request, ResourceExhausted(reason="too many calls wait already"), **self._revision
        )
        return False

    def _quick(self, request: Request) -> Callable[[], None] | None:
        """What needs no verb of the host, and so no worker."""
        if v1.is_request(request.body):
            return lambda: self._schema_v1(request)
        if request.opcode == forms.LOCATE_REQUEST:
            return lambda: self._locate(request)
        if request.opcode == forms.QUERY_REQUEST:
            return (lambda: self._schema_query(request)) if _is_about_schema(request) else None
        if request.opcode == forms.METHOD_REQUEST:
            return None
        return lambda: self._unknown(request)

    @staticmethod
    def _broken(request: Request) -> Callable[[], None]:
        def refuse() -> None:
            assert request.broken is not None
            raise request.broken

        return refuse

    def _carefully(self, request: Request, work: Callable[[], None]) -> None:
        try:
            work()
        except VdsmError as error:
            self._sender.refuse(request, error, **self._revision)
        except Exception:  # noqa: BLE001 - logged as an incident
            bug = report_incident(log, request.opcode or "The request", "A request from the bus")
            self._sender.refuse(request, bug, **self._revision)

    @property
    def _revision(self) -> dict[str, Any]:
        return {forms.REVISION: self._bridge.revision}

    @staticmethod
    def _unknown(request: Request) -> None:
        raise UnknownOpcode(opcode=request.opcode[:100] or "(none)")

    def _locate(self, request: Request) -> None:
        attributes = self._attributes()
        # Who looks for others hears nothing.
        if compile_predicate(request.body or None)(attributes["_values"]):
            self._sender.answer_locate(request, attributes)
            if request.properties.get(forms.OBJECTS) is not False:
                # After the answer: consoles drop objects of an agent that they do not know yet.
                self._watch.repeat()

    def _schema_v1(self, request: Request) -> None:
        wanted = v1.parse_request(request.body)
        found = self._schemas.current().by_hash.get(wanted.hash)
        if found is not None and (found.package, found.name) == (wanted.package, wanted.name):
            self._sender.answer_v1(request, v1.response(wanted.sequence, found))

    def _schema_query(self, request: Request) -> None:
        answers = self._queries.schema(request.body)
        assert answers is not None
        content, items = answers
        self._sender.answer_list(request, items, content, **self._revision)

    def _slow(self, request: Request, came: float) -> Callable[[], None]:
        if request.opcode == forms.QUERY_REQUEST:
            return lambda: self._object_query(request, came)
        return lambda: self._method(request, came)

    def _object_query(self, request: Request, came: float) -> None:
        context = self._callers.context(request, came)
        if not isinstance(request.body, dict):
            raise Malformed(reason="the body of a query must be a map")
        content, items = self._queries.objects(request.body, context)
        self._sender.answer_list(request, items, content, **self._revision)

    def _method(self, request: Request, came: float) -> None:
        context = self._callers.context(request, came)
        arguments = self._methods.invoke(request.body, context)
        self._sender.answer(
            request, forms.METHOD_RESPONSE, forms.method_response(arguments), **self._revision
        )


def _is_about_schema(request: Request) -> bool:
    # Whatever it is: a list is not hashable, so not in a set.
    return isinstance(request.body, dict) and request.body.get("_what") in ("SCHEMA", "SCHEMA_ID")
