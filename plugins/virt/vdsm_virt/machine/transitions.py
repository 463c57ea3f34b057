"""What each report changes of a machine beside its status, which `state` decides.

Each function takes a machine as it is known, and returns it as it is after the report.
"""

from __future__ import annotations

import time
from typing import Any, Final, Literal

import msgspec

from vdsm_core.hypervisor import DomainState, DomainStatus
from vdsm_virt.domain.metadata import Exit
from vdsm_virt.domain.read.definition import Details
from vdsm_virt.machine.machine import (
    DESTROYED_ON_STARTUP,
    ENDED_AT_ONCE,
    MIGRATED,
    MISSING,
    NOT_ARRIVED,
    POSTCOPY_FAILED,
    STATUS,
    Asked,
    Machine,
    exit_found,
    exit_of,
)
from vdsm_virt.machine.state import Keep, Report, apply, verdict

_replace = msgspec.structs.replace

#: What a reading of a domain reports, and what the reading after a launch does.
_FOUND: Final[dict[DomainStatus, Report]] = {
    "nostate": "found running",
    "running": "found running",
    "blocked": "found running",
    "paused": "found paused",
    "pmsuspended": "found paused",
    "crashed": "found paused",
    "shutdown": "found shutting down",
    "shutoff": "found off",
}
_LAUNCHED: Final[dict[Report, Report]] = {
    "found running": "launched running",
    "found paused": "launched paused",
    "found shutting down": "launched shutting down",
    "found off": "launched off",
}


#: Seconds by which the job that looks after a guest may be early.
_ROUNDING: Final = 0.5
#: The pause code of a machine whose guest continues on another host, before all its memory is there.
POSTCOPY: Final = "POSTCOPY"
#: Pause codes of I/O errors.
IO_ERRORS: Final = frozenset({"ENOSPC", "EIO", "EPERM", "EOTHER"})
#: VDSM's pause codes by libvirt's reason for a pause: every other reason is a client's request.
_PAUSE_CODES: Final[dict[str, str]] = {
    "ioerror": "EIO",
    "postcopy": POSTCOPY,
    "postcopy-failed": POSTCOPY,
}


def pause_code(detail: str) -> str:
    """Return VDSM's pause code for the reason that libvirt gives."""
    return _PAUSE_CODES.get(detail, "NOERR")


def _pause_code_of(machine: Machine, detail: str) -> str:
    """Return the pause code: libvirt's reason has no room for the kind of an I/O error, this run may have."""
    code = pause_code(detail)
    return machine.io_error if code == "EIO" and machine.io_error else code


def is_io_error(machine: Machine) -> bool:
    """Return whether a machine is paused by an I/O error."""
    return machine.status == "Paused" and machine.pause_code in IO_ERRORS


def new_xml(machine: Machine) -> Machine:
    """Note that what is known of its XML is out of date."""
    return _replace(machine, xml_changes=machine.xml_changes + 1)


# New machines.


def defined(vm_id: str, name: str) -> Machine:
    """Return a machine that this daemon is about to start."""
    return Machine(id=vm_id, name=name, status="WaitForLaunch", since=time.time(), ours=True, launching=True)


def expected(vm_id: str, name: str, reserved_by: str = "") -> Machine:
    """Return a machine that is expected from another host.

    :param reserved_by: the caller that has announced it
    """
    now = time.time()
    return Machine(
        id=vm_id,
        name=name,
        status="WaitForLaunch",
        since=now,
        persistent=False,
        ours=True,
        missing=True,
        incoming=now,
        reserved_by=reserved_by,
    )


def first_found(domain: DomainState) -> Machine:
    """Return a machine whose domain was not known before."""
    arriving = not domain.persistent and (domain.state, domain.reason) == ("paused", "migration")
    status = "Migration Destination" if arriving else STATUS[domain.state] if domain.active else "Down"
    now = time.time()
    return Machine(
        id=domain.uuid,
        name=domain.name,
        status=status,
        since=now,
        pause_code=pause_code(domain.reason) if status == "Paused" else "",
        paused_at=now if status == "Paused" else 0.0,
        exit=exit_found(domain.reason) if status == "Down" else None,
        exit_guessed=True,
        ended_as=domain.reason if status == "Down" else "",
        active=domain.active,
        persistent=domain.persistent,
        incoming=time.time() if arriving else 0.0,
    )


