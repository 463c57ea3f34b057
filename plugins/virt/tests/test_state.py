"""The state machine of a machine: a table that is complete, and the only place that changes a status."""

from __future__ import annotations

import ast
import itertools
from pathlib import Path

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

import vdsm_virt
from vdsm_core.events import EventBus, Journal
from vdsm_core.hypervisor import DomainState
from vdsm_core.state import MEMORY
from vdsm_virt.domain.metadata import Exit
from vdsm_virt.machine import state, transitions
from vdsm_virt.machine.inventory import Inventory
from vdsm_virt.machine.machine import MIGRATED, Machine
from vdsm_virt.machine.state import REPORTS, SITUATIONS, STATUSES, TABLE, Contradiction, Keep

#: The functions that may name a status when they make a machine, and the one that changes it.
MAKERS = {"defined", "expected", "first_found", "moved_unseen"}
FAILED = Exit(1, 3, "x")


def machine_in(situation, **members):
    """A machine that stands so."""
    if situation == "launching":
        return Machine(id="i", name="n", status="WaitForLaunch", since=0.0, launching=True, **members)
    if situation == "leaving":
        return Machine(
            id="i", name="n", status="Migration Source", since=0.0, active=True, outgoing=True, **members
        )
    off = situation in ("Down", "WaitForLaunch")
    return Machine(id="i", name="n", status=situation, since=0.0, active=not off, **members)


def domain(status, reason="", **members):
    """What a reading of a domain shows."""
    members = {"active": status != "shutoff", "persistent": True, "id": 1, **members}
    return DomainState(uuid="i", name="n", state=status, reason=reason, **members)


def test_the_table_is_complete():
    """There is a verdict for each report in each situation, and a way out of each."""
    assert set(TABLE) == set(REPORTS)
    verdicts = set(STATUSES) | set(Keep)
    for report in REPORTS:
        assert set(TABLE[report]) == set(SITUATIONS)
        assert set(TABLE[report].values()) <= verdicts
    for situation in SITUATIONS:
        assert any(TABLE[report][situation] in STATUSES for report in REPORTS), situation
    reached = {verdict for row in TABLE.values() for verdict in row.values() if verdict in STATUSES}
    assert set(STATUSES) - reached == {"Powering up"}


@pytest.mark.parametrize(("report", "situation"), list(itertools.product(REPORTS, SITUATIONS)))
def test_each_report_in_each_situation(report, situation):
    """A verdict is applied exactly: all of the report, nothing of it, or a contradiction is raised."""
    before = machine_in(situation)
    assert state.situation_of(before) == situation
    decided = TABLE[report][situation]
    if decided is Keep.UNTIL_READ:
        with pytest.raises(Contradiction, match=f"'{report}' of a machine in status '{before.status}'"):
            state.apply(before, report, io_error="EIO")
        return
    after = state.apply(before, report, io_error="EIO")
    if decided is Keep.ALL:
        assert after is before
        return
    assert after.status == (before.status if decided is Keep.STATUS else decided)
    assert after == msgspec.structs.replace(before, status=after.status, io_error="EIO")


def test_a_machine_without_a_qemu_is_neither_paused_nor_resumed():
    """libvirt stops and resumes only what runs: something was missed."""
    for situation, change in itertools.product(
        ("Down", "WaitForLaunch"),
        (
            transitions.resumed,
            transitions.shutting_down,
            transitions.moving_away,
            lambda machine: transitions.suspended(machine, "ioerror"),
        ),
    ):
        with pytest.raises(Contradiction):
            change(machine_in(situation))


def test_nothing_else_sets_a_status():
    """Only the state machine and the makers of new records do."""
    found = set()
    root = Path(vdsm_virt.__file__).parent
    for path in sorted(root.rglob("*.py")):
        for function in ast.walk(ast.parse(path.read_text())):
            if not isinstance(function, ast.FunctionDef):
                continue
            for call in ast.walk(function):
                if isinstance(call, ast.Call) and _changes_a_machine(call):
                    found.add((path.relative_to(root).as_posix(), function.name))
    makers = {("machine/transitions.py", name) for name in MAKERS}
    assert found == makers | {("machine/state.py", "apply")}


def _changes_a_machine(call):
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    sets_status = any(keyword.arg == "status" for keyword in call.keywords)
    return sets_status and name in ("replace", "_replace", "change", "Machine")


@pytest.fixture
def bus():
    bus = EventBus(Journal(MEMORY, max_bytes=10**7, keep=1000.0))
    bus.start()
    yield bus
    bus.stop()


def test_what_cannot_be_is_not_applied(bus, caplog):
    """Nor published; the machine is read again, and the log has it."""
    read = []
    inventory = Inventory(bus, lambda: "", read.append)
    inventory.add(machine_in("Down"))
    bus.flush()
    subscription = bus.subscribe("|virt|*")
    after = inventory.update("i", transitions.resumed)
    bus.flush()
    assert (after.status, read, subscription.next(0)) == ("Down", ["i"], [])
    assert "Machine i is read again: 'resumed' of a machine in status 'Down'" in caplog.text
    with pytest.raises(TypeError, match="a status follows from a report"):
        inventory.change("i", status="Up")
    subscription.close()


