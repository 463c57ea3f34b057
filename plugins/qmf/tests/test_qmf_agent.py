"""The agent's answers to valid and malformed messages, its identification of callers, its attributes."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from proton import Message, decimal64

from vdsm_bridge import Context, Feature, Namespace, query
from vdsm_bridge.events import event_types
from vdsm_bridge.testing import TestHost
from vdsm_bridge.testing.harness import queue
from vdsm_bridge.testing.polling import until
from vdsm_qmf import QmfBinding
from vdsm_qmf.agent import next_epoch
from vdsm_qmf.console import CallRefused, Cluster
from vdsm_qmf.protocol import message
from vdsm_qmf.protocol.errors import Malformed
from vdsm_qmf.schema.classes import build
from vdsm_qmf.testing import RabbitMQ

from .amqp_bytes import plain
from .conftest import BusHost, Console, MakeHost, options
from .probe import Probe

AGENT = "vdsm:vdsmd:h"
LAMP = "00000000-0000-4000-8000-00000000000d"
METHOD = {"qmf.opcode": "_method_request"}
QUERY = {"qmf.opcode": "_query_request"}
PING = {"_method_name": "Host.ping"}


def deep(levels: int) -> Any:
    """Maps inside each other."""
    value: Any = {}
    for _ in range(levels):
        value = {"a": value}
    return value


def refused(probe: Probe, cid: str) -> tuple[str, int]:
    """Slug and code of the exception that answers."""
    answer = probe.answer(cid)
    assert plain(answer["application-properties"])["qmf.opcode"] == "_exception"
    received = plain(answer["amqp-value"])["_values"]
    assert received["error_text"]
    return received["slug"], received["error_code"]


# -- bad requests


@pytest.mark.parametrize(
    ("properties", "body", "slug"),
    [
        (METHOD, [], "malformed-message"),
        (METHOD, None, "malformed-message"),
        (METHOD, "text", "malformed-message"),
        (METHOD, {}, "malformed-message"),
        (METHOD, {"_method_name": 5}, "malformed-message"),
        (METHOD, {**PING, "_arguments": [1]}, "malformed-message"),
        (METHOD, {**PING, "_object_id": "Host"}, "malformed-message"),
        (METHOD, {**PING, "_arguments": {"a": b"\xff\xfe"}}, "malformed-message"),
        (METHOD, {**PING, "_arguments": {"a": decimal64(7)}}, "malformed-message"),
        (METHOD, {**PING, "_arguments": deep(70)}, "malformed-message"),
        (METHOD, {"_method_name": "ping"}, "no-such-verb"),
        (METHOD, {"_method_name": "Host.none"}, "no-such-verb"),
        (METHOD, {"_method_name": "none", "_object_id": {"_object_name": "Host"}}, "no-such-verb"),
        (METHOD, {"_method_name": "a", "_object_id": {"_object_name": "Nothing:1"}}, "no-such-object"),
        (METHOD, {"_method_name": "Room.add", "_arguments": {"left": "x"}}, "invalid-argument"),
        (METHOD, {"_method_name": "Room.add", "_arguments": {}}, "missing-argument"),
        (METHOD, {"_method_name": "call", "_object_id": {"_object_name": "Agent"}}, "missing-argument"),
        (QUERY, [], "malformed-message"),
        (QUERY, {}, "invalid-query"),
        (QUERY, {"_what": "PACKAGES"}, "invalid-query"),
        (QUERY, {"_what": "OBJECT", "_where": ["like", "a", "b"]}, "invalid-query"),
        (QUERY, {"_what": "OBJECT", "_schema_id": "Lamp"}, "invalid-query"),
        (QUERY, {"_what": "SCHEMA", "_schema_id": 5}, "invalid-query"),
        ({"qmf.opcode": "_subscribe_request"}, {}, "unknown-opcode"),
        ({"qmf.opcode": "_schema_request"}, {}, "unknown-opcode"),
        ({"qmf.opcode": 5}, {}, "unknown-opcode"),
        ({}, {}, "unknown-opcode"),
        ({**METHOD, "vdsm.request_id": "x" * 300}, PING, "malformed-message"),
        ({**METHOD, "vdsm.flow_id": 5}, PING, "malformed-message"),
        ({**METHOD, "vdsm.timeout": "soon"}, PING, "malformed-message"),
        ({**METHOD, "vdsm.token": "wrong"}, PING, "unauthenticated"),
    ],
)
def test_bad_requests_are_answered(
    broker: RabbitMQ, on_bus: MakeHost, properties: dict[Any, Any], body: Any, slug: str
) -> None:
    """Each with an exception that names what is wrong, and the next request is served."""
    on_bus("h")
    with Probe(broker.url) as probe:
        probe.send(body, properties, to=AGENT, cid="bad")
        assert refused(probe, "bad")[0] == slug
        probe.send(PING, METHOD, to=AGENT, cid="good")
        assert plain(probe.answer("good")["amqp-value"]) == {"_arguments": {}}


def test_oversized_request(broker: RabbitMQ, on_bus: MakeHost) -> None:
    """It is refused by its head; no more of it than the limit is kept, and the link goes on."""
    on_bus("h", max_message=4096)
    with Probe(broker.url) as probe:
        for number in range(3):
            body = {"_method_name": "Host.echo", "_arguments": {"message": "x" * 3_000_000}}
            probe.send(body, METHOD, to=AGENT, cid=f"large-{number}")
            assert refused(probe, f"large-{number}")[0] == "message-too-large"
        probe.send(PING, METHOD, to=AGENT, cid="small")
        assert "_arguments" in plain(probe.answer("small")["amqp-value"])


def test_answers_are_not_answered(broker: RabbitMQ, on_bus: MakeHost) -> None:
    """An opcode that only agents send gets no exception: two agents would answer each other for ever."""
    on_bus("h")
    with Probe(broker.url) as probe:
        for opcode in ("_exception", "_method_response", "_data_indication"):
            probe.send({}, {"qmf.opcode": opcode}, to=AGENT, cid=opcode)
        assert probe.silent()


def test_nowhere_to_answer(broker: RabbitMQ, on_bus: MakeHost) -> None:
    """A reply-to of no use, or of an exchange that is not there, costs the agent nothing."""
    on_bus("h")
    with Probe(broker.url) as probe:
        for number, reply_to in enumerate(("", "/", "x", "/exchange/none/a", "/queue/a", "\u20ac" * 300)):
            probe.send(PING, METHOD, to=AGENT, cid=str(number), reply_to=reply_to)
        probe.send(PING, METHOD, to=AGENT, cid="good")
        probe.answer("good")


MESSAGE = Message(
    body={"_method_name": "Host.ping", "_arguments": {"a": [1, "b", None]}},
    properties={"qmf.opcode": "_method_request"},
    reply_to="/exchange/qmf.default.direct/a",
    correlation_id="1",
)
BYTES = bytes(MESSAGE.encode())


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(BYTES)), st.lists(st.tuples(st.integers(0, len(BYTES) - 1), st.integers(0, 255))))
def test_bytes_that_are_no_message(end: int, changes: list[tuple[int, int]]) -> None:
    """Any bytes parse as a request or as a malformed one with a reply address, or are malformed."""
    data = bytearray(BYTES)
    for at, value in changes:
        data[at] = value
    for read in (message.parse, lambda data: message.parse_head(data, Malformed(reason="test"))):
        try:
            request = read(bytes(data[:end]))
        except Malformed:
            continue
        assert isinstance(request, message.Request)


# -- who asks


def test_roles_of_users(on_bus: MakeHost, console: Console, broker: RabbitMQ) -> None:
    """The broker's user is the caller: its role decides, and a user without one is refused."""
    on_bus("h", access={"bus_users": {"guest": "admin", "engine": "monitor"}})
    urls = {user: broker.url.replace("guest", user) for user in ("guest", "engine", "guard")}
    for user, url in urls.items():
        console(url, password=user).wait_for("h")
    guest, engine, guard = (console(url, password=user) for user, url in urls.items())
    for cluster in (guest, engine, guard):
        cluster.wait_for("h")
    assert guest.call("h", "Room.whisper") == "guest"
    assert engine.call("h", "Room.add", {"left": 1}) == 2
    for cluster, verb, slug in (
        (engine, "Room.whisper", "forbidden"),
        (guard, "Room.add", "unauthenticated"),
    ):
        with pytest.raises(CallRefused) as caught:
            cluster.call("h", verb, {"left": 1} if verb == "Room.add" else {})
        assert caught.value.slug == slug
    with pytest.raises(CallRefused, match="the bus user 'guard' has no role"):
        guard.objects("h")


