"""The inventory: immutable records, unique ids and names, events in order."""

from __future__ import annotations

import threading

import pytest

from vdsm_core.events import EventBus, Journal
from vdsm_core.state import MEMORY
from vdsm_core.types import builtins
from vdsm_virt.errors import NoSuchVM, Recovering, VMExists
from vdsm_virt.machine import transitions
from vdsm_virt.machine.inventory import Inventory
from vdsm_virt.machine.machine import Machine


@pytest.fixture
def bus():
    bus = EventBus(Journal(MEMORY, max_bytes=10**7, keep=1000.0))
    bus.start()
    yield bus
    bus.stop()


@pytest.fixture
def inventory(bus):
    return Inventory(bus, lambda: "libvirt thinks")


def machine(vm_id="1", name="a", **members):
    return Machine(id=vm_id, name=name, status="WaitForLaunch", since=0.0, **members)


def test_ids_and_names_are_unique(inventory):
    """Also after a machine was renamed or forgotten."""
    inventory.add(machine("1", "a"))
    with pytest.raises(VMExists, match="vmId"):
        inventory.add(machine("1", "b"))
    with pytest.raises(VMExists, match="vmName"):
        inventory.add(machine("2", "a"))
    inventory.change("1", name="c")
    inventory.add(machine("2", "a"))
    inventory.forget("1")
    inventory.add(machine("3", "c"))
    assert [known.id for known in inventory.all()] == ["2", "3"]


def test_what_is_not_there(inventory):
    """get raises, the others return None."""
    inventory.complete()
    with pytest.raises(NoSuchVM):
        inventory.get("1")
    assert inventory.find("1") is None
    assert inventory.change("1", active=True) is None
    inventory.forget("1")


def test_no_machine_is_reported_absent_before_all_are_read(inventory):
    """An unknown machine may exist, and raises; a known one is returned."""
    inventory.add(machine("1"))
    with pytest.raises(
        Recovering, match="have not been read since the daemon started: libvirt thinks; try again"
    ):
        inventory.insist()
    with pytest.raises(Recovering):
        inventory.get("2")
    assert inventory.get("1").id == "1"
    inventory.complete()
    inventory.insist()


def test_an_event_for_each_change_of_the_status_only(inventory, bus):
    """With the pause code of a paused machine, and the end of one that is down."""
    subscription = bus.subscribe()
    inventory.add(machine())
    inventory.change("1", active=True)
    inventory.update("1", transitions.started)
    inventory.change("1", name="b")
    inventory.update("1", lambda known: transitions.suspended(known, "ioerror"))
    inventory.update("1", lambda known: transitions.io_error(known, "ENOSPC"))
    inventory.update("1", lambda known: transitions.stopped(known, "crashed"))
    bus.flush()
    events = subscription.next(0)
    assert [event.id for event in events] == ["|virt|VM_status|1"] * 5
    reported = [event.params for event in events]
    assert [params["status"] for params in reported] == ["WaitForLaunch", "Up", "Paused", "Paused", "Down"]
    assert [params["pauseCode"] for params in reported[2:4]] == ["EIO", "ENOSPC"]
    assert reported[4]["exitMessage"] == "QEMU ended unexpectedly: it crashed, or was killed"
    marks = []
    ((object_id, params),) = inventory.states(lambda: marks.append("marked"))
    assert (object_id, builtins(params), marks) == ("1", reported[4], ["marked"])
    subscription.close()


def test_the_version_grows_with_each_change(inventory):
    """Who keeps an answer compares it."""
    versions = [inventory.version]
    inventory.add(machine())
    versions.append(inventory.version)
    inventory.change("1", active=True)
    versions.append(inventory.version)
    inventory.update("1", lambda known: known)
    assert inventory.version == versions[-1]
    inventory.forget("1")
    versions.append(inventory.version)
    assert versions == sorted(set(versions))


def test_waiting_ends_when_it_has_come_true(inventory):
    """Or when the time is over."""
    inventory.add(machine())
    assert not inventory.wait("1", lambda known: known.status == "Up", 0.01)
    timer = threading.Timer(0.05, inventory.update, ("1", transitions.started))
    timer.start()
    assert inventory.wait("1", lambda known: known.status == "Up", 5)
    timer.join()
