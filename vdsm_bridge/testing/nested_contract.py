"""The contract suite's part about objects in objects: the sample's racks, and the drawers in them.

Each test calls verbs by their names, and again by the binding's own way of naming an object, if it has one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import pytest

from vdsm_bridge.testing.client import BridgeClient, Client
from vdsm_bridge.testing.harness import AUDIT, PATIENCE, Failure, Harness
from vdsm_bridge.testing.host import TestHost
from vdsm_bridge.testing.polling import until

#: Ids with whatever paths, names and routing keys separate their parts with.
LEFT: Final = "left / 50%:1"
RIGHT: Final = "r\u00efght.2"
TOP: Final = "top: a/b?c#d&e+f"

Call = Callable[[str, Mapping[str, Any]], Any]


class NestedContract(Harness):
    """Objects that are found by several ids."""

    @pytest.fixture(params=["by name", "on the object"])
    def call(self, request: pytest.FixtureRequest, client: Client, host: TestHost) -> Call:
        """A function that calls a verb; both ways give the same."""
        if request.param == "by name":
            return client.call
        return lambda verb, arguments: self.call_on_object(client, host, verb, arguments)

    @pytest.fixture
    def drawers(self, host: TestHost) -> None:
        """Two racks with a drawer of the same id in each."""
        for rack in (LEFT, RIGHT):
            host.call("Rack.create", rackID=rack, name=f"rack {rack}")
            host.call("Drawer.create", rackID=rack, drawerID=TOP, name=f"in {rack}")

    @pytest.mark.usefixtures("drawers")
    def test_all_ids_count(self, call: Call, host: TestHost) -> None:
        """Of two objects with one id, each is read, changed and deleted within its parent."""
        for rack in (LEFT, RIGHT):
            drawer = call("Drawer.getInfo", {"drawerID": TOP, "rackID": rack})
            assert (drawer["rackID"], drawer["drawerID"], drawer["name"]) == (rack, TOP, f"in {rack}")
        call("Drawer.put", {"tool": "saw", "rackID": LEFT, "drawerID": TOP})
        assert call("Drawer.getInfo", {"drawerID": TOP, "rackID": LEFT})["tools"] == ["saw"]
        assert call("Drawer.getInfo", {"drawerID": TOP, "rackID": RIGHT})["tools"] == []
        assert int(call("Drawer.getStats", {"rackID": LEFT, "drawerID": TOP})["count"]) == 1
        call("Drawer.remove", {"drawerID": TOP, "rackID": LEFT})
        assert host.call("Drawer.list", rackID=LEFT) == []
        assert len(host.call("Drawer.list", rackID=RIGHT)) == 1

    @pytest.mark.usefixtures("drawers")
    def test_children_of_one_parent(self, call: Call, host: TestHost) -> None:
        """The list of a parent's children has no others, and a new child appears in it."""
        call("Drawer.create", {"drawerID": "bottom", "rackID": RIGHT, "name": "new"})
        ids = [drawer["drawerID"] for drawer in call("Drawer.list", {"rackID": RIGHT})]
        assert ids == [TOP, "bottom"]
        assert [drawer.drawer_id for drawer in host.call("Drawer.list", rackID=LEFT)] == [TOP]

    @pytest.mark.usefixtures("drawers")
    def test_errors_name_the_object(self, client: Client, bridge: BridgeClient) -> None:
        """A missing parent, a missing child and a missing id are refused in the same words everywhere."""
        for arguments in (
            {"drawerID": TOP, "rackID": "middle"},
            {"drawerID": "bottom", "rackID": LEFT},
            {"drawerID": TOP},
            {"rackID": LEFT},
        ):
            for verb in ("Drawer.getInfo", "Drawer.remove"):
                assert self.failure(client, verb, arguments) == self.failure(bridge, verb, arguments)

    @pytest.mark.usefixtures("drawers")
    def test_locks_are_those_of_one_object(
        self, connection: Callable[[], Client], host: TestHost, tmp_path: Path
    ) -> None:
        """An action waits for another on the same object only; the audit log has all ids."""
        clients = [connection() for _ in range(3)]
        puts: list[dict[str, Any]] = [
            {"tool": "first", "rackID": LEFT, "drawerID": TOP, "pause": 1.0},
            {"tool": "second", "rackID": LEFT, "drawerID": TOP},
        ]
        with ThreadPoolExecutor(2) as pool:
            calls = []
            for client, arguments in zip(clients, puts, strict=False):
                calls.append(pool.submit(client.call, "Drawer.put", arguments))
                until(lambda: len(self._waiting(host, LEFT)) == len(calls), PATIENCE)
            clients[2].call("Drawer.put", {"tool": "other", "rackID": RIGHT, "drawerID": TOP})
            assert not calls[1].done()
            for call in calls:
                call.result(PATIENCE)
        assert host.call("Drawer.getInfo", rackID=LEFT, drawerID=TOP).tools == ["first", "second"]
        records = map(json.loads, (tmp_path / AUDIT).read_text().splitlines())
        objects = {record["object"] for record in records if record["verb"] == "Drawer.put"}
        assert objects == {f"{LEFT}/{TOP}", f"{RIGHT}/{TOP}"}

    @staticmethod
    def _waiting(host: TestHost, rack: str) -> list[Any]:
        return [call for call in host.call("Host.getQueues") if call.lane == f"drawer {rack}/{TOP}"]

    @pytest.mark.usefixtures("drawers")
    def test_task_on_an_object(self, call: Call, client: Client, host: TestHost) -> None:
        """A task on a nested object does its work there, and ends."""
        for tool in ("saw", "axe"):
            host.call("Drawer.put", tool=tool, rackID=LEFT, drawerID=TOP)
        reference = call("Drawer.sort", {"rackID": LEFT, "drawerID": TOP})
        status = self.ended(client, host, {"taskID": reference["taskID"]})
        assert status["taskResult"] == "success"
        assert host.call("Drawer.getInfo", rackID=LEFT, drawerID=TOP).tools == ["axe", "saw"]

    @pytest.mark.usefixtures("drawers")
    def test_result_is_the_bridges(self, client: Client, bridge: BridgeClient, host: TestHost) -> None:
        """Lists and items of nested objects are what the bridge returns."""
        assert not isinstance(self.same_result(client, bridge, host, "Rack.list", {}), Failure)
        for rack in (LEFT, RIGHT):
            self.same_result(client, bridge, host, "Drawer.list", {"rackID": rack})
            self.same_result(client, bridge, host, "Drawer.getInfo", {"rackID": rack, "drawerID": TOP})
