"""The agent: one host on the message bus."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable
from typing import Any, Final

from vdsm_bridge import Bridge, WaitSlots, report_incident
from vdsm_bridge.errors import ResourceExhausted, VdsmError
from vdsm_qmf.agent.event_publisher import EventPublisher
from vdsm_qmf.agent.inventory import Inventory
from vdsm_qmf.agent.methods import Methods
from vdsm_qmf.agent.object_publisher import ObjectPublisher
from vdsm_qmf.agent.queries import Queries
from vdsm_qmf.agent.replay import Replay
from vdsm_qmf.agent.request_context import RequestContexts
from vdsm_qmf.agent.schema_cache import SchemaCache
from vdsm_qmf.agent.sender import Sender
from vdsm_qmf.bus import Bus, BusSettings, Loop, Subscription
from vdsm_qmf.bus.loop import Timer
from vdsm_qmf.options import QmfOptions
from vdsm_qmf.protocol import bodies, message
from vdsm_qmf.protocol.errors import Malformed, Oversized, UnknownOpcode
from vdsm_qmf.protocol.message import Request
from vdsm_qmf.protocol.names import DIRECT, LOCATE_KEY, TOPIC, AgentName
from vdsm_qmf.protocol.predicate import compile_predicate
from vdsm_qmf.schema import v1
from vdsm_qmf.workers import Workers

log = logging.getLogger(__name__)

#: Messages that may wait to be parsed; their number is bounded by the credit already.
_UNPARSED: Final = 10_000


class Agent:
    """Answers requests; sends heartbeats, events and objects unasked."""

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
        self._schemas = SchemaCache(bridge)
        inventory = Inventory(bridge)
        self._queries = Queries(bridge, self._schemas, inventory, name)
        self._methods = Methods(bridge, self._schemas, Replay(bridge), name)
        # Half of the threads stays free for calls that do not wait for events.
        self._waiting = WaitSlots(max(1, options.threads // 2))
        self._contexts = RequestContexts(bridge, self._waiting, anonymous=options.anonymous)
        self._events = EventPublisher(bridge, self._schemas, self._sender, name)
        self._objects = ObjectPublisher(
            inventory, self._queries, self._schemas, self._sender, interval=options.data_interval
        )
        # One thread parses all messages in their order; what may take long goes to the workers.
        self._front = Workers(f"qmf front {name.instance}", 1, _UNPARSED)
        self._workers = Workers(f"qmf {name.instance}", options.threads, options.queue)
        self._heartbeat: Timer | None = None

    def start(self) -> None:
        """Begin to connect; return at once, whether a broker can be reached or not."""
        self._schemas.current()
        if self._options.events:
            self._events.start()
        self._objects.start()
        self.bus.start()

    def stop(self, grace: float) -> None:
        """Wait up to `grace` seconds for running calls, send their answers, and close."""
        deadline = time.monotonic() + grace
        self._waiting.end()
        self._objects.stop()
        self._events.stop()
        self._front.stop(max(0.0, deadline - time.monotonic()))
        self._workers.stop(max(0.0, deadline - time.monotonic()))
        self.bus.stop(max(0.1, deadline - time.monotonic()))

    # -- the bus

    def up(self) -> None:
        """See `Listener`."""
        self._beat()
        self._events.up()
        self._objects.set_up(up=True)

    def down(self, reason: str) -> None:
        """See `Listener`."""
        del reason
        if self._heartbeat is not None:
            self._heartbeat.cancel()
        self._events.down()
        self._objects.set_up(up=False)

    def received(self, data: bytes, link: int, *, oversized: bool) -> None:
        """See `Listener`."""
        received = time.monotonic()
        if not self._front.submit(lambda: self._read(data, link, received, oversized=oversized)):
            self.bus.done(link)

    def _beat(self) -> None:
        interval = self._options.heartbeat
        self._heartbeat = self._loop.call_later(interval, self._beat)
        if self.bus.is_up:
            # A heartbeat without room is dropped: the next one follows.
            self._sender.indicate(
                self.name.heartbeat_key(), bodies.HEARTBEAT, self._attributes(), lifetime=2 * interval
            )

    def _attributes(self) -> dict[str, Any]:
        return bodies.attributes(
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

    def _read(self, data: bytes, link: int, received: float, *, oversized: bool) -> None:
        """Parse and dispatch a message, on the front thread. Its credit is always returned."""
        later = False
        try:
            try:
                if oversized:
                    limit = Oversized(limit=self._options.max_message)
                    request = message.parse_head(data, limit)
                else:
                    request = message.parse(data)
            except Malformed as error:
                log.warning("Dropped a message that cannot be parsed: %s", error)
                return
            later = self._dispatch(request, link, received)
        finally:
            if not later:
                self.bus.done(link)

    def _dispatch(self, request: Request, link: int, received: float) -> bool:
        """Answer a request, or hand it to a worker; return whether a worker returns the credit."""
        if request.opcode in bodies.ANSWERS:
            return False
        work = self._quick(request) if request.error is None else self._broken(request)
        if work is not None:
            self._answer_errors(request, work)
            return False
        try:
            # Before the request is queued: it counts for its client there.
            client = self._contexts.identify(request).client
        except VdsmError as error:
            self._sender.refuse(request, error, **self._revision)
            return False
        job = self._slow(request, received)

        def run() -> None:
            try:
                self._answer_errors(request, job)
            finally:
                self.bus.done(link)

        if self._workers.submit(run, client):
            return True
        self._sender.refuse(
            request,
            ResourceExhausted(reason="too many calls wait, of all or of one client ([plugin.qmf] queue)"),
            **self._revision,
        )
        return False

    def _quick(self, request: Request) -> Callable[[], None] | None:
        """Return the work of a request that calls no verb, and so needs no worker."""
        if v1.is_request(request.body):
            return lambda: self._schema_v1(request)
        if request.opcode == bodies.LOCATE_REQUEST:
            return lambda: self._locate(request)
        if request.opcode == bodies.QUERY_REQUEST:
            return (lambda: self._schema_query(request)) if _is_about_schema(request) else None
        if request.opcode == bodies.METHOD_REQUEST:
            return None
        return lambda: self._unknown(request)

    @staticmethod
    def _broken(request: Request) -> Callable[[], None]:
        def refuse() -> None:
            assert request.error is not None
            raise request.error

        return refuse

    def _answer_errors(self, request: Request, work: Callable[[], None]) -> None:
        try:
            work()
        except VdsmError as error:
            self._sender.refuse(request, error, **self._revision)
        except Exception:  # noqa: BLE001 - logged as an incident
            bug = report_incident(log, request.opcode or "The request", "A request from the bus")
            self._sender.refuse(request, bug, **self._revision)

    @property
    def _revision(self) -> dict[str, Any]:
        return {bodies.REVISION: self._bridge.revision}

    @staticmethod
    def _unknown(request: Request) -> None:
        raise UnknownOpcode(opcode=request.opcode[:100] or "(none)")

    def _locate(self, request: Request) -> None:
        attributes = self._attributes()
        # Agents that do not match do not answer.
        if compile_predicate(request.body or None)(attributes["_values"]):
            self._sender.answer_locate(request, attributes)
            if request.properties.get(bodies.OBJECTS) is not False:
                # After the answer: consoles drop objects of agents that have not answered yet.
                self._objects.repeat()

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

    def _slow(self, request: Request, received: float) -> Callable[[], None]:
        if request.opcode == bodies.QUERY_REQUEST:
            return lambda: self._object_query(request, received)
        return lambda: self._method(request, received)

    def _object_query(self, request: Request, received: float) -> None:
        context = self._contexts.context(request, received)
        if not isinstance(request.body, dict):
            raise Malformed(reason="the body of a query must be a map")
        content, items = self._queries.objects(request.body, context)
        self._sender.answer_list(request, items, content, **self._revision)

    def _method(self, request: Request, received: float) -> None:
        context = self._contexts.context(request, received)
        arguments = self._methods.invoke(request.body, context)
        self._sender.answer(
            request, bodies.METHOD_RESPONSE, bodies.method_response(arguments), **self._revision
        )


def _is_about_schema(request: Request) -> bool:
    # A tuple, not a set: the value may be a list, which is not hashable.
    return isinstance(request.body, dict) and request.body.get("_what") in ("SCHEMA", "SCHEMA_ID")