def test_nobody_is_somebody_else(broker: RabbitMQ, on_bus: MakeHost) -> None:
    """The broker disconnects a user who claims another's name; a message without one is unauthenticated."""
    on_bus("h")
    with Probe(broker.url, user="guard", password="guard") as probe:
        probe.send(PING, METHOD, to=AGENT, cid="none", user_id=None)
        assert refused(probe, "none")[0] == "unauthenticated"
        connections = probe.connections
        probe.send(PING, METHOD, to=AGENT, cid="guest", user_id=b"guest")
        assert probe.silent(1.0)
        assert probe.connections > connections, "RabbitMQ ends the session of a liar"


# -- calls


def test_circumstances_of_a_call(broker: RabbitMQ, on_bus: MakeHost) -> None:
    """A repeated request id does the work once, on any connection; flow ids are accepted."""
    host = on_bus("h")
    host.call("Lamp.create", lamp={"lampID": LAMP, "name": "hall"})
    body = {"_method_name": "Lamp.engrave", "_arguments": {"lampID": LAMP, "text": "once"}}
    with Probe(broker.url) as probe:
        for number in range(3):
            probe.send(
                body,
                {**METHOD, "vdsm.request_id": "one", "vdsm.flow_id": f"flow-{number}"},
                to=AGENT,
                cid=str(number),
            )
        answers = [plain(probe.answer(str(number))["amqp-value"]) for number in range(3)]
    assert answers[0] == answers[1] == answers[2]
    assert host.call("Lamp.getInfo", lampID=LAMP).marks == ["once"]


