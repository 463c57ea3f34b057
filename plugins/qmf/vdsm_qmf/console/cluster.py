"""The console: every host of a cluster behind one object."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future
from typing import Any, Final, Self

from vdsm_bridge.transport import CallRefused, Unreachable
from vdsm_qmf.bus import Bus, BusSettings, Loop, Security, Subscription, parse_url
from vdsm_qmf.console import futures, requests
from vdsm_qmf.console.calls import GRACE, AgentRequest, Calls
from vdsm_qmf.console.hosts import Hosts, OnChange
from vdsm_qmf.console.model import Host, HostChange, Result
from vdsm_qmf.console.receiver import MAX_ANSWER, Receiver
from vdsm_qmf.console.stream import EventStream
from vdsm_qmf.protocol import bodies, values
from vdsm_qmf.protocol.errors import NotCarriable
from vdsm_qmf.protocol.names import DIRECT, PRODUCT, TOPIC, VENDOR, escape
from vdsm_qmf.schema.classes import PACKAGE

log = logging.getLogger(__name__)

#: Seconds that a call may take by default.
TIMEOUT: Final = 60.0
#: Seconds between two checks whether connecting has failed for good.
_POLL: Final = 0.05


class Cluster:
    """The hosts on a message bus.

    ::

        with Cluster("amqps://engine@broker", password=secret) as cluster:
            cluster.wait_for(hosts=3)
            for result in cluster.call_many(cluster.living(), "Host.getStats"):
                print(result.host, result.value or result.error)

    Every method may be called from any thread. `start`, or the `with` statement, connects.

    :param url: amqp://user@broker:port or amqps://...; one for each broker
    :param security: credentials of the console; by default `password` and the user of the URL
    :param token: a bearer token for the hosts, instead of the broker's user
    :param dialect: form of the broker's addresses; empty: recognized by the broker's product
    :param vendor: of the hosts' agents, as `product`; other agents are no hosts
    :param events: whether to subscribe to events
    :param on_change: called with each `HostChange`, on a thread of the console; it must not block
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
        secret = password or next((one for _, one, _ in parsed if one), "")
        credentials = security or Security(password=secret)
        settings = BusSettings(
            brokers=tuple(broker for broker, _, _ in parsed),
            security=credentials,
            dialect=dialect,
            max_message=MAX_ANSWER,
            # There are few consoles: they may retry more often than a thousand hosts.
            reconnect_max=2.0,
        )
        user = parsed[0][0].user or credentials.user
        self._calls = Calls("" if credentials.anonymous else user, token)
        agents = f"{escape(vendor)}.{escape(product)}"
        subscriptions = [
            Subscription(DIRECT, self._calls.key),
            Subscription(TOPIC, f"agent.ind.heartbeat.{agents}.#"),
        ]
        if events:
            subscriptions.append(Subscription(TOPIC, f"agent.ind.event.{PACKAGE}.*.*.{agents}.#"))
        self._on_change = on_change
        self._loop = Loop("qmf console")
        self._hosts = Hosts(self._loop, self._notify, (vendor, product))
        self._receiver = Receiver(self._hosts, self._calls)
        self._bus = Bus(self._loop, settings, subscriptions, self._receiver)
        self._calls.attach(self._bus)
        self._receiver.attach(self._bus)

    # -- life

    def start(self, timeout: float = 15.0) -> None:
        """Connect.

        :raises Unreachable: there is no connection within `timeout` seconds, or all brokers refuse it
        """
        self._loop.start()
        self._bus.start()
        end = time.monotonic() + timeout
        connected = self._receiver.connected
        while not connected.wait(_POLL) and time.monotonic() < end and not self._bus.is_refused:
            pass
        if not connected.is_set():
            trouble = self._bus.trouble
            self.close()
            raise Unreachable(f"cannot reach the message bus: {trouble}")

    def close(self) -> None:
        """End all calls and streams, and disconnect."""
        self._receiver.close_streams()
        self._calls.close()
        self._bus.stop(1.0)
        self._loop.stop()
        self._receiver.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    # -- hosts

    def hosts(self) -> list[Host]:
        """Return every known host, sorted by id, lost ones included."""
        return self._hosts.all()

    def living(self) -> list[str]:
        """Return the ids of the hosts that send heartbeats."""
        return [host.id for host in self._hosts.all() if host.alive]

    def wait_for(self, *names: str, hosts: int = 0, timeout: float = 15.0) -> list[str]:
        """Wait until some hosts live.

        :param names: ids of hosts to wait for
        :param hosts: number of hosts to wait for
        :raises Unreachable: they are not all on the bus within `timeout` seconds
        """
        wanted = set(names)

        def enough(living: list[Host]) -> bool:
            return len(living) >= hosts and wanted <= {host.id for host in living}

        if not self._hosts.wait(enough, timeout):
            missing = ", ".join(sorted(wanted - set(self.living()))) or f"{hosts} hosts"
            raise Unreachable(
                f"not on the bus after {timeout:g} s: {missing}; on the bus: {len(self.living())}"
            )
        return self.living()

    def revision(self, host: str) -> str:
        """Return the revision of a host's API in its last answer; empty if it has not answered yet."""
        return self._calls.revision(host)

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
        """Call a verb without waiting. The future has the result or the error of `call`."""
        properties = {bodies.REQUEST_ID: request_id or str(uuid.uuid4())}
        if flow_id:
            properties[bodies.FLOW_ID] = flow_id
        body = requests.call(verb, arguments or {})
        answer = self._ask(host, bodies.METHOD_REQUEST, body, timeout, properties)
        return futures.then(answer, _first_value)

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

        :param timeout: seconds; the host gets it as the deadline of the call
        :param request_id: a repeated id returns the first result; by default each call has its own id
        :returns: plain data; for a task verb an object with `taskID`; None where there is no result
        :raises CallRefused: the host answered with an error
        :raises Unreachable: the host did not answer, or is not on the bus
        """
        answer = self.submit(host, verb, arguments, timeout=timeout, request_id=request_id, flow_id=flow_id)
        return answer.result(timeout + 2 * GRACE)

    def call_many(
        self,
        hosts: Iterable[str],
        verb: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        timeout: float = TIMEOUT,
    ) -> Iterator[Result]:
        """Call a verb on several hosts at once; yield a result for each in the order of completion.

        The calls are sent at once, not when the first result is taken.
        """
        answers = {self.submit(host, verb, arguments, timeout=timeout): host for host in hosts}
        return futures.results(answers)

    def call_all(
        self, verb: str, arguments: Mapping[str, Any] | None = None, *, timeout: float = TIMEOUT
    ) -> dict[str, Result]:
        """Call a verb on every living host; return the results by host."""
        results = self.call_many(self.living(), verb, arguments, timeout=timeout)
        return {result.host: result for result in sorted(results, key=lambda result: result.host)}

    # -- classes, objects, events

    def schema(self, host: str, class_name: str = "", *, timeout: float = TIMEOUT) -> list[dict[str, Any]]:
        """Return the classes of a host in QMFv2's form: `_schema_id`, `_properties`, `_methods`.

        :raises TransportError: as `call`
        """
        return self._query(host, requests.schema(class_name), timeout)

    def objects(
        self,
        host: str,
        class_name: str = "",
        *,
        where: list[Any] | None = None,
        timeout: float = TIMEOUT,
    ) -> list[dict[str, Any]]:
        """Return the managed objects of a host, each with `_object_id` and `_values`.

        :param where: a predicate of QMFv2, such as `["eq", "status", ["quote", "Up"]]`
        :raises TransportError: as `call`
        """
        return self._query(host, requests.objects(class_name, where), timeout)

    def objects_many(
        self,
        hosts: Iterable[str],
        class_name: str = "",
        *,
        where: list[Any] | None = None,
        timeout: float = TIMEOUT,
    ) -> Iterator[Result]:
        """Query several hosts for managed objects at once; yield a result for each in order of completion."""
        body = requests.objects(class_name, where)
        return futures.results({self._ask(host, bodies.QUERY_REQUEST, body, timeout): host for host in hosts})

    def events(
        self, pattern: str = "", *, resume: Mapping[str, int] | None = None, limit: int = 10_000
    ) -> EventStream:
        """Return the events of all hosts, from now on; see `EventStream`.

        :param pattern: an event id with `*`; empty: every event
        :param resume: by host, the number of the last known event; later ones are delivered, too
        :param limit: events that may wait to be read; a slower reader gets them from the hosts' journals
        """
        stream = EventStream(
            pattern,
            resume or {},
            limit,
            replay=self._replay,
            later=self._receiver.run_later,
            forget=self._receiver.remove,
        )
        self._receiver.add(stream)
        return stream

    # -- requests

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
            what = "is not on the bus" if known is None else "is lost: its heartbeats have stopped"
            return futures.failed(Unreachable(f"the host {host} {what}"))
        try:
            encoded = values.encode(dict(body))
        except NotCarriable as error:
            return futures.failed(CallRefused(error.slug, error.code, str(error), error.facts))
        request = AgentRequest(
            host=host,
            agent=str(known.agent),
            opcode=opcode,
            body=encoded,
            timeout=timeout,
            properties=properties or {},
        )
        return self._calls.send(request, known)

    def _query(self, host: str, body: Mapping[str, Any], timeout: float) -> list[dict[str, Any]]:
        answer = self._ask(host, bodies.QUERY_REQUEST, body, timeout)
        found: list[dict[str, Any]] = answer.result(timeout + 2 * GRACE)
        return found

    def _replay(self, host: str, after: int, limit: int) -> Future[Any]:
        return self._ask(host, bodies.METHOD_REQUEST, requests.replay(after, limit), TIMEOUT)

    def _notify(self, change: HostChange) -> None:
        try:
            self._on_change(change)
        except Exception:
            # A bug in the listener must not end the console.
            log.exception("The listener for changes of hosts failed")


def _first_value(arguments: Mapping[str, Any]) -> Any:
    """Return the result of a verb: its method has one out argument, or none."""
    return next(iter(arguments.values()), None)