def moved_unseen(vm_id: str, name: str) -> Machine:
    """Return a machine of ours that moved while no daemon ran."""
    return Machine(
        id=vm_id,
        name=name,
        status="Down",
        since=time.time(),
        exit=MIGRATED,
        persistent=False,
        ours=True,
        missing=True,
    )


#: What a new run begins with: nothing of the one before.
_NEW_RUN: Final[dict[str, Any]] = {
    "started": 0.0,
    "asked": "",
    "asked_until": 0.0,
    "destroy_on_reboot": False,
    "signalled": False,
    "panicked": False,
    "io_error": "",
    "paused_at": 0.0,
    "ended_as": "",
}


# What a reading of the domain shows.


def found(machine: Machine, domain: DomainState) -> Machine:
    """Take over what a reading of the domain shows."""
    report = _FOUND[domain.state] if domain.active else "found off"
    arriving = machine.incoming and report == "found paused" and domain.reason in ("migration", "starting-up")
    if arriving:
        report = "found arriving"
    if report == "found paused" and pause_code(domain.reason) == POSTCOPY:
        report = "found in post-copy"
    decided = verdict(machine, report)
    if decided is Keep.ALL:
        return machine
    status = machine.status if isinstance(decided, Keep) else decided
    code = _pause_code_of(machine, domain.reason) if status == "Paused" else ""
    if (machine.status, machine.active, machine.persistent, machine.name, machine.pause_code) == (
        status,
        domain.active,
        domain.persistent,
        domain.name,
        code,
    ):
        return machine
    now = time.time()
    changed = apply(
        machine,
        report,
        active=domain.active,
        persistent=domain.persistent,
        missing=False,
        name=domain.name,
        xml_changes=machine.xml_changes + 1,
        pause_code=code,
        paused_at=(machine.paused_at or now) if status == "Paused" else 0.0,
        io_error=machine.io_error if status == "Paused" else "",
        incoming=machine.incoming if status == "Migration Destination" else 0.0,
        reserved_by=machine.reserved_by if status in ("Migration Destination", "Down") else "",
        outgoing=machine.outgoing and domain.active,
    )
    if status != "Down":
        begun = changed if machine.active else _replace(changed, **_NEW_RUN)
        return _replace(begun, exit=None, paused_at=changed.paused_at)
    if machine.active:
        ended = exit_of(machine, domain.reason, now)
        return _replace(changed, exit=ended, exit_guessed=False, ended_as=domain.reason, asked="")
    return _replace(changed, exit=machine.exit or exit_found(domain.reason), asked="")


def vanished(machine: Machine) -> Machine:
    """Mark a machine as Down that libvirt does not list any more.

    One that was leaving has left: libvirt forgets it only then.
    """
    ended = MIGRATED if machine.outgoing else NOT_ARRIVED if machine.incoming else MISSING
    return _ended(machine, "vanished", ended, missing=True)


def left_nothing(machine: Machine) -> Machine:
    """Note that a machine which is on another host now has left no definition."""
    return machine if machine.active else _replace(machine, missing=True, persistent=False)


# Events of libvirt.


def arriving(machine: Machine) -> Machine:
    """Mark a machine as an incoming migration, announced or not. It is paused until libvirt resumes it."""
    return apply(
        machine,
        "arriving",
        active=True,
        pause_code="",
        exit=None,
        missing=False,
        persistent=False,
        incoming=machine.incoming or time.time(),
        **_NEW_RUN,
    )


def moving_away(machine: Machine) -> Machine:
    """Mark a machine as migrating away: paused on the source, also if another client started it."""
    if machine.pause_code == POSTCOPY:
        return machine
    return apply(machine, "moving away", pause_code="")


def started(machine: Machine) -> Machine:
    """Mark a machine as started on this host."""
    if machine.launching:
        return apply(machine, "started", active=True)
    return apply(
        machine,
        "started",
        active=True,
        pause_code="",
        exit=None,
        missing=False,
        outgoing=False,
        incoming=0.0,
        reserved_by="",
        **{**_NEW_RUN, "started": time.time()},
    )


