"""Random and mutated requests: each is answered or dropped, no thread dies, the agent answers afterwards."""

from __future__ import annotations

import itertools
import logging
import threading
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from proton import Message

from tests import soak
from vdsm_qmf.testing import RabbitMQ

from .amqp_bytes import plain
from .conftest import MakeHost
from .probe import Probe

pytestmark = pytest.mark.soak

AGENT = "vdsm:vdsmd:fuzz"
LAMP = "11111111-2222-4333-8444-000000000099"
METHOD = {"qmf.opcode": "_method_request"}
#: Requests in one example, which are sent without a wait in between; and how many examples.
BATCH = 20
ROUNDS = soak.count(75)
MANY = settings(
    max_examples=ROUNDS,
    # A smaller example would be sought for with a busy agent: the log names the request that is to blame.
    phases=[Phase.generate],
    deadline=None,
    suppress_health_check=list(HealthCheck),
    database=None,
)

TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats()
    | TEXT
    | st.binary(max_size=12)
    | st.uuids()
)
JUNK = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
#: Names that mean something, in the places of each other, too.
WORDS = st.sampled_from(
    [
        "Host.ping", "Host.echo", "Room.add", "Lamp.create", "Lamp.switch", "Lamp.burn", "Task.stop", "call",
        "switch", "lampID", "lamp", "left", "right", "message", "Lamp", "Host", "Room", "Agent",
        f"Lamp:{LAMP}", AGENT, "OBJECT", "OBJECT_ID", "SCHEMA", "SCHEMA_ID", "vdsm", "and", "or", "not", "eq",
        "re_match", "exists", "quote", "unquote",
    ]
)  # fmt: skip
VALUES = WORDS | JUNK
MEMBERS = st.sampled_from(
    [
        "_method_name", "_arguments", "_object_id", "_object_name", "_agent_name", "_what", "_where",
        "_schema_id", "_package_name", "_class_name", "_type", "_hash", "_values",
    ]
)  # fmt: skip
PREDICATES = st.recursive(VALUES, lambda inner: st.lists(inner, max_size=4), max_leaves=8)
BODIES = st.one_of(
    st.fixed_dictionaries(
        {"_method_name": VALUES},
        optional={
            "_object_id": VALUES | st.dictionaries(MEMBERS, VALUES, max_size=2),
            "_arguments": VALUES | st.dictionaries(WORDS | TEXT, VALUES, max_size=3),
        },
    ),
    st.fixed_dictionaries(
        {"_what": VALUES},
        optional={
            "_schema_id": VALUES | st.dictionaries(MEMBERS, VALUES, max_size=3),
            "_object_id": VALUES | st.dictionaries(MEMBERS, VALUES, max_size=2),
            "_where": PREDICATES,
        },
    ),
    st.dictionaries(MEMBERS | TEXT, VALUES, max_size=4),
    st.binary(max_size=30).map(lambda tail: b"AM2S" + tail),
    st.none(),
)
PROPERTIES = st.fixed_dictionaries(
    {
        "qmf.opcode": st.sampled_from(
            ["_method_request", "_method_request", "_query_request", "_agent_locate_request", "_no_request"]
        )
        | TEXT
    },
    optional={
        "vdsm.request_id": TEXT | st.integers(0, 9).map(str) | st.integers(-(2**31), 2**31 - 1),
        "vdsm.flow_id": TEXT | st.booleans(),
        "vdsm.timeout": TEXT | st.floats() | st.integers(0, 5).map(str),
        "method": TEXT,
        "x-amqp-0-10.app-id": TEXT,
    },
)
REQUESTS = st.tuples(PROPERTIES, BODIES)


