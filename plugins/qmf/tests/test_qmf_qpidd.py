"""Agent and console on a broker with the addresses of qpidd, beside consoles of the 0-10 age."""

from __future__ import annotations

import json
import struct
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vdsm_bridge.testing.polling import until
from vdsm_qmf.bus.dialects import DIALECTS, recognize
from vdsm_qmf.console import Cluster, Security
from vdsm_qmf.protocol.message import Address

from .amqp_bytes import kinds, plain
from .conftest import BusHost, MakeHost
from .old_console import OldConsole
from .qpidd_peer import QpiddPeer, matches

AGENT = "vdsm:vdsmd:q.host"
LAMP = "00000000-0000-4000-8000-000000000010"


@pytest.fixture
def peer() -> Iterator[QpiddPeer]:
    with QpiddPeer() as peer:
        yield peer


@pytest.fixture
def host(peer: QpiddPeer, on_bus: MakeHost) -> BusHost:
    host = on_bus("q.host", url=peer.url, anonymous=True, access={"loopback": "admin"})
    host.call("Lamp.create", lamp={"lampID": LAMP, "name": "hall"})
    return host


def test_addresses(peer: QpiddPeer, host: BusHost) -> None:
    """Sources are bare names, one link for each key with a described filter; all messages use the relay."""
    observed = [
        (address, [(str(one.descriptor), one.value) for one in filters.values()])
        for address, filters in peer.attached
    ]
    assert observed == [
        (
            "qmf.default.topic",
            [("apache.org:legacy-amqp-topic-binding:string", "console.request.agent_locate")],
        ),
        ("qmf.default.direct", [("apache.org:legacy-amqp-direct-binding:string", AGENT)]),
    ]
    host.call("Lamp.switch", lampID=LAMP, lit=True)
    with OldConsole(peer.url, ("qmf.default.topic", "agent.ind.event.*.*.*.#")) as console:
        host.call("Lamp.switch", lampID=LAMP, lit=False)
        (event,) = console.wait()
    assert plain(event["amqp-value"])[0]["_values"]["lit"] is False
    targets = {(target, to) for target, to, _, _ in peer.received}
    assert targets == {(None, "qmf.default.topic")}


def test_names_have_no_slash(peer: QpiddPeer, host: BusHost) -> None:
    """qpidd makes queue names of container and link, and would read a slash as the end of an exchange."""
    assert len(peer.names) >= 4
    assert not any("/" in name for name in peer.names)


def test_our_console(peer: QpiddPeer, host: BusHost) -> None:
    """Everything works as with the other broker: discovery, calls, queries, events."""
    with Cluster(peer.url, security=Security(anonymous=True)) as cluster:
        cluster.wait_for("q.host")
        assert cluster.call("q.host", "Room.add", {"left": 1}) == 2
        (found,) = cluster.objects("q.host", "Lamp")
        assert found["_values"]["name"] == "hall"
        with cluster.events("|sample|switched") as stream:
            for turn in range(5):
                host.call("Lamp.switch", lampID=LAMP, lit=bool(turn % 2))
            events = [stream.next(10.0) for _ in range(5)]
    assert [event.params["lit"] for event in events if event is not None] == [
        False,
        True,
        False,
        True,
        False,
    ]


def test_agents_of_others_are_no_hosts(peer: QpiddPeer, host: BusHost, on_bus: MakeHost) -> None:
    """The broker's own agent and another vendor's answer a locate request; neither is a host."""
    on_bus("stranger", url=peer.url, anonymous=True, vendor="acme")
    on_bus("relative", url=peer.url, anonymous=True, product="other")
    with Cluster(peer.url, security=Security(anonymous=True)) as cluster:
        cluster.wait_for("q.host")
        # Answers and heartbeats of each have come: the strangers' hosts are asked by their own console.
        for kind in ({"vendor": "acme"}, {"product": "other"}):
            with Cluster(peer.url, security=Security(anonymous=True), **kind) as other:
                assert len(other.wait_for(hosts=1)) == 1
        assert peer.agent.located >= 3
        assert cluster.call_all("Room.add", {"left": 1}).keys() == {"q.host"}
        assert [host.id for host in cluster.hosts()] == ["q.host"]


