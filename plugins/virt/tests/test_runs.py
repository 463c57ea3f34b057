"""What belongs to a run of a machine is written into its domain, is found again, and ends with the run."""

from __future__ import annotations

import os
import time

import libvirt
import msgspec
import pytest

from vdsm_bridge.testing import TestHost
from vdsm_bridge.testing.blocking import BlockingDriver
from vdsm_bridge.testing.polling import until
from vdsm_core.hypervisor import DomainIOError, DomainLifecycle, DomainState
from vdsm_virt import Virt
from vdsm_virt.domain import run as marks
from vdsm_virt.domain.elements import parse
from vdsm_virt.domain.metadata import Exit
from vdsm_virt.domain.run import Run
from vdsm_virt.machine import machine as machines
from vdsm_virt.machine import transitions
from vdsm_virt.machine.machine import (
    END_UNSEEN,
    HOST_STOPPED,
    NEVER_LAUNCHED,
    START_FAILED,
    Machine,
    Reason,
    exit_found,
    exit_of,
    exit_recorded,
)
from vdsm_virt.machine.processes import QemuProcesses

DOWN = Machine(id="i", name="n", status="Down", since=0.0, ours=True, exit_guessed=True)
ADMIN = Exit(0, 6, "Shut down on request")


def running(**members):
    return Machine(id="i", name="n", status="Up", since=0.0, active=True, **members)


@pytest.fixture
def driver():
    with BlockingDriver() as driver:
        yield driver


@pytest.fixture
def kept():
    """A connection that keeps the test driver's machines while no daemon runs."""
    connection = libvirt.open("test:///default")
    yield connection
    connection.close()


def mark(connection, vm_id, *, inactive=False):
    """The mark in one of the two documents of a domain."""
    flags = libvirt.VIR_DOMAIN_XML_INACTIVE if inactive else 0
    return marks.read(parse(connection.lookupByUUIDString(vm_id).XMLDesc(flags)))


def feed(vms, *events):
    for event in events:
        vms.host.host.runtime.hypervisor._dispatcher.announce(event)


@pytest.mark.parametrize(
    ("word", "run", "expected"),
    [
        ("unknown", None, NEVER_LAUNCHED),
        ("unknown", Run(started=1.0, boot_id="this"), END_UNSEEN),
        ("unknown", Run(started=1.0, boot_id="earlier"), HOST_STOPPED),
        ("unknown", Run(started=1.0, boot_id="earlier", exit=ADMIN, ended_as="shutdown"), ADMIN),
        # The one that is recorded is of the run that libvirt remembers, or of an earlier one.
        ("shutdown", Run(exit=ADMIN, ended_as="shutdown"), ADMIN),
        ("crashed", Run(exit=machines.PANICKED, ended_as="failed"), machines.PANICKED),
        ("crashed", Run(exit=ADMIN, ended_as="shutdown"), exit_found("crashed")),
        # Ended while no daemon ran, as it was asked to.
        ("shutdown", Run(started=1.0, asked="shutdown"), ADMIN),
        ("shutdown", Run(started=1.0), exit_found("shutdown")),
        ("destroyed", Run(started=1.0, asked="no reboot"), Exit(0, 13, machines._ASKED["no reboot"].message)),
        ("failed", Run(started=1.0), START_FAILED),
    ],
)
def test_how_a_machine_ended_that_was_found_off(word, run, expected):
    """From what its domain remembers and from libvirt's word, which an end of libvirt loses."""
    found = msgspec.structs.replace(DOWN, ended_as=word, exit=exit_found(word))
    assert exit_recorded(found, run, "this") == expected


@pytest.mark.parametrize(
    ("word", "members", "code", "reason"),
    [
        ("shutdown", {}, 0, Reason.USER_SHUTDOWN),
        ("shutdown", {"asked": "shutdown"}, 0, Reason.ADMIN_SHUTDOWN),
        ("destroyed", {"asked": "shutdown"}, 0, Reason.ADMIN_SHUTDOWN),
        ("shutdown", {"asked": "shutdown", "asked_until": 99.0}, 0, Reason.USER_SHUTDOWN),
        ("shutdown", {"signalled": True}, 1, Reason.HOST_SHUTDOWN),
        ("shutdown", {"signalled": True, "asked": "shutdown"}, 1, Reason.HOST_SHUTDOWN),
        ("destroyed", {"signalled": True, "asked": "destroy"}, 0, Reason.ADMIN_SHUTDOWN),
        ("destroyed", {}, 0, Reason.ADMIN_SHUTDOWN),
        ("destroyed", {"asked": "no reboot"}, 0, Reason.DESTROYED_ON_REBOOT),
        ("destroyed", {"asked": "no longer paused"}, 1, Reason.DESTROYED_ON_PAUSE_TIMEOUT),
        ("destroyed", {"asked": "no longer in post-copy"}, 1, Reason.POSTCOPY_MIGRATION_FAILED),
        ("failed", {}, 1, Reason.LOST_QEMU_CONNECTION),
        ("crashed", {}, 1, Reason.LOST_QEMU_CONNECTION),
        ("crashed", {"panicked": True}, 1, Reason.GENERIC_ERROR),
        ("daemon", {}, 1, Reason.LOST_QEMU_CONNECTION),
        ("migrated", {}, 0, Reason.MIGRATION_SUCCEEDED),
        ("saved", {}, 0, Reason.SAVE_STATE_SUCCEEDED),
        ("from-snapshot", {}, 1, Reason.GENERIC_ERROR),
        ("failed", {"incoming": 1.0}, 1, Reason.MIGRATION_FAILED),
    ],
)
def test_the_exit_of_a_run_that_was_seen(word, members, code, reason):
    """The same by the event that it stopped as by a reading that finds it off."""
    machine = running(**members)
    ended = exit_of(machine, word, 100.0)
    assert (ended.code, ended.reason) == (code, reason)
    domain = DomainState(
        uuid="i", name="n", state="shutoff", reason=word, active=False, persistent=True, id=-1
    )
    read, told = transitions.found(machine, domain), transitions.stopped(machine, word)
    assert read.exit == told.exit
    assert (read.ended_as, told.ended_as) == (word, word)