def test_ttl_is_a_deadline(broker: RabbitMQ, on_bus: MakeHost) -> None:
    """Without vdsm's properties, the time to live of the message is the timeout of the call."""
    host = on_bus("h")
    host.call("Lamp.create", lamp={"lampID": LAMP, "name": "hall"})
    body = {"_method_name": "Lamp.engrave", "_arguments": {"lampID": LAMP, "text": "a", "pause": 1.5}}
    with Probe(broker.url) as probe:
        probe.send(body, METHOD, to=AGENT, cid="first")
        # Each request has a worker of its own: the second one could reach the lamp first.
        until(lambda: queue(host, LAMP), 20.0)
        probe.send(body, METHOD, to=AGENT, cid="second", ttl=0.3)
        assert refused(probe, "second")[0] == "queue-deadline"
        assert "_arguments" in plain(probe.answer("first")["amqp-value"])


def test_long_verbs_answer_with_the_task(on_bus: MakeHost, console: Console) -> None:
    """At once; the task is an object that can be queried, and its end is an event."""
    host = on_bus("h")
    host.call("Lamp.create", lamp={"lampID": LAMP, "name": "hall"})
    cluster = console()
    cluster.wait_for("h")
    task = cluster.call("h", "Lamp.burn", {"lampID": LAMP, "hours": 2})["taskID"]
    end = time.monotonic() + 20.0
    while True:
        (found,) = (one for one in cluster.objects("h", "Task") if task in one["_object_id"]["_object_name"])
        if "inished" in str(found["_values"]) or time.monotonic() > end:
            break
    assert host.call("Lamp.getInfo", lampID=LAMP).hours == 2


def test_too_many_calls(broker: RabbitMQ, on_bus: MakeHost) -> None:
    """What neither runs nor may wait is refused at once; what waits is done."""
    host = on_bus("h", threads=1, queue=1)
    host.call("Lamp.create", lamp={"lampID": LAMP, "name": "hall"})
    body = {"_method_name": "Lamp.engrave", "_arguments": {"lampID": LAMP, "text": "a", "pause": 1.0}}
    with Probe(broker.url) as probe:
        probe.send(body, METHOD, to=AGENT, cid="0")
        time.sleep(0.3)
        for number in range(1, 5):
            probe.send(body, METHOD, to=AGENT, cid=str(number))
        assert {refused(probe, str(number))[0] for number in range(2, 5)} == {"resource-exhausted"}
        for number in range(2):
            assert "_arguments" in plain(probe.answer(str(number), timeout=20.0)["amqp-value"])


def test_a_broker_that_hangs_stops_nothing_else(
    own_broker: RabbitMQ, on_bus: MakeHost, tmp_path: Path
) -> None:
    """Verbs and events of the host go on, memory stays bounded, and afterwards all events are sent."""
    host = on_bus("h", url=own_broker.url, outgoing=64 * 1024, idle_timeout=2.0)
    host.call("Lamp.create", lamp={"lampID": LAMP, "name": "hall"})
    with Cluster(own_broker.url, password="guest") as cluster:
        cluster.wait_for("h")
        stream = cluster.events("|sample|switched")
        own_broker.pause()
        slowest, waiting = 0.0, []
        for turn in range(3000):
            begun = time.monotonic()
            host.call("Lamp.switch", lampID=LAMP, lit=bool(turn % 2))
            slowest = max(slowest, time.monotonic() - begun)
            waiting.append(host.agent.bus.waiting)
        assert slowest < 5.0, "a verb waited for the broker"
        assert max(waiting) <= 64 * 1024
        own_broker.resume()
        numbers = []
        while len(numbers) < 3000 and (event := stream.next(60.0)) is not None:
            assert not event.is_gap
            numbers.append(event.seq)
        assert len(numbers) == 3000
        assert numbers == sorted(set(numbers))


