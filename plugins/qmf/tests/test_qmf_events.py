"""Events over the bus: what a console may not read is a gap, and waiting calls block no others."""

from __future__ import annotations

import time
from concurrent.futures import as_completed
from typing import Any, ClassVar

from msgspec import UNSET, UnsetType

from vdsm_bridge.events import EventParams
from vdsm_bridge.testing.polling import until
from vdsm_qmf.agent.replay import complete
from vdsm_qmf.schema.classes import build
from vdsm_qmf.testing import USER, RabbitMQ

from .amqp_bytes import kinds, plain
from .conftest import Console, MakeHost
from .probe import Probe

LAMP = "00000000-0000-4000-8000-00000000000e"


def test_a_host_that_refuses_to_tell(on_bus: MakeHost, console: Console, broker: RabbitMQ) -> None:
    """A console without a role receives events; those that it has missed are one gap with the reason."""
    host = on_bus("h")
    host.call("Lamp.create", lamp={"lampID": LAMP, "name": "hall"})
    before = host.host.runtime.events.flush()
    with console().events() as known:
        host.call("Lamp.switch", lampID=LAMP, lit=True)
        received = known.next(20)
        while received is None or received.params != {"lit": True}:
            received = known.next(20)
    missed = received.seq
    cluster = console(broker.url.replace(USER, "guard"), password="guard")
    cluster.wait_for("h")
    with cluster.events("sample", resume={"h": before}) as stream:
        gap = stream.next(20)
        assert gap is not None
        assert (gap.is_gap, gap.params["from"], gap.params["to"]) == (True, before + 1, missed)
        assert "guard" in gap.params["reason"]
        host.call("Lamp.switch", lampID=LAMP, lit=False)
        event = stream.next(20)
        assert event is not None
        assert (event.seq, event.params) == (missed + 1, {"lit": False})
        assert stream.positions == {"h": missed + 1}


def test_waiting_calls_leave_threads_to_others(on_bus: MakeHost, console: Console) -> None:
    """At most half of the threads wait for events; further calls that wait are refused, others are served."""
    host = on_bus("h", threads=4)
    host.call("Lamp.create", lamp={"lampID": LAMP, "name": "hall"})
    cluster = console()
    cluster.wait_for("h")
    requested = [
        {"subscriptionID": cluster.call("h", "Events.subscribe", {"filter": "sample"})["subscriptionID"]}
        for _ in range(6)
    ]
    calls = [cluster.submit("h", "Events.next", {**one, "timeout": 30}) for one in requested]
    # Four of them are: the others wait.
    refused = [call.exception() for _, call in zip(range(4), as_completed(calls, 20), strict=False)]
    assert {getattr(error, "slug", error) for error in refused} == {"resource-exhausted"}
    began = time.monotonic()
    assert cluster.call("h", "Room.add", {"left": 1}) == 2
    assert time.monotonic() - began < 10.0
    host.call("Lamp.switch", lampID=LAMP, lit=True)
    results = [call for call in calls if call.exception(20) is None]
    assert len(results) == 2
    assert [len(call.result()) for call in results] == [1, 1]


def test_stopping_ends_waiting_calls(on_bus: MakeHost, console: Console) -> None:
    """They are answered, with nothing, instead of taking the time that calls get to finish."""
    host = on_bus("h")
    cluster = console()
    cluster.wait_for("h")
    made = cluster.call("h", "Events.subscribe", {"filter": "sample"})
    call = cluster.submit("h", "Events.next", {"subscriptionID": made["subscriptionID"], "timeout": 60})
    until(lambda: [held.idle for held in host.call("Events.list")] == [0.0])
    began = time.monotonic()
    host.host.stop()
    assert time.monotonic() - began < 30.0
    assert call.result(20) == []


class Everything(EventParams, frozen=True):
    """One optional argument of each kind."""

    component: ClassVar[str] = "sample"
    operation: ClassVar[str] = "everything"
    present: int
    text: str | UnsetType = UNSET
    whole: int | UnsetType = UNSET
    fraction: float | UnsetType = UNSET
    flag: bool | UnsetType = UNSET
    names: list[str] | UnsetType = UNSET
    table: dict[str, int] | UnsetType = UNSET


EMPTY = {"text": "", "whole": 0, "fraction": 0.0, "flag": False, "names": [], "table": {}}
GIVEN = {"text": "x", "whole": 7, "fraction": 0.5, "flag": True, "names": ["a", "b"], "table": {"k": 1}}


def test_every_argument_is_there(on_bus: MakeHost, console: Console, broker: RabbitMQ) -> None:
    """An absent one holds an empty value of its type, for old consoles; vdsm's console hides it."""
    host = on_bus("h")
    cluster = console()
    cluster.wait_for("h")
    publish = host.host.runtime.events.publish
    (schema,) = cluster.schema("h", "sample_everything")
    arguments = {one["_name"] for one in schema["_properties"]}
    with Probe(broker.url, "agent.ind.event.vdsm.sample_everything.#") as probe:
        with cluster.events("|sample|everything") as stream:
            publish(Everything(present=1), "a")
            publish(Everything(present=2, **GIVEN), "b")
            ours = [stream.next(20.0) for _ in range(2)]
        parts = [
            probe.wait(lambda m, name=name: received(m).get("eventId", "").endswith(name)) for name in "ab"
        ]
    bare, full = (received(part) for part in parts)
    assert bare.keys() == full.keys() == arguments
    assert {name: bare[name] for name in EMPTY} == EMPTY
    assert (bare["present"], bare["eventAbsent"]) == (1, list(EMPTY))
    assert {name: full[name] for name in GIVEN} == GIVEN
    assert full["eventAbsent"] == []
    bare_types = kinds(parts[0]["amqp-value"][0]["_values"])
    assert [bare_types[name] for name in EMPTY] == ["string", "long", "double", "bool", [], {}]
    assert [one.params for one in ours if one is not None] == [{"present": 1}, {"present": 2, **GIVEN}]
    # The journal has what was published, and so has a replay.
    with cluster.events("|sample|everything", resume={"h": 0}) as stream:
        again = [stream.next(20.0) for _ in range(2)]
    assert [one.params for one in again if one is not None] == [{"present": 1}, {"present": 2, **GIVEN}]


def test_an_event_of_an_older_class() -> None:
    """What its class has got since, and what is null, is filled in as well."""
    kind = build({}, [Everything]).event_class("sample_everything")
    assert kind is not None
    values = complete({"present": None, "text": "x", "other": 1}, kind)
    assert values["present"] == 0
    assert (values["text"], values["other"]) == ("x", 1)
    assert "present" in values["eventAbsent"]
    assert "text" not in values["eventAbsent"]
    assert None not in values.values()


def received(message: dict[str, Any]) -> dict[str, Any]:
    """The values of an event that a probe has got; none of another message."""
    values = plain(message.get("amqp-value", []))
    return values[0]["_values"] if isinstance(values, list) and values else {}