def suspended(machine: Machine, detail: str) -> Machine:
    """Mark a machine as Paused, for libvirt's reason."""
    code = _pause_code_of(machine, detail)
    paused_at = machine.paused_at if machine.status == "Paused" and machine.paused_at else time.time()
    if code == POSTCOPY:
        return apply(machine, "in post-copy", pause_code=code, paused_at=paused_at)
    return apply(machine, "suspended", pause_code=code, paused_at=paused_at, incoming=0.0, reserved_by="")


def resumed(machine: Machine) -> Machine:
    """Mark a machine as Up."""
    return apply(machine, "resumed", pause_code="", paused_at=0.0, io_error="", incoming=0.0, reserved_by="")


def io_error(machine: Machine, code: str) -> Machine:
    """Note which error of a disk paused it, or is about to."""
    paused = machine.status == "Paused" and machine.pause_code == "EIO"
    return _replace(machine, io_error=code, pause_code=code if paused else machine.pause_code)


def disks_read(machine: Machine, code: str) -> Machine:
    """Note what the disks show of the error that paused a machine, if that is not known better."""
    return io_error(machine, code) if not machine.io_error else machine


def shutting_down(machine: Machine, detail: str = "guest") -> Machine:
    """Note that the guest powers off.

    :param detail: libvirt's; "host" if a signal to QEMU is the cause
    """
    return apply(machine, "shutting down", pause_code="", signalled=detail == "host")


def panicked(machine: Machine) -> Machine:
    """Note that the guest's kernel reports a crash. What libvirt does about it is an event of its own."""
    return _replace(machine, panicked=machine.active)


def rebooted(machine: Machine) -> Machine:
    """Note that the guest has rebooted: it counts as started anew."""
    # QEMU may report one reboot more than once: a machine that is destroyed for the first one still is.
    asked: Asked = "" if machine.asked in ("shutdown", "reboot") else machine.asked
    return apply(machine, "rebooted", asked=asked, started=time.time())


def stopped(machine: Machine, detail: str) -> Machine:
    """Mark a machine as Down, for the reason that libvirt gives."""
    if machine.launching:
        return apply(machine, "stopped", active=False)
    missing = machine.missing or not machine.persistent
    ended = exit_of(machine, detail, time.time())
    return _ended(machine, "stopped", ended, missing=missing, io_error="", ended_as=detail)


# What this daemon does.


def starting_again(machine: Machine) -> Machine:
    """Mark a machine that was down, and kept its definition, as one that is being started."""
    return apply(machine, "starting again", launching=True, exit=None, exit_guessed=False, **_NEW_RUN)


def launched(machine: Machine, domain: DomainState, details: Details, elapsed: float = 0.0) -> Machine:
    """End the launch of a machine, as its domain was found.

    :param elapsed: seconds that the guest had run before its state was saved
    """
    if machine.asked == "destroy":
        return machine
    report = _LAUNCHED[_FOUND[domain.state] if domain.active else "found off"]
    paused = report == "launched paused"
    return apply(
        machine,
        report,
        launching=False,
        active=domain.active,
        # An I/O error may pause it as soon as it starts.
        pause_code=_pause_code_of(machine, domain.reason) if paused else "",
        paused_at=time.time() if paused else 0.0,
        io_error=machine.io_error if paused else "",
        started=time.time() - elapsed,
        details=details,
        exit=ENDED_AT_ONCE if report == "launched off" else None,
        xml_read=machine.xml_changes,
    )


def launch_failed(machine: Machine, ended: Exit) -> Machine:
    """Mark a machine as Down that could not be started."""
    return apply(
        machine,
        "launch failed",
        launching=False,
        active=False,
        exit=ended,
        exit_guessed=False,
        xml_changes=machine.xml_changes + 1,
    )


def launch_given_up(machine: Machine) -> Machine:
    """Note that nothing starts a machine any more that was destroyed during its launch."""
    doomed = machine.launching and machine.asked == "destroy"
    return _replace(machine, launching=False) if doomed else machine


