"""Objects that lie in others: their names, their properties, and how they are listed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vdsm_bridge import Context, Identity
from vdsm_bridge.errors import OperationFailed
from vdsm_bridge.testing import TestHost
from vdsm_bridge.testing.nested_contract import LEFT, RIGHT, TOP
from vdsm_qmf.agent.inventory import Inventory
from vdsm_qmf.schema.classes import build
from vdsm_qmf.schema.objects import Kind, kinds

DRAWER = Kind(name="Drawer", keys=("rackID", "drawerID"))
ADMIN = Context(identity=Identity(name="test", role="admin"), binding="qmf")


@pytest.fixture
def host() -> Iterator[TestHost]:
    """A host with two racks, and a drawer of the same id in each."""
    with TestHost() as host:
        for rack in (LEFT, RIGHT):
            host.call("Rack.create", rackID=rack)
            host.call("Drawer.create", rackID=rack, drawerID=TOP, name=rack)
        yield host


@settings(deadline=None)
@given(st.lists(st.text(min_size=1), min_size=2, max_size=2))
def test_names_have_all_ids(ids: list[str]) -> None:
    """Whatever the ids hold, they are found again in the name."""
    name = DRAWER.object_name(ids)
    assert name.startswith("Drawer:")
    assert DRAWER.ids_in(name.removeprefix("Drawer:")) == tuple(ids)


def test_names_that_do_not_fit() -> None:
    """A name with too few or too many ids is none; that of an object with one key is as it always was."""
    assert DRAWER.ids_in("one") == DRAWER.ids_in("one:two:three") == ()
    lamp = Kind(name="Lamp", keys=("lampID",))
    assert (lamp.object_name(["a:b%"]), lamp.ids_in("a:b%")) == ("Lamp:a:b%", ("a:b%",))


def test_the_schema_has_all_keys(host: TestHost) -> None:
    """The keys are index properties, the parent's first; a call on the object needs none of them."""
    drawer = build(host.bridge.verbs, ()).data_class("Drawer")
    assert [one.name for one in drawer.properties if one.index] == ["rackID", "drawerID"]
    put, create = drawer.by_method["put"], drawer.by_method["create"]
    assert {one.name for one in put.arguments if one.optional} == {"rackID", "drawerID", "pause"}
    assert {one.name for one in create.arguments if one.optional} == {"name"}


def test_objects_are_listed_for_each_parent(host: TestHost) -> None:
    """Each has the ids of its parents among its properties, and its statistics are its own."""
    host.call("Drawer.put", tool="saw", rackID=LEFT, drawerID=TOP)
    kind = kinds(host.bridge.verbs)["Drawer"]
    inventory = Inventory(host.bridge)
    found = {one.name: one for one in inventory.objects(kind, ADMIN)}
    names = {rack: kind.object_name([rack, TOP]) for rack in (LEFT, RIGHT)}
    assert set(found) == set(names.values())
    assert found[names[LEFT]].values.items() >= {"rackID": LEFT, "drawerID": TOP, "count": 1}.items()
    one = inventory.one(kind, (RIGHT, TOP), ADMIN)
    assert one is not None
    assert (one.properties["name"], one.statistics) == (RIGHT, {"count": 0})
    assert inventory.one(kind, (RIGHT, "none"), ADMIN) is None


def test_one_parent_that_cannot_be_read(host: TestHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """The objects of the others are listed before its error is raised."""
    kind = kinds(host.bridge.verbs)["Drawer"]
    call = host.bridge.call

    def broken(name: str, arguments: Any, context: Context, **more: Any) -> Any:
        if name == "Drawer.list" and arguments == {"rackID": LEFT}:
            raise OperationFailed(reason="the left rack burns")
        return call(name, arguments, context, **more)

    monkeypatch.setattr(host.bridge, "call", broken)
    listed = Inventory(host.bridge).objects(kind, ADMIN)
    assert next(listed).properties["rackID"] == RIGHT
    with pytest.raises(OperationFailed, match="the left rack burns"):
        next(listed)
