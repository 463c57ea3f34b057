"""Routes follow from the declarations."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import pytest

from vdsm_bridge.api.collect import collect
from vdsm_bridge.api.declare import Namespace, action, query
from vdsm_bridge.api.routes import Place, Route, derive, segment, shape_of
from vdsm_bridge.testing import TestHost
from vdsm_core.types import UUID


class Spec(msgspec.Struct):
    name: str


class Disk(Namespace, key="diskID", listed_by="Disk.list"):
    """A disk."""

    @query(since="1.0", name="list", part="list")
    def all(self, kinds: list[str] = []) -> list[str]:  # noqa: B006 - a default of the API, copied for each call
        """All."""
        return kinds

    @action(since="1.0", part="create")
    def create(self, spec: Spec, force: bool = False) -> str:
        """Make one."""
        return f"{spec.name}{force}"

    @query(since="1.0")
    def get_stats(self, disk_id: UUID, span: int = 1) -> int:
        """How it does."""
        return len(disk_id) + span

    @action(since="1.0")
    def resize(self, disk_id: UUID, size: int) -> None:
        """Make it larger."""

    @query(since="1.0")
    def get_total(self, where: dict[str, int] = {}) -> int:  # noqa: B006 - as above
        """Of all."""
        return len(where)


def routes_of(*namespaces: Namespace) -> dict[str, Route]:
    verbs = {verb.name: verb for namespace in namespaces for verb in collect(namespace)}
    return {f"{route.method} {route.path}": route for route in derive(verbs).routes}


def places(route: Route) -> dict[str, Place]:
    return {argument.param.name: argument.place for argument in route.arguments}


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("getStats", "stats"), ("getAllVmStats", "all-vm-stats"), ("getVMFullList", "vm-full-list"),
        ("setLogLevel", "set-log-level"), ("ping2", "ping2"), ("get", "get"), ("getaway", "getaway"),
        ("setIoTune", "set-io-tune"), ("dumpxmls", "dumpxmls"),
    ],
)  # fmt: skip
def test_segment(name: str, path: str) -> None:
    """Names become path segments without their leading `get`."""
    assert segment(name) == path


@pytest.mark.parametrize(
    ("type_", "shape"),
    [
        (int, "scalar"), (UUID, "scalar"), (str | None, "scalar"), (list[int], "array"), (list[Spec], "any"),
        (Spec, "object"), (dict[str, int], "object"), (Spec | None, "object"), (Any, "any"),
        (int | Spec, "any"),
        (Annotated[str, msgspec.Meta(max_length=3)], "scalar"),
    ],
)  # fmt: skip
def test_shapes(type_: Any, shape: str) -> None:
    """What fits into one text, into several, or only into JSON."""
    assert shape_of(type_) == shape


def test_rules() -> None:
    """Every rule of the table in the module's docstring, and where the arguments travel."""
    routes = routes_of(Disk())
    assert {key for key in routes if "/verbs/" not in key} == {
        "GET /disks", "POST /disks", "GET /disks/{diskID}/stats", "POST /disks/{diskID}/resize",
        "GET /disks/total",
    }  # fmt: skip
    assert places(routes["GET /disks"]) == {"kinds": Place.QUERY}
    assert places(routes["POST /disks"]) == {"spec": Place.BODY, "force": Place.QUERY}
    assert places(routes["GET /disks/{diskID}/stats"]) == {"diskID": Place.PATH, "span": Place.QUERY}
    assert places(routes["POST /disks/{diskID}/resize"]) == {"diskID": Place.PATH, "size": Place.MEMBER}
    assert places(routes["POST /verbs/Disk.resize"]) == {"diskID": Place.MEMBER, "size": Place.MEMBER}


def test_every_verb_has_its_routes() -> None:
    """Each verb of a host has a route of its own and one by its name; operation ids are unique."""
    with TestHost() as host:
        derived = derive(host.bridge.verbs)
        assert not derived.conflicts
        for name in host.bridge.verbs:
            mine = [route for route in derived.routes if route.verb.name == name]
            assert f"/verbs/{name}" in {route.path for route in mine}
            assert name in {route.operation for route in mine}
        operations = [route.operation for route in derived.routes]
        assert len(operations) == len(set(operations))
        by_key = {(route.method, route.path): route for route in derived.routes}
        assert by_key["GET", "/tasks"].verb.name == "Host.getAllTasks"


def test_conflicts_name_both_verbs() -> None:
    """Two verbs that ask for one route: the first by name has it, and both are named."""

    class Platter(Namespace, key="platterID", plural="disks"):
        """Another plugin's idea of a disk."""

        @query(since="1.0")
        def stats(self, platter_id: UUID) -> int:
            """How it spins."""
            return len(platter_id)

    class Docs(Namespace):
        """A name that the binding needs."""

        @query(since="1.0")
        def read(self) -> None:
            """Read."""

    verbs = {verb.name: verb for n in (Disk(), Platter(), Docs()) for verb in collect(n)}
    derived = derive(verbs)
    texts = sorted(map(str, derived.conflicts))
    assert texts == [
        (
            "Disk.getStats and Platter.stats have the same route GET /disks/{platterID}/stats; "
            "call Platter.stats by its name"
        ),
        "the route GET /docs/read of Docs.read is reserved; call the verb by its name",
    ]
    assert {route.verb.name for route in derived.routes if route.path == "/verbs/Platter.stats"}