def asked(machine: Machine, what: Literal["shutdown", "reboot"], timeout: float = 0.0) -> Machine:
    """Note that the guest is asked to shut down or to reboot.

    :param timeout: seconds that it has; 0: without an end
    """
    report: Report = "asked to reboot" if what == "reboot" else "asked to shut down"
    until = time.time() + timeout if timeout else 0.0
    if machine.asked == what and until:
        # A request that gives less time does not shorten that of an earlier one.
        until = max(until, machine.asked_until)
    return apply(machine, report, asked=what, asked_until=until)


def not_asked(machine: Machine, before: Machine) -> Machine:
    """Take back `asked`: the guest could not be asked."""
    if before.status != "Up":
        return _replace(machine, asked=before.asked)
    return apply(machine, "not asked", asked=before.asked)


def not_complied(machine: Machine) -> Machine:
    """Note that the guest did not do in time what it was asked."""
    return apply(machine, "not asked", asked="")


def is_overdue(machine: Machine) -> bool:
    """Return whether the guest has no time left to comply with what it was asked, by any request."""
    return machine.asked_until <= time.time() + _ROUNDING


def may_end_late(machine: Machine, seconds: float) -> Machine:
    """Note that an unanswered call may end the machine for some time."""
    return _replace(machine, asked_until=time.time() + seconds)


def destroyed(machine: Machine, *, launching: bool) -> Machine:
    """Mark a machine as Down that this daemon destroyed, if no event of libvirt has.

    :param launching: it was destroyed during startup: libvirt sends no event for it
    """
    return apply(
        machine,
        "destroyed",
        pause_code="",
        paused_at=0.0,
        active=False,
        exit=DESTROYED_ON_STARTUP if launching else machine.exit,
    )


def announced(machine: Machine) -> Machine:
    """Mark a machine as an incoming migration whose disks have been found."""
    return apply(machine, "announced")


def not_arrived(machine: Machine, ended: Exit) -> Machine:
    """Mark a machine as Down that was expected from another host, and is overdue."""
    return apply(machine, "not arrived", exit=ended, incoming=0.0)


def leaving(machine: Machine) -> Machine:
    """Mark a running machine as one that is being migrated away."""
    if not machine.active:
        return machine
    return apply(machine, "leaving", outgoing=True, migration_progress=0, migration_error="")


def advanced(machine: Machine, progress: int) -> Machine:
    """Note the progress of a migration."""
    return _replace(machine, migration_progress=progress) if machine.outgoing else machine


def stays(machine: Machine, reason: str) -> Machine:
    """Note that a machine has not moved. A reading of its domain gives its status."""
    return apply(machine, "staying", outgoing=False, migration_progress=-1, migration_error=reason)


def postcopy_failed(machine: Machine) -> Machine:
    """Mark a machine as Down whose memory is split between two hosts for good."""
    return _ended(machine, "post-copy failed", POSTCOPY_FAILED, missing=machine.missing)


def moved(machine: Machine) -> Machine:
    """Mark a machine as Down that runs on another host, although libvirt's event has not arrived."""
    return _ended(machine, "moved", MIGRATED, missing=True)


def elapsed(machine: Machine) -> float:
    """Return for how many seconds the guest of a machine has run."""
    return max(0.0, time.time() - machine.started) if machine.started else 0.0


def saving(machine: Machine) -> Machine:
    """Mark a running machine as one whose state is being saved."""
    return apply(machine, "saving", pause_code="", paused_at=0.0)


def not_saved(machine: Machine) -> Machine:
    """Note that the state of a machine is not being saved any more. A reading of its domain follows."""
    return apply(machine, "not saved", pause_code="NOERR", paused_at=time.time())


def restoring(machine: Machine) -> Machine:
    """Note that a machine is not started anew, but restored from a saved state."""
    return apply(machine, "restoring")


def _ended(machine: Machine, report: Report, ended: Exit, *, missing: bool, **members: str) -> Machine:
    return apply(
        machine,
        report,
        exit=ended,
        exit_guessed=False,
        active=False,
        missing=missing,
        pause_code="",
        paused_at=0.0,
        asked="",
        outgoing=False,
        migration_progress=-1,
        incoming=0.0,
        **members,
    )