#: Every change, as a function of a machine.
CHANGES = {
    "started": transitions.started,
    "arriving": transitions.arriving,
    "moving away": transitions.moving_away,
    "resumed": transitions.resumed,
    "shutting down": transitions.shutting_down,
    "rebooted": transitions.rebooted,
    "vanished": transitions.vanished,
    "leaving": transitions.leaving,
    "moved": transitions.moved,
    "announced": transitions.announced,
    "not complied": transitions.not_complied,
    "launch given up": transitions.launch_given_up,
    "left nothing": transitions.left_nothing,
    "suspended": lambda machine: transitions.suspended(machine, "user"),
    "suspended by an error": lambda machine: transitions.suspended(machine, "ioerror"),
    "panicked": transitions.panicked,
    "disks read": lambda machine: transitions.disks_read(machine, "ENOSPC"),
    "io error": lambda machine: transitions.io_error(machine, "ENOSPC"),
    "postcopy": lambda machine: transitions.suspended(machine, "postcopy"),
    "shut down": lambda machine: transitions.stopped(machine, "shutdown"),
    "stopped, migrated": lambda machine: transitions.stopped(machine, "migrated"),
    "launch failed": lambda machine: transitions.launch_failed(machine, FAILED),
    "asked to shut down": lambda machine: transitions.asked(machine, "shutdown"),
    "asked to reboot": lambda machine: transitions.asked(machine, "reboot"),
    "destroyed": lambda machine: transitions.destroyed(machine, launching=machine.launching),
    "not arrived": lambda machine: transitions.not_arrived(machine, FAILED),
    "staying": lambda machine: transitions.stays(machine, "no room"),
    "saving": transitions.saving,
    "not saved": transitions.not_saved,
    "restoring": transitions.restoring,
    "advanced": lambda machine: transitions.advanced(machine, 50),
    **{
        f"found {status} ({reason})": lambda machine, status=status, reason=reason: transitions.found(
            machine, domain(status, reason)
        )
        for status in ("running", "paused", "shutdown", "shutoff", "crashed", "pmsuspended")
        for reason in ("user", "migration")
    },
}


class Histories(RuleBasedStateMachine):
    """Reports in any order, also those that libvirt would never send so."""

    def __init__(self):
        super().__init__()
        self.bus = EventBus(Journal(MEMORY, max_bytes=10**7, keep=1000.0))
        self.bus.start()
        self.read = []
        self.inventory = Inventory(self.bus, lambda: "", self.read.append)
        self.subscription = self.bus.subscribe("|virt|VM_status|*")
        self.inventory.add(transitions.defined("i", "n"))
        #: What the statuses must have been, as they are published: the model.
        self.published = [("WaitForLaunch", "")]

    @rule(name=st.sampled_from(sorted(CHANGES)))
    def report(self, name):
        before, contradictions = self.inventory.get("i") if self.inventory.find("i") else None, len(self.read)
        after = self.inventory.update("i", CHANGES[name])
        if len(self.read) > contradictions:
            assert after is before
        seen = (after.status, after.pause_code if after.status == "Paused" else "")
        if (after.status, after.pause_code) != (before.status, before.pause_code):
            self.published.append(seen)

    @invariant()
    def events_are_the_transitions(self):
        """Each is published once, in order, with what belongs to it."""
        self.bus.flush()
        events = self.subscription.next(0, max_events=100)
        new = self.published[-len(events) :] if events else []
        assert [(event.params["status"], event.params.get("pauseCode", "")) for event in events] == new
        self.published, rest = [], self.published[: len(self.published) - len(events)]
        assert not rest

    @invariant()
    def the_record_is_consistent(self):
        """What is known of a machine fits its status."""
        machine = self.inventory.find("i")
        if machine.status == "Down":
            # One that was destroyed during its launch may start for a moment all the same.
            assert machine.launching or not machine.active
            assert not machine.pause_code
        if machine.status == "Paused":
            assert machine.pause_code
        if machine.outgoing:
            assert machine.migration_progress >= 0
        if machine.exit == MIGRATED and machine.status == "Down":
            assert machine.migration_progress == -1

    @invariant()
    def a_reading_always_settles(self):
        """What libvirt shows wins over any report, except over a launch, a migration, or a hibernation."""
        machine = self.inventory.find("i")
        for status, expected in (("running", "Up"), ("paused", "Paused"), ("shutoff", "Down")):
            after = transitions.found(machine, domain(status, "user"))
            if state.situation_of(machine) == "launching":
                assert after is machine
            elif status == "shutoff" or state.situation_of(machine) not in ("leaving", "Saving State"):
                assert after.status in (
                    expected,
                    *(("Powering down", "RebootInProgress") * (status == "running")),
                )

    def teardown(self):
        self.subscription.close()
        self.bus.stop()


Histories.TestCase.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)
TestHistories = Histories.TestCase
