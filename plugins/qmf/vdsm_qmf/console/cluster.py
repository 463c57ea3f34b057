"""The engine's side of the bus: every host of a cluster behind one object."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, as_completed
from typing import Any, Final, Self

import msgspec

from vdsm_bridge.transport import CallRefused, TransportError, Unreachable
from vdsm_qmf import forms, message, values
from vdsm_qmf.bus import Bus, BusSettings, Loop, Security, Subscription, parse_url
from vdsm_qmf.console.calls import GRACE, Calls, Question
from vdsm_qmf.console.hosts import Hosts, OnChange
from vdsm_qmf.console.model import Host, HostChange, Result
from vdsm_qmf.console.stream import EventStream
from vdsm_qmf.failures import Malformed, NotCarriable, Oversized
from vdsm_qmf.message import Address, Request, compose
from vdsm_qmf.names import DIRECT, LOCATE_KEY, PRODUCT, TOPIC, VENDOR, AgentName, escape
from vdsm_qmf.schema import AGENT_CLASS, PACKAGE
from vdsm_qmf.workers import Workers

log = logging.getLogger(__name__)

#: Seconds that a call may take if nothing else is said.
TIMEOUT: Final = 60.0
#: Seconds between two looks whether there is any hope to connect.
_LOOK: Final = 0.05
_MESSAGES: Final = 100_000
_LARGEST_ANSWER: Final = 256 * 1024 * 1024


class Cluster:
    """The hosts on a message bus.

    ::

        with Cluster("amqps://engine@broker", password=secret) as cluster:
            cluster.wait_for(hosts=3)
            for result in cluster.call_many(cluster.living(), "Host.getStats"):
                print(result.host, result.value or result.error)

    Every method may be called from any thread. `start`, or entering it, connects.

    :param url: amqp://user@broker:port or amqps://...; several, if there are several brokers
    :param security: how the console proves itself; by default with `password` and the user of the URL
    :param token: a bearer token for the hosts, instead of the broker's user
    :param vendor: of the hosts' agents, as `product`; agents of others are no hosts
    :param events: whether events are wanted at all
    :param on_change: called with every `HostChange`, on a thread of the console; it must not block
    """

    def __init__(
        self,
        url: str | Iterable[str],
        *,
        password: str = "",
        security: Security | None = None,
        token: str = "",
        dialect: str = "",
        vendor: str = VENDOR,
        product: str = PRODUCT,
        events: bool = True,
        on_change: OnChange = lambda _change: None,
    ) -> None:
        parsed = [parse_url(one) for one in ([url] if isinstance(url, str) else url)]
        secret = password or next((inner for _, inner, _ in parsed if inner), "")
        proof = security or Security(password=secret)
        self._settings = BusSettings(
            brokers=tuple(broker for broker, _, _ in parsed),
            security=proof,
            dialect=dialect,
            max_message=_LARGEST_ANSWER,
            # There are few consoles: they need not spare the broker as a thousand hosts do.
            reconnect_most=2.0,
        )
        user = parsed[0][0].user or proof.user
        self._calls = Calls("" if proof.anonymous else user, token, self._learn)
        self._kind = (vendor, product)
        agents = f"{escape(vendor)}.{escape(product)}"
        self._subscriptions = [
            Subscription(DIRECT, self._calls.key),
            Subscription(TOPIC, f"agent.ind.heartbeat.{agents}.#"),
        ]
        if events:
            self._subscriptions.append(Subscription(TOPIC, f"agent.ind.event.{PACKAGE}.*.*.{agents}.#"))
        self._on_change = on_change
        self._loop = Loop("qmf console")
        self._hosts = Hosts(self._loop, self._tell, self._kind)
        self._bus = Bus(self._loop, self._settings, self._subscriptions, self)
        self._calls.attach(self._bus)
        self._front = Workers("qmf console front", 1, _MESSAGES)
        self._streams: tuple[EventStream, ...] = ()
        self._lock = threading.Lock()
        self._connected = threading.Event()
        self._revisions: dict[str, str] = {}
        #: By host, the number of the newest event that has come. On the front thread only.
        self._newest: dict[str, int] = {}

    # -- life

    def start(self, timeout: float = 15.0) -> None:
        """Connect.

        :raises Unreachable: there was no connection within `timeout` seconds, or there will be none
        """
        self._loop.start()
        self._bus.start()
        end = time.monotonic() + timeout
        while not self._connected.wait(_LOOK) and time.monotonic() < end and not self._bus.is_refused:
            pass
        if not self._connected.is_set():
            trouble = self._bus.trouble
            self.close()
            raise Unreachable(f"cannot reach the message bus: {trouble}")

    def close(self) -> None:
        """End all calls and streams, and disconnect."""
        for stream in self._streams:
            stream.close()
        self._calls.close()
        self._bus.stop(1.0)
        self._loop.stop()
        self._front.stop(1.0)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    # -- hosts

    def hosts(self) -> list[Host]:
        """Every host that was heard of, by id, lost ones too."""
        return self._hosts.all()

    def living(self) -> list[str]:
        """The ids of the hosts that live."""
        return [host.id for host in self._hosts.all() if host.alive]

    def wait_for(self, *names: str, hosts: int = 0, timeout: float = 15.0) -> list[str]:
        """Wait until some hosts live.

        :param names: ids of hosts that must be among them
        :param hosts: how many they must be at least
        :raises Unreachable: they are not there within `timeout` seconds
        """
        wanted = set(names)

        def enough(living: list[Host]) -> bool:
            return len(living) >= hosts and wanted <= {host.id for host in living}

        if not self._hosts.wait(enough, timeout):
            missing = ", ".join(sorted(wanted - set(self.living()))) or f"{hosts} hosts"
            raise Unreachable(f"not on the bus within {timeout:g} s: {missing}; there: {len(self.living())}")
        return self.living()

    def revision(self, host: str) -> str:
        """The revision of a host's API by its last answer; empty if it has not answered yet."""
        return self._revisions.get(host, "")

    # -- calls

    def submit(
        self,
        host: str,
        verb: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        timeout: float = TIMEOUT,
        request_id: str = "",
        flow_id: str = "",
    ) -> Future[Any]:
        """Call a verb and do not wait. The future gives plain data, or raises as `call` does."""
        properties = {forms.REQUEST_ID: request_id or str(uuid.uuid4())}
        if flow_id:
            properties[forms.FLOW_ID] = flow_id
        body = {"_method_name": verb, "_arguments": dict(arguments or {})}
        if "." not in verb:
            # Only a full name needs no object; what is none is refused by its own words.
            oid = {"_object_name": AGENT_CLASS}
            inner = {"verb": verb, "arguments": dict(arguments or {})}
            body = {"_method_name": "call", "_object_id": oid, "_arguments": inner}
        asked = self._ask(host, forms.METHOD_REQUEST, body, timeout, properties)
        return _then(asked, _only_value)

    def call(
        self,
        host: str,
        verb: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        timeout: float = TIMEOUT,
        request_id: str = "",
        flow_id: str = "",
    ) -> Any:
        """Call a verb by its full name, `VM.pause`, with arguments by wire name.

        :param timeout: seconds; the host knows it as the deadline of the call
        :param request_id: the same id sent again gets the first result; by default each call has its own
        :returns: plain data; for a task verb an object with `taskID`; None where there is no result
        :raises CallRefused: the host answered with an error
        :raises Unreachable: it did not answer, or is not there
        """
        asked = self.submit(host, verb, arguments, timeout=timeout, request_id=request_id, flow_id=flow_id)
        return asked.result(timeout + 2 * GRACE)

    def call_many(
        self,
        hosts: Iterable[str],
        verb: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        timeout: float = TIMEOUT,
    ) -> Iterator[Result]:
        """Call a verb on some hosts at once; one result for each, as they come.

        The calls are sent when this is called, not when the first result is taken.
        """
        asked = {self.submit(host, verb, arguments, timeout=timeout): host for host in hosts}
        return _results(asked)

    def call_all(
        self, verb: str, arguments: Mapping[str, Any] | None = None, *, timeout: float = TIMEOUT
    ) -> dict[str, Result]:
        """Call a verb on every host that lives; the results by host."""
        results = self.call_many(self.living(), verb, arguments, timeout=timeout)
        return {result.host: result for result in sorted(results, key=lambda result: result.host)}

    # -- what QMF has besides

    def schema(self, host: str, class_name: str = "", *, timeout: float = TIMEOUT) -> list[dict[str, Any]]:
        """The classes of a host as QMFv2 tells them: `_schema_id`, `_properties`, `_methods`.

        :raises TransportError: as `call`
        """
        wanted = {"_class_name": class_name} if class_name else {}
        body = {"_what": "SCHEMA", "_schema_id": wanted}
        found: list[dict[str, Any]] = self._ask(host, forms.QUERY_REQUEST, body, timeout).result(
            timeout + 2 * GRACE
        )
        return found

    def objects(
        self,
        host: str,
        class_name: str = "",
        *,
        where: list[Any] | None = None,
        timeout: float = TIMEOUT,
    ) -> list[dict[str, Any]]:
        """The managed objects of a host, each with `_object_id` and `_values`.

        :param where: a predicate of QMFv2, such as `["eq", "status", ["quote", "Up"]]`
        :raises TransportError: as `call`
        """
        body = _object_query(class_name, where)
        found: list[dict[str, Any]] = self._ask(host, forms.QUERY_REQUEST, body, timeout).result(
            timeout + 2 * GRACE
        )
        return found

    def objects_many(
        self,
        hosts: Iterable[str],
        class_name: str = "",
        *,
        where: list[Any] | None = None,
        timeout: float = TIMEOUT,
    ) -> Iterator[Result]:
        """The managed objects of some hosts, asked at once; one result for each host, as they come."""
        body = _object_query(class_name, where)
        return _results({self._ask(host, forms.QUERY_REQUEST, body, timeout): host for host in hosts})

    def events(
        self, pattern: str = "", *, resume: Mapping[str, int] | None = None, limit: int = 10_000
    ) -> EventStream:
        """The events of all hosts, from now on; see `EventStream`.

        :param pattern: an event id with `*`, as everywhere; empty: every event
        :param resume: by host, the number of the last known event: what came after it is delivered, too
        :param limit: events that may wait to be read; a slower reader is served from the hosts' journals
        """
        stream = EventStream(
            pattern, resume or {}, limit, replay=self._replay, later=self._later, forget=self._forget
        )
        with self._lock:
            self._streams += (stream,)
        self._later(lambda: self._begin(stream))
        return stream

    def _begin(self, stream: EventStream) -> None:
        """From now on is: after what has come to this console already."""
        for host in self._hosts.all():
            newest = max(host.newest_event, self._newest.get(host.id, 0))
            stream.beat(msgspec.structs.replace(host, newest_event=newest))

    # -- the bus

    def up(self) -> None:
        """See `Listener`."""
        self._connected.set()
        self._hosts.listen(listening=True)
        self._later(self._look_around)

    def down(self, reason: str) -> None:
        """See `Listener`."""
        log.info("The console has no connection: %s", reason)
        self._hosts.listen(listening=False)

    def received(self, data: bytes, link: int, *, oversized: bool) -> None:
        """See `Listener`."""
        if not self._front.submit(lambda: self._read(data, link, oversized=oversized)):
            log.warning("A message of %d bytes was dropped: too many wait already", len(data))
            self._bus.done(link)

    def _read(self, data: bytes, link: int, *, oversized: bool) -> None:
        try:
            if oversized:
                # Whoever waits for it is told now rather than at the end of its patience.
                request = message.parse_head(data, Oversized(limit=_LARGEST_ANSWER))
            else:
                request = message.parse(data)
            self._take(request)
        except (Malformed, ValueError, TypeError, KeyError) as error:
            # Anybody on the bus can send anything.
            log.warning("A message is not understood: %r", error)
        finally:
            self._bus.done(link)

    def _take(self, request: Request) -> None:
        if request.opcode in {forms.HEARTBEAT, forms.LOCATE_RESPONSE}:
            if isinstance(request.body, dict):
                self._heard(request.body)
        elif request.opcode == forms.INDICATION:
            self._happened(request)
        else:
            self._calls.answered(request)

    def _heard(self, attributes: Mapping[str, Any]) -> None:
        host = self._hosts.heard(attributes)
        if host is None:
            return
        self._calls.again(self._hosts.get, host.id)
        for stream in self._streams:
            stream.beat(host)

    def _happened(self, request: Request) -> None:
        if request.properties.get(message.CONTENT) != forms.EVENT or not isinstance(request.body, list):
            return
        agent = AgentName.parse(request.text(message.AGENT))
        if agent.kind != self._kind:
            return
        host = agent.instance
        for event in request.body:
            told = event.get("_values") if isinstance(event, dict) else None
            if isinstance(told, dict) and forms.SEQ in told:
                self._newest[host] = int(told[forms.SEQ])
                for stream in self._streams:
                    stream.happened(host, told)

    def _look_around(self) -> None:
        """Ask who is there, and ask again what was asked before."""
        dialect = self._bus.dialect
        if dialect is None:
            return
        address = Address(TOPIC, LOCATE_KEY)
        data = compose(
            [],
            address,
            forms.request_properties(forms.LOCATE_REQUEST, **{forms.OBJECTS: False}),
            correlation_id="locate",
            reply_to=dialect.reply_to(DIRECT, self._calls.key),
        )
        self._bus.send(address, data, timeout=1.0)
        self._calls.again(self._hosts.get)

    def _tell(self, change: HostChange) -> None:
        try:
            self._on_change(change)
        except Exception:
            # What the engine does with the news must not end the console.
            log.exception("The listener for changes of hosts failed")

    def _learn(self, host: str, properties: Mapping[str, Any]) -> None:
        revision = properties.get(forms.REVISION)
        if isinstance(revision, str):
            self._revisions[host] = revision

    def _ask(
        self,
        host: str,
        opcode: str,
        body: Mapping[str, Any],
        timeout: float,
        properties: Mapping[str, Any] | None = None,
    ) -> Future[Any]:
        known = self._hosts.get(host)
        if known is None or not known.alive:
            what = "is not on the bus" if known is None else "is lost: its heartbeats do not come any more"
            return _failed(Unreachable(f"the host {host} {what}"))
        try:
            encoded = values.encode(dict(body))
        except NotCarriable as error:
            return _failed(CallRefused(error.slug, error.code, str(error), error.facts))
        question = Question(
            host=host,
            agent=str(known.agent),
            opcode=opcode,
            body=encoded,
            timeout=timeout,
            properties=properties or {},
        )
        return self._calls.ask(question, known)

    def _replay(self, host: str, after: int, most: int) -> Future[Any]:
        body = {
            "_method_name": "replayEvents",
            "_object_id": {"_object_name": AGENT_CLASS},
            "_arguments": {"after": after, "most": most},
        }
        return self._ask(host, forms.METHOD_REQUEST, body, TIMEOUT)

    def _later(self, work: Callable[[], None]) -> None:
        self._front.submit(work)

    def _forget(self, stream: EventStream) -> None:
        with self._lock:
            self._streams = tuple(one for one in self._streams if one is not stream)