def test_vdsmsh_on_all_hosts(
    peer: QpiddPeer,
    host: BusHost,
    on_bus: MakeHost,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`--all` are the hosts without the broker's own agent; the environment has the vendor of the hosts."""
    main = pytest.importorskip("vdsmsh.main").main
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    on_bus("named", url=peer.url, anonymous=True, access={"loopback": "admin"}, vendor="acme", product="node")
    words = ["--bus", peer.url, "--all", "-q", "room", "add", "--left", "2", "-f", "json"]
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out) == [{"host": "q.host", "value": 3}]
    monkeypatch.setenv("VDSM_BUS_VENDOR", "acme")
    monkeypatch.setenv("VDSM_BUS_PRODUCT", "node")
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out) == [{"host": "named", "value": 3}]
    assert peer.agent.located >= 2


@pytest.mark.parametrize(
    ("subscription", "reply_to"),
    [
        (("qmf.default.direct", "qmfc-v2-host.1.1"), "qmf.default.direct/qmfc-v2-host.1.1"),
        (("qmf.default.topic", "direct-console.1"), "qmf.default.topic/direct-console.1"),
        (("amq.direct", "reply-host.1.1"), "amq.direct/reply-host.1.1"),
        ((None, ""), ""),
    ],
    ids=["console.py", "C++", "first QMF", "queue"],
)
def test_reply_addresses(
    peer: QpiddPeer, host: BusHost, subscription: tuple[str | None, str], reply_to: str
) -> None:
    """Split at the first slash into exchange and key; without one it is a queue. The correlation id stays."""
    with OldConsole(peer.url, subscription) as console:
        console.ask(
            {"_method_name": "Host.ping"},
            {"qmf.opcode": "_method_request"},
            reply_to=reply_to or console.address,
            correlation_id="123",
        )
        (answer,) = console.wait()
    assert plain(answer["properties"])["correlation-id"] == "123"
    assert plain(answer["amqp-value"]) == {"_arguments": {}}
    routes = [(to, subject) for _, to, subject, data in peer.received if b"_method_response" in data]
    exchange = reply_to.partition("/")[0]
    assert routes == [(exchange, subscription[1]) if reply_to else (console.address, None)]


#: What the ACL of the how-to lets a host send to.
LEAVE = ("qmf.default.topic", "qmf.default.direct", "amq.direct")
#: Reply addresses that are beyond it.
BEYOND = (
    "amq.topic/a",
    "amq.fanout",
    "amq.match/x",
    "qpid.management/broker",
    "orders/new",
    "",
    "/",
    "x" * 300,
)


@pytest.mark.parametrize(
    ("leave", "more", "beyond"),
    [
        ((*LEAVE, "console_*"), {"reply_queues": ["console_*"]}, (*BEYOND, "orders", "qmf.default.topic")),
        (LEAVE, {"reply_queues": []}, (*BEYOND, "orders", "console_1")),
        ((*LEAVE, "[!aq]*"), {}, BEYOND),
    ],
    ids=["some queues", "no queues", "all queues"],
)
def test_reply_addresses_that_a_host_may_not_use(
    on_bus: MakeHost, leave: tuple[str, ...], more: dict[str, Any], beyond: tuple[str, ...]
) -> None:
    """An answer to one would cost the host its connection, so there is none; others are served on."""
    opcodes = ("_method_request", "_query_request", "_agent_locate_request", "_nonsense")
    with QpiddPeer(allowed=leave) as peer:
        host = on_bus("q.host", url=peer.url, anonymous=True, access={"loopback": "admin"}, **more)
        with OldConsole(peer.url, ("qmf.default.direct", "c")) as console:
            for reply_to in beyond:
                for opcode in opcodes:
                    console.ask({"_method_name": "Host.ping"}, {"qmf.opcode": opcode}, reply_to=reply_to)
                console.ask(b"AM2S" + b"\0" * 22, None, reply_to=reply_to)
            ping = {"qmf.opcode": "_method_request"}
            console.ask({"_method_name": "Host.ping"}, ping, reply_to="qmf.default.direct/c")
            (answer,) = console.wait()
        assert plain(answer["amqp-value"]) == {"_arguments": {}}
        assert peer.offences == []
        assert host.agent.bus.connections == 1


