"""Which calls are recorded, and how. The contract suite tests caller and address for each binding."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from vdsm_bridge.call.context import Context, Identity
from vdsm_bridge.testing import TestHost
from vdsm_bridge.testing.polling import until
from vdsm_bridge.work import Plan, Progress, Reference, Step, begin_task, exclusive, nothing
from vdsm_core.errors import Conflict, RequestIdReused, VdsmError

LAMP = "11111111-2222-4333-8444-555555555555"
JOE = Identity("joe", "operator", "token")
#: Members that differ from line to line.
CHANGING = {"seq", "prev", "time", "call", "outcome", "seconds"}
EVE = Identity("eve", "monitor", "token")


class Audited:
    """A host whose audit log is looked at."""

    def __init__(self, host: TestHost, path: Path) -> None:
        self.host = host
        self._path = path

    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._path.read_text().splitlines()]

    def values(self, *members: str) -> list[tuple[Any, ...]]:
        return [tuple(record.get(name, "") for name in members) for record in self.records()]


@pytest.fixture
def audited(make_vdsm_host: Callable[..., TestHost], tmp_path: Path) -> Audited:
    path = tmp_path / "audit.log"
    return Audited(make_vdsm_host(config={"audit": {"file": str(path)}}), path)


@pytest.fixture
def lamp(audited: Audited) -> str:
    audited.host.call("Lamp.create", lamp={"lampID": LAMP, "name": "hall"})
    return LAMP


def test_an_action(audited: Audited) -> None:
    """Two lines with all that is known of the call; the id of what is made is found in its description."""
    context = Context(identity=JOE, binding="rest", address="192.0.2.1", flow_id="f1", request_id="r1")
    lamp = {"lampID": LAMP, "name": "secret-name", "password": "secret-word"}
    audited.host.bridge.call("Lamp.create", {"lamp": lamp}, context)
    begun, done = audited.records()
    assert (begun["outcome"], done["outcome"]) == ("begun", "done")
    assert done["seconds"] > 0
    for record in (begun, done):
        assert record["time"].endswith("Z")
        assert {name: record[name] for name in record.keys() - CHANGING} == {
            "verb": "Lamp.create", "object": LAMP, "who": "joe", "role": "operator", "how": "token",
            "binding": "rest", "address": "192.0.2.1", "flow_id": "f1", "request_id": "r1",
        }  # fmt: skip
    assert "secret" not in str(audited.records())


def test_queries_leave_nothing(audited: Audited, lamp: str) -> None:
    """A query is not recorded, whether it succeeds or fails."""
    before = len(audited.records())
    audited.host.call("Lamp.getInfo", lampID=lamp)
    with pytest.raises(VdsmError):
        audited.host.call("Lamp.getInfo", lampID=str(uuid.uuid4()))
    with pytest.raises(VdsmError):
        audited.host.call("Lamp.getInfo", lampID="x")
    assert len(audited.records()) == before


@pytest.mark.parametrize(
    ("verb", "arguments", "identity", "slug", "object_"),
    [
        ("Lamp.switch", {"lampID": LAMP, "lit": True}, EVE, "forbidden", ""),
        ("Room.whisper", {}, JOE, "forbidden", ""),
        ("Lamp.switch", {"lampID": LAMP, "lit": "secret"}, JOE, "invalid-argument", ""),
        ("Lamp.remove", {"lampID": LAMP}, JOE, "no-such-lamp", LAMP),
        ("Room.breakDown", {}, JOE, "unexpected-error", ""),
    ],
)
def test_failures(
    audited: Audited, verb: str, arguments: dict[str, Any], identity: Identity, slug: str, object_: str
) -> None:
    """The outcome is the slug of the error; what is refused at the door has not begun."""
    with pytest.raises(VdsmError):
        audited.host.call(verb, identity=identity, **arguments)
    records = audited.records()
    last = records[-1]
    assert (last["verb"], last["outcome"], last.get("object", "")) == (verb, slug, object_)
    assert [record["outcome"] for record in records[:-1]] == (
        ["begun"] if slug in {"no-such-lamp", "unexpected-error"} else []
    )
    assert "secret" not in str(records)


def test_the_same_request_again(audited: Audited, lamp: str) -> None:
    """A request answered by its id is recorded as such; one that reuses an id wrongly, as refused."""
    for _ in range(2):
        audited.host.call("Lamp.switch", lampID=lamp, lit=True, request_id="again")
    with pytest.raises(RequestIdReused):
        audited.host.call("Lamp.switch", lampID=lamp, lit=False, request_id="again")
    outcomes = [outcome for outcome, request in audited.values("outcome", "request_id") if request == "again"]
    assert outcomes == ["begun", "done", "replayed", "request-id-reused"]


@pytest.mark.parametrize(("known", "outcome"), [(True, "done"), (False, "no-such-lamp")])
def test_a_task(audited: Audited, lamp: str, known: bool, outcome: str) -> None:
    """Its start is recorded, and, with the id of the task, the outcome of the work."""
    object_ = lamp if known else str(uuid.uuid4())
    task = audited.host.call("Lamp.burn", lampID=object_, hours=1, identity=JOE).task_id
    until(lambda: audited.values("verb", "task", "outcome")[-1][2] == outcome and len(audited.records()) >= 6)
    burns = [
        each for each in audited.values("verb", "task", "outcome", "object", "who") if each[0] == "Lamp.burn"
    ]
    common = (object_, "joe")
    assert sorted(burns) == sorted(
        [
            ("Lamp.burn", "", "begun", *common),
            ("Lamp.burn", task, "done", *common),
            ("Lamp.burn", task, "begun", *common),
            ("Lamp.burn", task, outcome, *common),
        ]
    )


def test_an_action_that_waits(audited: Audited, lamp: str) -> None:
    """The request is recorded before it is carried out: a crash cannot hide it."""
    with ThreadPoolExecutor(2) as pool:
        slow = pool.submit(audited.host.call, "Lamp.engrave", lampID=lamp, text="a", pause=0.5)
        until(lambda: ("Lamp.engrave", "begun") in audited.values("verb", "outcome"))
        waiting = pool.submit(audited.host.call, "Lamp.switch", lampID=lamp, lit=True)
        until(lambda: ("Lamp.switch", "begun") in audited.values("verb", "outcome"))
        assert not slow.done()
        waiting.result(20)
    last = audited.records()[-1]
    assert (last["verb"], last["outcome"]) == ("Lamp.switch", "done")
    assert last["seconds"] > 0.1


@pytest.mark.parametrize("to", ["none", "log"])
def test_elsewhere(make_vdsm_host: Callable[..., TestHost], tmp_path: Path, to: str) -> None:
    """No file is made if the records go to the log, or nowhere."""
    path = tmp_path / "audit.log"
    host = make_vdsm_host(config={"audit": {"to": to, "file": str(path)}})
    host.call("Lamp.create", lamp={"lampID": LAMP, "name": "hall"})
    assert not path.exists()


class Socket(Reference):
    """What a lamp is screwed into."""


def test_a_task_that_an_action_began(audited: Audited) -> None:
    """It has one line, at its end, with its caller; a task that no caller began has none."""

    def fail(_: Progress) -> None:
        raise Conflict(reason="no")

    work = audited.host.host.runtime.work
    context = Context(identity=JOE, binding="rest", origin="here")
    for do in (nothing, fail):
        plan = Plan(steps=(Step(name="a", do=do),), locks=(exclusive(Socket(LAMP)),), listed=False)
        work.tasks.submit("Lamp.create", "", "{}", plan)
        begin_task(work, "Lamp.create", "{}", plan, context)
    until(lambda: len(audited.records()) == 2)
    assert sorted(audited.values("verb", "outcome", "code", "who", "object", "address")) == [
        ("Lamp.create", "conflict", 100, "joe", LAMP, "here"),
        ("Lamp.create", "done", "", "joe", LAMP, "here"),
    ]
    assert all(record["task"] and record["seconds"] >= 0 for record in audited.records())