class Complaints(logging.Handler):
    """What the daemon takes for a bug of its own."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.records: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(self.format(record))


@pytest.fixture
def complaints() -> Any:
    """Errors in the log, and threads that died, since the test began."""
    handler, died = Complaints(), threading.excepthook
    threading.excepthook = lambda hook: handler.records.append(f"{hook.thread} died: {hook.exc_value!r}")
    logging.getLogger().addHandler(handler)
    yield handler.records
    logging.getLogger().removeHandler(handler)
    threading.excepthook = died


def answers(probe: Probe, numbers: itertools.count[int]) -> None:
    """The agent answers, and so has read everything that was sent before."""
    cid = f"ping-{next(numbers)}"
    probe.send({"_method_name": "Host.ping"}, METHOD, to=AGENT, cid=cid)
    assert plain(probe.answer(cid, 30.0)["amqp-value"]) == {"_arguments": {}}


def test_random_requests(broker: RabbitMQ, on_bus: MakeHost, complaints: list[str]) -> None:
    """Every request is answered, with a result or a refusal, never with a bug."""
    on_bus("fuzz", queue=10_000).call("Lamp.create", lamp={"lampID": LAMP, "name": "hall"})
    numbers = itertools.count()
    with Probe(broker.url) as probe:

        @MANY
        @given(st.lists(REQUESTS, min_size=BATCH, max_size=BATCH))
        def check(requests: list[tuple[dict[str, Any], Any]]) -> None:
            probe.got.clear()
            cids = []
            for properties, body in requests:
                cids.append(f"random-{next(numbers)}")
                probe.send(body, properties, to=AGENT, cid=cids[-1])
            answers(probe, numbers)
            for cid, (properties, body) in zip(cids, requests, strict=True):
                if properties["qmf.opcode"] in {"_method_request", "_no_request"} and isinstance(body, dict):
                    probe.answer(cid, 30.0)
            bugs = [text for _, message in probe.got if "unexpected-error" in (text := str(message))]
            assert bugs == []
            assert complaints == []

        check()
        assert not [text for _, message in probe.got if "Traceback" in (text := str(message))]


def damage(data: st.DataObject, whole: bytes) -> bytes:
    """A message with bytes changed, lost or doubled, or cut off."""
    message = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, len(message) - 1))
        kind = data.draw(st.sampled_from(["change", "change", "drop", "double", "cut"]))
        if kind == "change":
            message[at] = data.draw(st.integers(0, 255))
        elif kind == "drop" and len(message) > 1:
            del message[at]
        elif kind == "double":
            message[at:at] = message[max(0, at - 5) : at + 5]
        elif kind == "cut" and at:
            del message[at:]
    return bytes(message)


def test_mutated_bytes(broker: RabbitMQ, on_bus: MakeHost, complaints: list[str]) -> None:
    """Messages that lost or gained bytes, as a bus would hand them to the agent, do it no harm."""
    host = on_bus("fuzz", queue=10_000)
    host.call("Lamp.create", lamp={"lampID": LAMP, "name": "hall"})
    numbers = itertools.count()
    with Probe(broker.url) as probe:
        wholes = []
        for body, opcode in (
            ({"_method_name": "Lamp.switch", "_arguments": {"lampID": LAMP, "lit": True}}, "_method_request"),
            ({"_method_name": "switch", "_object_id": {"_object_name": f"Lamp:{LAMP}"}}, "_method_request"),
            ({"_what": "OBJECT", "_schema_id": {"_class_name": "Lamp"}}, "_query_request"),
            ({"_what": "SCHEMA", "_schema_id": {"_class_name": "Lamp"}}, "_query_request"),
            ({"_where": ["eq", "_product", ["quote", "vdsmd"]]}, "_agent_locate_request"),
        ):
            message = Message(body=body, properties={"qmf.opcode": opcode})
            message.reply_to, message.user_id, message.correlation_id = probe.reply_to, b"guest", "mutated"
            wholes.append(bytes(message.encode()))

        @MANY
        @given(st.data())
        def check(data: st.DataObject) -> None:
            for _ in range(BATCH):
                message = damage(data, data.draw(st.sampled_from(wholes)))
                host.agent.received(message, 0, oversized=data.draw(st.booleans()))
            answers(probe, numbers)
            assert complaints == []

        check()
        assert host.call("Lamp.getInfo", lampID=LAMP).name == "hall"