def test_each_reason_has_vdsms_code_for_success_or_error():
    """0 for 4, 5, 6, 7, 10 and 13, 1 for the others; 0 itself is of a machine that no run is known of."""
    known = [value for value in vars(machines).values() if isinstance(value, Exit)]
    known += [*machines.ENDINGS.values(), *machines._ASKED.values()]
    assert {ended.reason for ended in known} == set(Reason)
    for ended in known:
        assert ended.code == (0 if ended.reason in (0, 4, 5, 6, 7, 10, 13) else 1), ended


@pytest.mark.parametrize(
    ("state", "active", "status"),
    [
        ("crashed", True, "Paused"),
        ("crashed", False, "Down"),
        ("pmsuspended", True, "Paused"),
        ("shutdown", True, "Powering down"),
        ("shutoff", False, "Down"),
        ("nostate", True, "Up"),
    ],
)
def test_a_qemu_that_holds_the_machine_decides(state, active, status):
    """A guest that crashed and is preserved is there; the same state without a QEMU is off."""
    domain = DomainState(uuid="i", name="n", state=state, reason="x", active=active, persistent=True, id=1)
    assert transitions.first_found(domain).status == status
    assert transitions.found(running(), domain).status == status


def test_a_run_is_marked_in_both_documents(vms, kept):
    """The mark of the running machine says that the run goes on; that of the definition has no pause."""
    vm_id = vms.create()
    until(lambda: (mark(kept, vm_id) or Run()).live)
    assert mark(kept, vm_id, inactive=True).started == pytest.approx(mark(kept, vm_id).started, abs=5)
    assert not mark(kept, vm_id, inactive=True).live
    vms.call("VM.pause", vmID=vm_id)
    until(lambda: mark(kept, vm_id).pause_code == "NOERR")
    assert mark(kept, vm_id, inactive=True).pause_code == ""
    vms.call("VM.cont", vmID=vm_id)
    until(lambda: mark(kept, vm_id).pause_code == "")
    vms.call("VM.shutdown", vmID=vm_id)
    until(lambda: mark(kept, vm_id).exit == ADMIN)
    assert (mark(kept, vm_id).ended_as, mark(kept, vm_id).live) == ("shutdown", False)


def test_the_next_daemon_finds_the_run(machines_of, make_machines, driver, kept):
    """Its time, the code of its pause, and since when it is paused."""
    with TestHost(verbs={"virt": Virt}, connect=driver.connect) as host:
        first = machines_of(host)
        vm_id = first.create()
        feed(
            first,
            DomainIOError(vm_id, "a", "/dev/x", "vda", "pause", "enospc"),
            DomainLifecycle(vm_id, "a", "suspended", "ioerror"),
        )
        first.wait(vm_id, lambda stats: stats.pause_code == "ENOSPC")
        until(lambda: mark(kept, vm_id).pause_code == "ENOSPC")
    domain = kept.lookupByUUIDString(vm_id)
    written = mark(kept, vm_id)
    earlier = msgspec.structs.replace(written, started=written.started - 3600, paused_at=7.0)
    domain.setMetadata(
        libvirt.VIR_DOMAIN_METADATA_ELEMENT, marks.write_text(earlier), marks.PREFIX, marks.URI,
        libvirt.VIR_DOMAIN_AFFECT_LIVE,
    )  # fmt: skip
    vms = make_machines(connect=driver.connect)
    stats = vms.wait(vm_id, lambda stats: stats.elapsed_time >= 3600)
    assert stats.elapsed_time < 3700


