"""Every form of message as it stands on the wire, type by type, against the protocol's documentation."""

from __future__ import annotations

import re
import struct
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from proton import ulong

from vdsm_bridge.testing import TestHost
from vdsm_qmf.testing import RabbitMQ

from .amqp_bytes import kinds, plain, v1_map
from .conftest import MakeHost
from .probe import Probe

AGENT = "vdsm:vdsmd:wire.host"
LAMP = "00000000-0000-4000-8000-00000000000c"
TEXTS = {"method": "string", "qmf.agent": "string", "qmf.opcode": "string", "x-amqp-0-10.app-id": "string"}
SCHEMA_ID = {"_package_name": "string", "_class_name": "string", "_type": "string", "_hash": "uuid"}
ATTRIBUTES = {
    "_vendor": "string",
    "_product": "string",
    "_instance": "string",
    "_name": "string",
    "_timestamp": "ulong",
    "_heartbeat_interval": "uint",
    "_epoch": "uint",
    "_schema_updated": "ulong",
    "qmf.agent_capability": "uint",
    "vdsm.connection": "uint",
    "vdsm.event": "ulong",
    "vdsm.hostname": "string",
}


@pytest.fixture
def probe(broker: RabbitMQ) -> Iterator[Probe]:
    with Probe(broker.url, "agent.ind.#") as probe:
        yield probe


@pytest.fixture
def host(on_bus: MakeHost, probe: Probe) -> TestHost:
    host = on_bus("wire.host", data_interval=0.2)
    probe.wait(lambda m: "heartbeat" in plain(m["properties"]["subject"]))
    host.call("Lamp.create", lamp={"lampID": LAMP, "name": "hall", "watts": 2**40 % 9999})
    return host


def ask(probe: Probe, opcode: str, body: Any, cid: str = "1", **more: Any) -> list[dict[str, Any]]:
    """A request as QMF has it, and its answer's parts."""
    properties = {"qmf.opcode": opcode, "x-amqp-0-10.app-id": "qmf2", "method": "request"}
    probe.send(body, properties, to=AGENT, cid=cid, **more)
    return probe.answers(cid)