def test_the_acl_of_the_peer(on_bus: MakeHost) -> None:
    """The peer of these tests ends the connection of a host that sends where it may not, as qpidd does."""
    with QpiddPeer(allowed=LEAVE) as peer:
        host = on_bus("q.host", url=peer.url, anonymous=True, access={"loopback": "admin"})
        with OldConsole(peer.url) as console:
            # By default every queue is answered to: the ACL has to let the host.
            ping = {"qmf.opcode": "_method_request"}
            console.ask({"_method_name": "Host.ping"}, ping, reply_to="orders")
            until(lambda: host.agent.bus.connections >= 2, what="the connection to be cut")
        assert peer.offences == ["orders"]


def test_the_binary_schema_request(peer: QpiddPeer, host: BusHost) -> None:
    """As console.py sends it: no properties, a content type of its own, the reply on `amq.direct`."""
    with OldConsole(peer.url, ("amq.direct", "reply-h.1.1"), ("qmf.default.direct", "qmfc-v2-1")) as console:
        console.ask(
            {"_what": "SCHEMA_ID", "_schema_id": {"_class_name": "Lamp"}},
            {"qmf.opcode": "_query_request"},
            reply_to="qmf.default.direct/qmfc-v2-1",
            correlation_id="1",
        )
        digest = plain(console.wait()[0]["amqp-value"])[0]["_hash"]
        assert isinstance(digest, uuid.UUID)
        names = b"".join(bytes((len(name),)) + name for name in (b"vdsm", b"Lamp"))
        console.ask(
            b"AM2S" + struct.pack(">I", 7) + names + digest.bytes,
            None,
            reply_to="amq.direct/reply-h.1.1",
            content_type="x-application/qmf",
        )
        answer = console.wait(2)[1]
    assert kinds(answer["data"]) == "binary"
    assert answer["data"].value.startswith(b"AM2s" + struct.pack(">IB", 7, 1) + names + digest.bytes)
    assert plain(answer["application-properties"]) == {"qmf.agent": AGENT}


@pytest.mark.parametrize(
    "data",
    [
        b"AM2S",
        b"AM2S\x00\x00\x00\x01\x04vdsm",
        b"AM2S" + b"\xff" * 40,
        b"AM2S" + struct.pack(">I", 1) + b"\x00" * 18,
    ],
)
def test_binary_requests_that_are_none(peer: QpiddPeer, host: BusHost, data: bytes) -> None:
    """A request for an unknown class, or a truncated one, gets no answer; the agent goes on."""
    with OldConsole(peer.url, ("amq.direct", "reply-1")) as console:
        console.ask(data, None, reply_to="amq.direct/reply-1")
        console.ask(
            {"_method_name": "Host.ping"},
            {"qmf.opcode": "_method_request"},
            reply_to="amq.direct/reply-1",
            correlation_id="after",
        )
        last = console.wait()[-1]
        while plain(last["properties"]).get("correlation-id") != "after":
            last = console.wait(len(console.got) + 1)[-1]
    assert not any(b"AM2s" in one["data"].value for one in console.got if "data" in one)