def test_a_start_that_no_daemon_saw_is_a_run_of_its_own(machines_of, make_machines, driver, kept):
    """Neither its time nor its end is that of the run before."""
    with TestHost(verbs={"virt": Virt}, connect=driver.connect) as host:
        first = machines_of(host)
        vm_id = first.create()
        until(lambda: (mark(kept, vm_id) or Run()).live)
        first.call("VM.shutdown", vmID=vm_id)
        until(lambda: mark(kept, vm_id).exit == ADMIN)
    old = msgspec.structs.replace(mark(kept, vm_id), started=1000.0)
    domain = kept.lookupByUUIDString(vm_id)
    domain.setMetadata(
        libvirt.VIR_DOMAIN_METADATA_ELEMENT, marks.write_text(old), marks.PREFIX, marks.URI,
        libvirt.VIR_DOMAIN_AFFECT_CONFIG,
    )  # fmt: skip
    domain.create()
    assert mark(kept, vm_id) == old
    vms = make_machines(connect=driver.connect)
    stats = vms.wait(vm_id, lambda stats: stats.status == "Up")
    assert stats.elapsed_time < 600
    until(lambda: mark(kept, vm_id).live)
    assert mark(kept, vm_id, inactive=True).exit is None
    vms.hypervisor.domains.destroy(vm_id)
    until(lambda: vms.stats(vm_id).status == "Down")
    assert "another client" in vms.stats(vm_id).exit_message


def test_machines_of_other_clients_are_not_marked(vms, kept):
    """Their definitions are theirs."""
    vms.call("VM.pause", vmID=vms.born_with)
    own = vms.create()
    until(lambda: (mark(kept, own) or Run()).live)
    assert mark(kept, vms.born_with) is None


def test_an_error_of_a_disk_that_is_only_reported_is_no_reason_of_a_later_pause(vms):
    """The guest has it; the pause that follows is another client's request."""
    vm_id = vms.create()
    feed(vms, DomainIOError(vm_id, "a", "/dev/x", "vda", "report", "enospc"))
    feed(vms, DomainLifecycle(vm_id, "a", "suspended", "ioerror"))
    assert vms.wait(vm_id, lambda stats: stats.status == "Paused").pause_code == "EIO"


def test_the_code_of_an_io_error_outlasts_a_reading():
    """As after a migration that failed: libvirt's reason is the same word for every error."""
    paused = transitions.suspended(transitions.io_error(running(), "ENOSPC"), "ioerror")
    leaving = transitions.leaving(paused)
    domain = DomainState(
        uuid="i", name="n", state="paused", reason="ioerror", active=True, persistent=True, id=1
    )
    back = transitions.found(transitions.stays(leaving, "no room"), domain)
    assert (back.status, back.pause_code) == ("Paused", "ENOSPC")
    assert transitions.resumed(back).io_error == ""


def test_a_guest_that_wakes_up_goes_on_with_its_run(vms):
    """Its start is no new one."""
    vm_id = vms.create()
    feed(vms, DomainLifecycle(vm_id, "a", "pmsuspended", "memory"))
    vms.wait(vm_id, lambda stats: stats.status == "Paused")
    feed(vms, DomainLifecycle(vm_id, "a", "started", "wakeup"))
    vms.wait(vm_id, lambda stats: stats.status == "Up")


@pytest.mark.parametrize(("asked", "after"), [("reboot", ""), ("shutdown", ""), ("no reboot", "no reboot")])
def test_a_second_event_of_a_reboot(asked, after):
    """It takes back what the guest was asked, and not that the machine ends."""
    assert transitions.rebooted(running(asked=asked)).asked == after


def test_what_no_client_can_read_is_no_mark():
    """An element that was edited by hand is as good as none."""
    for text in ("", "[]", "{", '{"started": "x"}'):
        xml = f"<domain><metadata><r:run xmlns:r='{marks.URI}'>{text}</r:run></metadata></domain>"
        assert marks.read(parse(xml)) is None


def test_a_process_is_found_by_the_id_among_its_arguments(tmp_path):
    """Where libvirt's file is another host's, or cannot be read."""
    (tmp_path / "proc/77").mkdir(parents=True)
    (tmp_path / "proc/self").mkdir()
    (tmp_path / "proc/77/cmdline").write_bytes(b"qemu\0-uuid\0AB-1\0-S\0")
    (tmp_path / "proc/77/stat").write_text("77 (q) m) S " + " ".join(["0"] * 18) + " 1000 0")
    (tmp_path / "proc/uptime").write_text("60.0 1.0")
    processes = QemuProcesses(tmp_path)
    assert (processes.pid("ab-1", "n"), processes.pid("ab-2", "n")) == (77, 0)
    (tmp_path / "run/libvirt/qemu").mkdir(parents=True)
    (tmp_path / "run/libvirt/qemu/n.pid").write_text("4\n")
    assert processes.pid("ab-1", "n") == 77, "the file is of another host"
    assert processes.started(0) == processes.started(4) == 0.0
    age = 60.0 - 1000 / os.sysconf("SC_CLK_TCK")
    assert processes.started(77) == pytest.approx(time.time() - age, abs=5)