def _object_query(class_name: str, where: list[Any] | None) -> dict[str, Any]:
    body: dict[str, Any] = {"_what": "OBJECT"}
    if class_name:
        body["_schema_id"] = {"_package_name": PACKAGE, "_class_name": class_name}
    if where is not None:
        body["_where"] = where
    return body


def _results(asked: Mapping[Future[Any], str]) -> Iterator[Result]:
    for done in as_completed(asked):
        error = done.exception()
        if error is None:
            yield Result(host=asked[done], value=done.result())
        elif isinstance(error, TransportError):
            yield Result(host=asked[done], error=error)
        else:
            raise error


def _failed(error: TransportError) -> Future[Any]:
    failed: Future[Any] = Future()
    failed.set_exception(error)
    return failed


def _only_value(told: Mapping[str, Any]) -> Any:
    """A method of ours has one out argument, or none."""
    return next(iter(told.values()), None)


def _then(asked: Future[Any], change: Callable[[Any], Any]) -> Future[Any]:
    """A future of what `change` makes of another one's result."""
    changed: Future[Any] = Future()

    def done(future: Future[Any]) -> None:
        error = future.exception()
        if error is not None:
            changed.set_exception(error)
        else:
            changed.set_result(change(future.result()))

    asked.add_done_callback(done)
    return changed
