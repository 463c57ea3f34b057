"""What a caller that is limited to some objects gets of the events and objects of the agent."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from vdsm_bridge import Context, Identity
from vdsm_bridge.call.scope import ObjectScope, Scope
from vdsm_bridge.errors import OutOfScope
from vdsm_bridge.testing import TestHost
from vdsm_qmf.agent.inventory import Inventory
from vdsm_qmf.agent.replay import Replay
from vdsm_qmf.agent.schema_cache import SchemaCache

MINE = "aaaaaaaa-0000-4000-8000-000000000001"
THEIRS = "bbbbbbbb-0000-4000-8000-000000000002"
JOE = Identity("joe", "admin", "token", scope=Scope(objects=(ObjectScope(of="Lamp", ids=(MINE,)),)))


@pytest.fixture
def host() -> Iterator[TestHost]:
    """A host with two lamps that were switched."""
    with TestHost() as started:
        for lamp in (MINE, THEIRS):
            started.call("Lamp.create", lamp={"lampID": lamp, "name": lamp})
            started.call("Lamp.switch", lampID=lamp, lit=True)
        started.host.runtime.events.flush()
        yield started


@pytest.mark.parametrize("pattern", ["", f"|sample|switched|{THEIRS}", "sample"])
def test_replayed_events(host: TestHost, pattern: str) -> None:
    """Only those about its objects, whatever the pattern; an unlimited caller gets both."""
    replay = Replay(host.bridge)
    told = replay.events({"after": 0, "pattern": pattern}, JOE)["events"]
    assert {event["eventId"] for event in told} <= {f"|sample|switched|{MINE}"}
    assert len(replay.events({"after": 0, "pattern": "sample"}, Identity("a", "monitor"))["events"]) == 2


def test_a_caller_that_is_limited_to_other_verbs(host: TestHost) -> None:
    """Has no events."""
    ann = Identity("ann", "admin", "token", scope=Scope(verbs=("Lamp.*",)))
    with pytest.raises(OutOfScope):
        Replay(host.bridge).events({"after": 0}, ann)


def test_objects(host: TestHost) -> None:
    """Queries list its objects, and find no other one by its id."""
    kind = SchemaCache(host.bridge).current().kinds["Lamp"]
    inventory, context = Inventory(host.bridge), Context(identity=JOE, binding="qmf")
    assert [one.properties["lampID"] for one in inventory.objects(kind, context)] == [MINE]
    assert inventory.one(kind, THEIRS, context) is None