def test_the_next_broker(own_broker: RabbitMQ, broker: RabbitMQ, tmp_path: Path) -> None:
    """Brokers are tried in turn: one that is not there costs a moment, one that dies leads to the next."""
    table = options("", tmp_path, instance="h")
    table["brokers"] = ["amqp://guest@127.0.0.1:1", own_broker.url, broker.url]
    with BusHost({"plugin": {"qmf": table}, "access": {"bus_users": {"guest": "admin"}}}, None) as host:
        with Cluster(own_broker.url, password="guest") as cluster:
            cluster.wait_for("h")
        own_broker.kill()
        with Cluster([own_broker.url, broker.url], password="guest") as cluster:
            cluster.wait_for("h", timeout=30.0)
            assert cluster.call("h", "Room.add", {"left": 1}) == 2
        assert host.made[-1].address == (f"{broker.url}/vdsm:vdsmd:h",)


# -- what it says of itself


class Extra(Namespace, name="Extra", plural="extras"):
    """A third party's."""

    @query(since="1.0")
    def answer(self) -> int:
        """Some number."""
        return 42

    @query(since="1.0")
    def whence(self, context: Context) -> list[str]:
        """Return the recorded origin of the call."""
        return [context.address, context.origin]


class ExtraFeature(Feature):
    """The feature `extra`."""

    def namespaces(self) -> list[Namespace]:
        return [Extra()]


def test_schema_changes_exactly_when_the_api_does() -> None:
    """The same verbs give the same hashes in any order; a new namespace adds one and changes none."""
    kinds = event_types()
    with TestHost() as host:
        first = build(host.bridge.verbs, kinds)
        again = build(dict(reversed(list(host.bridge.verbs.items()))), kinds)
    with TestHost(verbs={"extra": ExtraFeature}) as host:
        more = build(host.bridge.verbs, kinds)
        fewer = build({name: verb for name, verb in host.bridge.verbs.items() if name != "Lamp.smash"}, kinds)
    by_name = {one.name: one.hash for one in first.classes}
    assert first.hashes == again.hashes
    assert more.hashes > first.hashes
    assert [one.name for one in more.classes if one.hash not in first.hashes] == ["Extra"]
    changed = {one.name for one in fewer.classes if by_name.get(one.name) != one.hash}
    assert changed == {"Lamp", "Extra"}


def test_a_third_party_namespace_is_a_class(on_bus: MakeHost, console: Console) -> None:
    """It is in the schema and can be called without a line in the agent."""
    on_bus("h", verbs={"extra": ExtraFeature})
    cluster = console()
    cluster.wait_for("h")
    (received,) = cluster.schema("h", "Extra")
    assert [method["_name"] for method in received["_methods"]] == ["answer", "whence"]
    assert cluster.call("h", "Extra.answer") == 42


def test_where_a_caller_is(on_bus: MakeHost, broker: RabbitMQ) -> None:
    """Behind a broker the address of a caller is unknown; the reply address is for the audit log only."""
    on_bus("h", verbs={"extra": ExtraFeature})
    with Probe(broker.url) as probe:
        probe.send({"_method_name": "Extra.whence"}, METHOD, to=AGENT, cid="1")
        received = plain(probe.answer("1")["amqp-value"])["_arguments"]["result"]
        assert received == ["", probe.reply_to]


def test_epoch_grows(tmp_path: Path) -> None:
    """With each start, from the file, whatever the clock; without a file it is the time."""
    file = tmp_path / "state" / "epoch"
    assert [next_epoch(str(file)) for _ in range(3)] == [1, 2, 3]
    assert abs(next_epoch("") - time.time()) < 5
    file.write_text("no number")
    assert abs(next_epoch(str(file)) - time.time()) < 5


@pytest.mark.parametrize("interval", [0.3, 0.6])
def test_data_indications_keep_their_interval(broker: RabbitMQ, on_bus: MakeHost, interval: float) -> None:
    """An object that changes all the time is published at most once in an interval."""
    host = on_bus("h", data_interval=interval)
    host.call("Lamp.create", lamp={"lampID": LAMP, "name": "hall"})
    with Probe(broker.url, "agent.ind.data.vdsm.Lamp.#") as probe:
        begun, turn = time.monotonic(), 0
        # A busy machine may need longer until the first one is published.
        while time.monotonic() < begun + (3.0 if probe.got else 20.0):
            turn += 1
            host.call("Lamp.switch", lampID=LAMP, lit=bool(turn % 2), note=str(turn))
        received = len(probe.got)
        passed = time.monotonic() - begun
    assert 1 <= received <= passed / interval + 1


class Waiting:
    """Counts threads by their names."""

    names: ClassVar[tuple[str, ...]] = ("qmf front", "qmf events", "qmf objects", "qmf bus", "qmf h")

    @classmethod
    def now(cls) -> list[str]:
        return [one.name for one in threading.enumerate() if one.name.startswith(cls.names)]


def test_without_a_broker_there_is_nothing() -> None:
    """No URL: no thread, no connection, and the binding is well."""
    with TestHost(bindings={"qmf": QmfBinding}):
        assert Waiting.now() == []