def values_of(message: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = message["amqp-value"]["_values"]
    return found


def test_heartbeat(probe: Probe, host: TestHost) -> None:
    """Sent at once, then in its interval; dots in names become underscores in the key."""
    key = "agent.ind.heartbeat.vdsm.vdsmd.wire_host"
    beat = probe.wait(lambda m: plain(m["properties"]["subject"]) == key)
    assert kinds(beat["application-properties"]) == TEXTS
    assert plain(beat["application-properties"]) == {
        "method": "indication",
        "qmf.agent": AGENT,
        "qmf.opcode": "_agent_heartbeat_indication",
        "x-amqp-0-10.app-id": "qmf2",
    }
    assert kinds(beat["amqp-value"]) == {"_values": ATTRIBUTES}
    assert beat["properties"]["content-type"].kind == "symbol"
    assert plain(beat["properties"]["content-type"]) == "amqp/map"
    received = plain(values_of(beat))
    assert (received["_name"], received["_instance"]) == (AGENT, "wire.host")
    assert received["_timestamp"] > 1_700_000_000 * 10**9


@pytest.mark.parametrize(
    ("body", "answers"),
    [
        ([], True),
        (None, True),
        (["eq", "_product", ["quote", "vdsmd"]], True),
        (["eq", "_vendor", ["quote", "other"]], False),
    ],
)
def test_locate(probe: Probe, host: TestHost, body: Any, answers: bool) -> None:
    """Answered as an indication with the attributes, unless the predicate means others."""
    # RabbitMQ's plugin breaks on an amqp-value with a list of two elements or more, not on a sequence.
    properties = {"qmf.opcode": "_agent_locate_request"}
    probe.send(body, properties, cid="locate", inferred=isinstance(body, list) and len(body) > 1)
    if not answers:
        assert probe.silent()
        return
    found = probe.answer("locate")
    assert kinds(found["application-properties"]) == TEXTS
    assert plain(found["application-properties"])["method"] == "indication"
    assert kinds(found["amqp-value"]) == {"_values": ATTRIBUTES}


def test_schema_ids(probe: Probe, host: TestHost) -> None:
    """One in a message, all but the last `partial`; the hash is a uuid."""
    parts = ask(probe, "_query_request", {"_what": "SCHEMA_ID"})
    assert len(parts) > 5
    for part in parts[:-1]:
        assert kinds(part["application-properties"]["partial"]) == "string"
    assert {name for part in parts for name in kinds(part["amqp-value"][0])} == SCHEMA_ID.keys()
    assert all(kinds(part["amqp-value"]) == [SCHEMA_ID] for part in parts)
    first = plain(parts[0]["application-properties"])
    assert (first["qmf.content"], first["method"]) == ("_schema_id", "response")
    assert plain(parts[0]["properties"]["content-type"]) == "amqp/list"
    names = {plain(part["amqp-value"][0]["_class_name"]) for part in parts}
    assert {"Host", "Task", "Lamp", "Room", "Agent", "sample_switched", "events_gap"} <= names


def test_schema(probe: Probe, host: TestHost) -> None:
    """A class has its properties and methods with the types, accesses and directions that consoles expect."""
    (part,) = ask(probe, "_query_request", {"_what": "SCHEMA", "_schema_id": {"_class_name": "Lamp"}})
    received = part["amqp-value"][0]
    assert plain(part["application-properties"]["qmf.content"]) == "_schema"
    assert kinds(received["_schema_id"]) == SCHEMA_ID
    properties = {one["_name"]: one for one in plain(received["_properties"])}
    assert properties["lampID"] == {
        "_name": "lampID",
        "_type": "TYPE_STRING",
        "_access": "RO",
        "_index": True,
    }
    assert properties["watts"]["_type"] == "TYPE_INT"
    assert properties["lit"]["_type"] == "TYPE_BOOL"
    assert properties["marks"]["_type"] == "TYPE_LIST"
    assert properties["custom"]["_type"] == "TYPE_MAP"
    methods = {one["_name"]: one for one in plain(received["_methods"])}
    engrave = {one["_name"]: one for one in methods["engrave"]["_arguments"]}
    assert [one["_dir"] for one in engrave.values()] == ["I", "I", "I", "O"]
    assert (engrave["pause"]["_type"], engrave["pause"]["_max"]) == ("TYPE_FLOAT", 2.0)
    assert engrave["result"]["_type"] == "TYPE_MAP"


def test_object(probe: Probe, host: TestHost) -> None:
    """An object has its ids, its times in nanoseconds, and its values with the types of AMQP."""
    query = {"_what": "OBJECT", "_schema_id": {"_package_name": "vdsm", "_class_name": "Lamp"}}
    (part,) = ask(probe, "_query_request", query)
    assert plain(part["application-properties"]["qmf.content"]) == "_data"
    (received,) = part["amqp-value"]
    assert kinds(received) == {
        "_values": {
            "lampID": "string",
            "name": "string",
            "colour": "string",
            "watts": "long",
            "lit": "bool",
            "hours": "long",
            "marks": [],
            "custom": {},
        },
        "_object_id": {"_object_name": "string", "_agent_name": "string"},
        "_schema_id": SCHEMA_ID,
        "_create_ts": "ulong",
        "_update_ts": "ulong",
        "_delete_ts": "ulong",
    }
    assert plain(received["_object_id"]) == {"_object_name": f"Lamp:{LAMP}", "_agent_name": AGENT}
    assert plain(received["_delete_ts"]) == 0


def test_object_by_id_and_by_predicate(probe: Probe, host: TestHost) -> None:
    """One by its id, with or without the agent's name; several by a predicate; none is an empty list."""
    for number, oid in enumerate(
        ({"_object_name": f"Lamp:{LAMP}"}, {"_object_name": f"Lamp:{LAMP}", "_agent_name": AGENT})
    ):
        (part,) = ask(probe, "_query_request", {"_what": "OBJECT", "_object_id": oid}, f"id-{number}")
        assert plain(part["amqp-value"])[0]["_values"]["name"] == "hall"
    for name, count in (("hall", 1), ("yard", 0)):
        query = {
            "_what": "OBJECT_ID",
            "_schema_id": {"_class_name": "Lamp"},
            "_where": ["eq", "name", ["quote", name]],
        }
        (part,) = ask(probe, "_query_request", query, f"where-{name}")
        assert len(part["amqp-value"]) == count
        assert plain(part["application-properties"]["qmf.content"]) == "_object_id"


def test_method(probe: Probe, host: TestHost) -> None:
    """A method on its object; a verb without a result answers with an empty map of arguments."""
    body = {
        "_object_id": {"_object_name": f"Lamp:{LAMP}", "_agent_name": AGENT},
        "_method_name": "switch",
        "_arguments": {"lit": True},
    }
    (part,) = ask(probe, "_method_request", body, "switch")
    assert kinds(part["application-properties"]) == {**TEXTS, "vdsm.revision": "string"}
    assert plain(part["amqp-value"])["_arguments"]["result"]["lit"] is True
    (part,) = ask(probe, "_method_request", {"_method_name": "Host.ping"}, "ping")
    assert part["amqp-value"] == {"_arguments": {}}


def test_exception(probe: Probe, host: TestHost) -> None:
    """Code and text as QMF has them, slug and facts beside them."""
    body = {"_object_id": {"_object_name": "Room"}, "_method_name": "add", "_arguments": {"left": "one"}}
    (part,) = ask(probe, "_method_request", body)
    assert plain(part["application-properties"]["qmf.opcode"]) == "_exception"
    received = values_of(part)
    assert kinds(received) == {
        "error_code": "uint",
        "error_text": "string",
        "slug": "string",
        "facts": {"argument": "string", "reason": "string"},
    }
    assert plain(received["error_code"]) == 91
    assert plain(received["error_text"]).startswith("Argument 'left' is not acceptable: ")


def test_event(probe: Probe, host: TestHost) -> None:
    """On a key with class and severity; with the number, and that of the event before it."""
    host.call("Lamp.switch", lampID=LAMP, lit=True)
    key = "agent.ind.event.vdsm.sample_switched.info.vdsm.vdsmd.wire_host"
    part = probe.wait(lambda m: plain(m["properties"]["subject"]) == key)
    assert plain(part["application-properties"]["qmf.content"]) == "_event"
    assert plain(part["application-properties"]["qmf.opcode"]) == "_data_indication"
    assert "correlation-id" not in part["properties"]
    (received,) = part["amqp-value"]
    assert kinds(received) == {
        "_schema_id": SCHEMA_ID,
        "_values": {
            "lit": "bool",
            "eventSeq": "long",
            "eventPrevious": "long",
            "eventId": "string",
            "eventTime": "double",
            "eventAbsent": [],
        },
        "_timestamp": "ulong",
        "_severity": "ubyte",
    }
    assert plain(received["_schema_id"]["_type"]) == "_event"
    assert plain(received["_severity"]) == 6
    assert plain(received["_values"]["eventId"]) == f"|sample|switched|{LAMP}"


def test_data_indications(probe: Probe, host: TestHost) -> None:
    """A changed object is published once; a deleted one with the time of its deletion."""
    key = "agent.ind.data.vdsm.Lamp.vdsm.vdsmd.wire_host"

    def received(m: dict[str, Any]) -> Any:
        return plain(m["amqp-value"])[0] if plain(m["properties"].get("subject")) == key else None

    probe.wait(lambda m: plain(m["properties"]["subject"]) == key)
    host.call("Lamp.switch", lampID=LAMP, lit=True)
    part = probe.wait(lambda m: bool(received(m)) and received(m)["_values"]["lit"])
    assert plain(part["application-properties"]["qmf.content"]) == "_data"
    host.call("Lamp.remove", lampID=LAMP)
    gone = received(probe.wait(lambda m: bool(received(m)) and received(m)["_delete_ts"]))
    assert gone["_object_id"]["_object_name"] == f"Lamp:{LAMP}"
    changes = [received(m) for _, m in probe.got if received(m) and not received(m)["_delete_ts"]]
    assert [one["_values"]["lit"] for one in changes] == [False, True]


@pytest.mark.parametrize(
    "cid", ["text", ulong(7), uuid.UUID(int=5), b"bytes"], ids=["string", "ulong", "uuid", "binary"]
)
def test_correlation_id_goes_back_unchanged(probe: Probe, host: TestHost, cid: Any) -> None:
    """Whatever type it has: consoles convert it back to what they made it of."""
    (part,) = ask(probe, "_method_request", {"_method_name": "Host.ping"}, cid)
    kind = {str: "string", ulong: "ulong", uuid.UUID: "uuid", bytes: "binary"}[type(cid)]
    assert part["properties"]["correlation-id"].kind == kind


def test_request_of_a_console_in_c(probe: Probe, host: TestHost) -> None:
    """All its texts are binary, in the properties and in the body."""
    properties = {"qmf.opcode": b"_method_request", "x-amqp-0-10.app-id": b"qmf2", "method": b"request"}
    body = {
        "_method_name": b"add",
        "_object_id": {"_object_name": b"Room"},
        "_arguments": {"left": b"2", "right": 3},
    }
    probe.send(body, properties, to=AGENT, cid="c")
    assert plain(probe.answer("c")["amqp-value"]) == {"_arguments": {"result": 5}}


def test_long_text_is_binary(probe: Probe, host: TestHost) -> None:
    """A text that AMQP 0-10 has no type for would cost a console behind qpidd its connection."""
    for size, kind in ((65_535, "string"), (65_536, "binary")):
        body = {"_method_name": "Host.echo", "_arguments": {"message": "x" * size}}
        (part,) = ask(probe, "_method_request", body, f"echo-{size}")
        assert kinds(part["amqp-value"]) == {"_arguments": {"result": kind}}


@pytest.mark.parametrize(("name", "kind"), [("Lamp", 1), ("sample_switched", 2)])
def test_schema_of_the_first_qmf(probe: Probe, host: TestHost, name: str, kind: int) -> None:
    """Bytes in, bytes out: the same class with the same hash, without any mark of QMFv2."""
    (id_,) = ask(probe, "_query_request", {"_what": "SCHEMA_ID", "_schema_id": {"_class_name": name}})
    digest = plain(id_["amqp-value"][0]["_hash"]).bytes
    texts = b"".join(bytes((len(text),)) + text for text in (b"vdsm", name.encode()))
    request = b"AM2S" + struct.pack(">I", 42) + texts + digest
    probe.send(request, None, to=AGENT)
    answer = probe.wait(lambda m: "data" in m)
    assert plain(answer["application-properties"]) == {"qmf.agent": AGENT}
    data = answer["data"].value
    assert data[:9] == b"AM2s" + struct.pack(">IB", 42, kind)
    assert data[9 : 9 + len(texts) + 16] == texts + digest
    at = 9 + len(texts) + 16
    if kind == 2:
        (count,), at = struct.unpack_from(">H", data, at), at + 2
        arguments = []
        for _ in range(count):
            argument, at = v1_map(data, at)
            arguments.append((argument["name"], argument["type"]))
        assert ("lit", 11) in arguments
        assert ("eventSeq", 19) in arguments
    else:
        check_v1_data(data, at)
        return
    assert at == len(data)


def check_v1_data(data: bytes, at: int) -> None:
    counts, at = struct.unpack_from(">HHH", data, at), at + 6
    properties = []
    for _ in range(counts[0] + counts[1]):
        one, at = v1_map(data, at)
        properties.append(one)
    assert properties[0] == {"name": "lampID", "type": 7, "access": 3, "index": 1, "optional": 0}
    methods = {}
    for _ in range(counts[2]):
        method, at = v1_map(data, at)
        methods[method["name"]] = []
        for _ in range(method["argCount"]):
            argument, at = v1_map(data, at)
            methods[method["name"]].append((argument["name"], argument["type"], argument["dir"]))
    assert at == len(data)
    assert methods["switch"] == [
        ("lampID", 7, "I"),
        ("lit", 11, "I"),
        ("note", 7, "I"),
        ("result", 15, "O"),
    ]


def test_severity_keys_have_three_words_after_event(probe: Probe, host: TestHost) -> None:
    """qpid-printevents binds `agent.ind.event.*.*.*.#`."""
    host.call("Lamp.switch", lampID=LAMP, lit=True)
    part = probe.wait(lambda m: "event" in str(plain(m["properties"].get("subject"))))
    assert re.fullmatch(r"agent\.ind\.event\.[^.]+\.[^.]+\.[^.]+\..+", plain(part["properties"]["subject"]))
