"""The inventory: immutable records, unique ids and names, events in order."""

from __future__ import annotations

import threading
import typing

import pytest

from vdsm_core.events import EventBus, Journal
from vdsm_core.state import MEMORY
from vdsm_core.types import builtins
from vdsm_virt.api.definition import VmStatus
from vdsm_virt.errors import NoSuchVM, Recovering, VMExists
from vdsm_virt.machine.inventory import Inventory
from vdsm_virt.machine.machine import STATUS, TRANSITIONS, Exit, Machine, Reason


@pytest.fixture
def bus():
    bus = EventBus(Journal(MEMORY, most_bytes=10**7, keep=1000.0))
    bus.start()
    yield bus
    bus.stop()


@pytest.fixture
def inventory(bus):
    return Inventory(bus, lambda: "libvirt thinks")


def machine(vm_id="1", name="a", **members):
    return Machine(id=vm_id, name=name, status="WaitForLaunch", since=0.0, **members)


def test_each_status_of_vdsm_has_its_transitions():
    """No status without a way out, none that nobody reaches but the first ones."""
    statuses = set(typing.get_args(VmStatus))
    assert set(TRANSITIONS) == statuses
    reached = set().union(*TRANSITIONS.values())
    assert statuses - reached == {"WaitForLaunch", "Restoring state", "Powering up"}
    assert set(STATUS.values()) <= statuses


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
    """get raises, the others say None."""
    inventory.complete()
    with pytest.raises(NoSuchVM):
        inventory.get("1")
    assert inventory.find("1") is None
    assert inventory.change("1", status="Up") is None
    inventory.forget("1")


def test_nothing_is_said_to_be_absent_before_all_is_known(inventory):
    """A machine that is not known yet may exist; one that is known is given."""
    inventory.add(machine("1"))
    with pytest.raises(
        Recovering, match="not known yet, since the daemon started: libvirt thinks; try again"
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
    inventory.change("1", status="Up")
    inventory.change("1", status="Up", name="b")
    inventory.change("1", status="Paused", pause_code="EIO")
    inventory.change("1", status="Paused", pause_code="ENOSPC")
    inventory.change("1", status="Down", exit=Exit(1, Reason.GENERIC_ERROR, "x"))
    bus.flush()
    events = subscription.next(0)
    assert [event.id for event in events] == ["|virt|VM_status|1"] * 5
    said = [event.params for event in events]
    assert [params["status"] for params in said] == ["WaitForLaunch", "Up", "Paused", "Paused", "Down"]
    assert [params["pauseCode"] for params in said[2:4]] == ["EIO", "ENOSPC"]
    assert said[4]["exitMessage"] == "x"
    marks = []
    ((object_id, params),) = inventory.states(lambda: marks.append("marked"))
    assert (object_id, builtins(params), marks) == ("1", said[4], ["marked"])
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
    timer = threading.Timer(0.05, inventory.change, ("1",), {"status": "Up"})
    timer.start()
    assert inventory.wait("1", lambda known: known.status == "Up", 5)
    timer.join()
