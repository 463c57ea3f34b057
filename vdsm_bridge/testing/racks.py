"""The part of the sample with objects in objects: racks, and the drawers in them.

A drawer is found by two ids; its own is unique within its rack only. As with VDSM's storage, the ids stand
anywhere among the parameters. Ids are any text, so that a binding that joins or splits them is found out.
"""

from __future__ import annotations

import threading
import time
from typing import Annotated

import msgspec
from msgspec import Meta

from vdsm_bridge.api.declare import Namespace, action, query, task
from vdsm_core.errors import Conflict, NotFound
from vdsm_core.types import Record
from vdsm_core.work.steps import Progress

Id = Annotated[str, Meta(min_length=1, max_length=64)]
Pause = Annotated[float, Meta(ge=0, le=1)]


class NoSuchRack(NotFound):
    """No rack has this id. Facts: `rack_id`."""

    slug = "no-such-rack"
    template = "There is no rack '{rack_id}'"


class NoSuchDrawer(NotFound):
    """The rack has no drawer of this id. Facts: `rack_id`, `drawer_id`."""

    slug = "no-such-drawer"
    template = "There is no drawer '{drawer_id}' in rack '{rack_id}'"


class DrawerExists(Conflict):
    """The rack has a drawer of this id already. Facts: `rack_id`, `drawer_id`."""

    slug = "drawer-exists"
    template = "There is a drawer '{drawer_id}' in rack '{rack_id}' already"


class Rack(Record, frozen=True):
    """A rack."""

    rack_id: Id = msgspec.field(name="rackID")
    name: str


class Drawer(Record, frozen=True):
    """A drawer of a rack."""

    rack_id: Id = msgspec.field(name="rackID")
    drawer_id: Id = msgspec.field(name="drawerID")
    name: str
    tools: list[str] = []


class DrawerStats(Record, frozen=True):
    """How full a drawer is."""

    count: int


class Racks:
    """All racks and their drawers."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.names: dict[str, str] = {}
        self.drawers: dict[tuple[str, str], Drawer] = {}

    def of(self, rack_id: str) -> list[Drawer]:
        """Return the drawers of a rack.

        :raises NoSuchRack: there is no such rack
        """
        if rack_id not in self.names:
            raise NoSuchRack(rack_id=rack_id)
        return [drawer for (rack, _), drawer in self.drawers.items() if rack == rack_id]

    def get(self, rack_id: str, drawer_id: str) -> Drawer:
        """Return one drawer.

        :raises NoSuchRack: there is no such rack
        :raises NoSuchDrawer: it has no such drawer
        """
        self.of(rack_id)
        try:
            return self.drawers[rack_id, drawer_id]
        except KeyError:
            raise NoSuchDrawer(rack_id=rack_id, drawer_id=drawer_id) from None

    def put(self, drawer: Drawer) -> Drawer:
        """Store a drawer."""
        self.drawers[drawer.rack_id, drawer.drawer_id] = drawer
        return drawer


class RackNamespace(Namespace, name="Rack", key="rackID", listed_by="Rack.list"):
    """A rack in the machine room."""

    def __init__(self, racks: Racks) -> None:
        self._racks = racks

    @query(since="1.0", name="list", part="list")
    def all(self) -> list[Rack]:
        """Every rack."""
        with self._racks.lock:
            return [Rack(rack_id=rack_id, name=name) for rack_id, name in self._racks.names.items()]

    @query(since="1.0", part="get")
    def get_info(self, rack_id: Id) -> Rack:
        """One rack.

        :raises NoSuchRack: there is no such rack
        """
        with self._racks.lock:
            self._racks.of(rack_id)
            return Rack(rack_id=rack_id, name=self._racks.names[rack_id])

    @action(since="1.0", part="create")
    def create(self, rack_id: Id, name: str = "") -> Rack:
        """Set up a rack, or rename it.

        :param name: for people
        """
        with self._racks.lock:
            self._racks.names[rack_id] = name
        return Rack(rack_id=rack_id, name=name)


class DrawerNamespace(
    Namespace, name="Drawer", key="drawerID", parent=RackNamespace, listed_by="Drawer.list"
):
    """A drawer of a rack."""

    def __init__(self, racks: Racks) -> None:
        self._racks = racks

    @query(since="1.0", name="list", part="list")
    def all(self, rack_id: Id) -> list[Drawer]:
        """The drawers of a rack.

        :raises NoSuchRack: there is no such rack
        """
        with self._racks.lock:
            return self._racks.of(rack_id)

    @query(since="1.0", part="get")
    def get_info(self, drawer_id: Id, rack_id: Id) -> Drawer:
        """One drawer.

        :raises NoSuchRack: there is no such rack
        :raises NoSuchDrawer: it has no such drawer
        """
        with self._racks.lock:
            return self._racks.get(rack_id, drawer_id)

    @query(since="1.0")
    def get_stats(self, rack_id: Id, drawer_id: Id) -> DrawerStats:
        """How full a drawer is.

        :raises NoSuchRack: there is no such rack
        :raises NoSuchDrawer: it has no such drawer
        """
        with self._racks.lock:
            return DrawerStats(count=len(self._racks.get(rack_id, drawer_id).tools))

    @action(since="1.0", part="create")
    def create(self, drawer_id: Id, rack_id: Id, name: str = "") -> Drawer:
        """Put an empty drawer into a rack.

        :param name: for people
        :raises NoSuchRack: there is no such rack
        :raises DrawerExists: it has a drawer of this id
        """
        with self._racks.lock:
            if any(drawer.drawer_id == drawer_id for drawer in self._racks.of(rack_id)):
                raise DrawerExists(rack_id=rack_id, drawer_id=drawer_id)
            return self._racks.put(Drawer(rack_id=rack_id, drawer_id=drawer_id, name=name))

    @action(since="1.0", part="delete")
    def remove(self, drawer_id: Id, rack_id: Id) -> None:
        """Take a drawer out of its rack.

        :raises NoSuchRack: there is no such rack
        :raises NoSuchDrawer: it has no such drawer
        """
        with self._racks.lock:
            self._racks.get(rack_id, drawer_id)
            del self._racks.drawers[rack_id, drawer_id]


class Contents(Namespace, group_of=DrawerNamespace):
    """What is done with the tools in a drawer: further verbs of `Drawer`."""

    def __init__(self, racks: Racks) -> None:
        self._racks = racks

    @action(since="1.0")
    def put(self, tool: str, rack_id: Id, drawer_id: Id, pause: Pause = 0.0) -> Drawer:
        """Put a tool into a drawer, behind those that are there.

        :param tool: its name
        :param pause: seconds that it takes
        :raises NoSuchRack: there is no such rack
        :raises NoSuchDrawer: it has no such drawer
        """
        self._racks.get(rack_id, drawer_id)
        time.sleep(pause)
        with self._racks.lock:
            drawer = self._racks.get(rack_id, drawer_id)
            return self._racks.put(msgspec.structs.replace(drawer, tools=[*drawer.tools, tool]))

    @task(since="1.0")
    def sort(self, drawer_id: Id, rack_id: Id, progress: Progress, pause: Pause = 0.0) -> Drawer:
        """Sort the tools of a drawer by name.

        :param pause: seconds that it takes
        :raises NoSuchRack: there is no such rack
        :raises NoSuchDrawer: it has no such drawer
        """
        progress.sleep(pause)
        with self._racks.lock:
            drawer = self._racks.get(rack_id, drawer_id)
            return self._racks.put(msgspec.structs.replace(drawer, tools=sorted(drawer.tools)))