def test_a_request_of_console_py(peer: QpiddPeer, host: BusHost) -> None:
    """Without `x-amqp-0-10.app-id` and `method`, which qpidd drops; every answer has them for C++."""
    with OldConsole(peer.url, ("qmf.default.direct", "c")) as console:
        console.ask(
            {"_what": "OBJECT", "_schema_id": {"_class_name": "Lamp"}},
            {"qmf.opcode": "_query_request"},
            reply_to="qmf.default.direct/c",
            correlation_id="1",
        )
        (answer,) = console.wait()
    assert plain(answer["application-properties"]) == {
        "method": "response",
        "qmf.agent": AGENT,
        "qmf.opcode": "_query_response",
        "qmf.content": "_data",
        "x-amqp-0-10.app-id": "qmf2",
        "vdsm.revision": host.bridge.revision,
    }


# -- the dialects by themselves


@pytest.mark.parametrize(
    ("name", "reply_to", "expected"),
    [
        ("qpidd", "qmf.default.direct/a/b", Address("qmf.default.direct", "a/b")),
        ("qpidd", "queue", Address("", "queue")),
        ("qpidd", "", None),
        ("qpidd", "/key", None),
        ("qpidd", "exchange/", None),
        ("qpidd", "qmf.default.topic/direct-console.1", Address("qmf.default.topic", "direct-console.1")),
        ("qpidd", "amq.direct/reply-h.1.1", Address("amq.direct", "reply-h.1.1")),
        ("qpidd", "amq.topic/a", None),
        ("qpidd", "qpid.management/broker", None),
        ("qpidd", "elsewhere/a", None),
        ("qpidd", "amq.fanout", None),
        ("qpidd", "qmf.default.direct", None),
        ("qpidd", "qpid.management", None),
        ("qpidd", "q" * 255, Address("", "q" * 255)),
        ("qpidd", "q" * 256, None),
        ("qpidd", "qmf.default.direct/" + "\u20ac" * 86, None),
        ("rabbitmq", "/exchange/qmf.default.direct/a/b", Address("qmf.default.direct", "a/b")),
        ("rabbitmq", "qmf.default.direct/c", Address("qmf.default.direct", "c")),
        ("rabbitmq", "qmf.default.topic/direct-console.1", None),
        ("rabbitmq", "/exchange/amq.direct/a", None),
        ("rabbitmq", "/exchange/elsewhere/a", None),
        ("rabbitmq", "/queue/a", None),
        ("rabbitmq", "/exchange/qmf.default.direct/", None),
    ],
)
def test_reply_to(name: str, reply_to: str, expected: Address | None) -> None:
    """The destination of an answer, by make of broker; None if there is none."""
    assert DIALECTS[name].parse(reply_to) == expected


@pytest.mark.parametrize("name", sorted(DIALECTS))
def test_a_dialect_reads_what_it_writes(name: str) -> None:
    """A console's reply address leads back to its key."""
    dialect = DIALECTS[name]
    assert dialect.parse(dialect.reply_to("qmf.default.direct", "k.1")) == Address(
        "qmf.default.direct", "k.1"
    )


@pytest.mark.parametrize(
    ("properties", "name"),
    [
        ({"product": "RabbitMQ", "version": "3.10.8"}, "rabbitmq"),
        ({"product": "qpid-cpp"}, "qpidd"),
        ({"product": "other"}, None),
        ({}, None),
        (None, None),
    ],
)
def test_recognising(properties: dict[str, str] | None, name: str | None) -> None:
    """A broker is recognized by the product in its connection properties."""
    found = recognize(properties)
    assert (found.name if found else None) == name


@pytest.mark.parametrize(
    ("pattern", "key", "expected"),
    [
        ("agent.ind.event.*.*.*.#", "agent.ind.event.p.c.info.v.p.i", True),
        ("agent.ind.event.*.*.*.#", "agent.ind.event.p.c", False),
        ("#", "", True),
        ("a.#.b", "a.b", True),
        ("a.*", "a", False),
    ],
)
def test_topics_of_the_peer(pattern: str, key: str, expected: bool) -> None:
    """The peer of these tests matches keys as AMQP's topics do."""
    assert matches(pattern.split("."), key.split(".")) is expected
