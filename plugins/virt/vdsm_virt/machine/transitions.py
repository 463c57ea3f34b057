"""How a machine changes: by what libvirt reports of it, and by what a comparison with libvirt finds.

Each function takes a machine as it is known and returns it as it is then. They decide; who calls them only
says what has happened.
"""

from __future__ import annotations

import time

import msgspec

from vdsm_core.hypervisor import (
    DomainState,
)
from vdsm_virt.api.definition import VmStatus
from vdsm_virt.machine.machine import MIGRATED, MISSING, NOT_ARRIVED, STATUS, Machine, exit_found, exit_of

_replace = msgspec.structs.replace


def pause_code(detail: str) -> str:
    """Return VDSM's pause code for the reason that libvirt gives."""
    return {"ioerror": "EIO", "postcopy": "POSTCOPY", "postcopy-failed": "POSTCOPY"}.get(detail, "NOERR")


def new_xml(machine: Machine) -> Machine:
    """Note that what is known of its XML is out of date."""
    return _replace(machine, xml_changes=machine.xml_changes + 1)


def found(machine: Machine, domain: DomainState) -> Machine:
    """What a comparison tells of a machine that is known."""
    status = status_found(machine, domain)
    if (machine.status, machine.active, machine.persistent, machine.name) == (
        status,
        domain.active,
        domain.persistent,
        domain.name,
    ):
        return machine
    changed = _replace(
        machine,
        status=status,
        active=domain.active,
        persistent=domain.persistent,
        missing=False,
        name=domain.name,
        xml_changes=machine.xml_changes + 1,
        pause_code=pause_code(domain.reason) if status == "Paused" else "",
        incoming=machine.incoming if status == "Migration Destination" else 0.0,
        outgoing=machine.outgoing and domain.active,
    )
    if status == "Down":
        if machine.active:
            return _replace(changed, exit=exit_of(machine, domain.reason), exit_guessed=False, asked="")
        return _replace(changed, exit=machine.exit or exit_found(domain.reason), asked="")
    return _replace(changed, exit=None)


def status_found(machine: Machine, domain: DomainState) -> VmStatus:
    """Return the status of a machine whose domain was found like this."""
    status = STATUS[domain.state]
    if status == "Up" and machine.status in ("Powering down", "RebootInProgress"):
        return machine.status
    if machine.outgoing and domain.active:
        return "Migration Source"
    if machine.incoming and status == "Paused" and domain.reason in ("migration", "starting-up"):
        return "Migration Destination"
    return status


def vanished(machine: Machine) -> Machine:
    """What libvirt does not know any more. Of a machine that was leaving: it does so only if it has left."""
    ended = MIGRATED if machine.outgoing else NOT_ARRIVED if machine.incoming else MISSING
    return _replace(
        machine,
        status="Down",
        exit=ended,
        exit_guessed=False,
        active=False,
        missing=True,
        asked="",
        pause_code="",
        outgoing=False,
        migration_progress=-1,
        incoming=0.0,
    )


def comes(machine: Machine) -> Machine:
    """From another host, announced or not. It runs there until it is resumed here."""
    return _replace(
        machine,
        active=True,
        status="Migration Destination",
        pause_code="",
        exit=None,
        asked="",
        missing=False,
        persistent=False,
        incoming=machine.incoming or time.time(),
    )


def leaves(machine: Machine) -> Machine:
    """Stopped here, to go on there: this much is so whoever moves it."""
    if machine.launching or machine.status == "Down" or machine.incoming:
        return machine
    return _replace(machine, status="Migration Source", pause_code="")


def left_nothing(machine: Machine) -> Machine:
    """Forget the definition of a machine that is on another host now."""
    return machine if machine.active else _replace(machine, missing=True, persistent=False)


def started(machine: Machine) -> Machine:
    """Run, on this host."""
    if machine.launching:
        return _replace(machine, active=True)
    return _replace(
        machine,
        active=True,
        status="Up",
        pause_code="",
        exit=None,
        started=time.time(),
        asked="",
        missing=False,
        outgoing=False,
        incoming=0.0,
    )


def suspended(machine: Machine, code: str) -> Machine:
    """Stop the processors, for the reason that a pause code names."""
    if machine.launching or machine.status == "Down":
        return machine
    if code == "EIO" and machine.io_error:
        code = machine.io_error
    if machine.outgoing:
        return _replace(machine, pause_code=code) if code == "POSTCOPY" else machine
    return _replace(machine, status="Paused", pause_code=code, incoming=0.0)


def resumed(machine: Machine) -> Machine:
    """Let the processors go on."""
    if machine.launching or machine.status == "Down" or machine.outgoing:
        return machine
    return _replace(machine, status="Up", pause_code="", io_error="", incoming=0.0)


def io_error(machine: Machine, code: str) -> Machine:
    """Note which error of a disk paused it, or is about to."""
    paused = machine.status == "Paused" and machine.pause_code == "EIO"
    return _replace(machine, io_error=code, pause_code=code if paused else machine.pause_code)


def shutting_down(machine: Machine) -> Machine:
    """Note that the guest powers off."""
    if machine.launching or machine.status == "Down":
        return machine
    return _replace(machine, status="Powering down", pause_code="")


def rebooted(machine: Machine) -> Machine:
    """Note that the guest has come up again."""
    if machine.status != "RebootInProgress":
        return machine
    return _replace(machine, status="Up", asked="")


def stopped(machine: Machine, detail: str) -> Machine:
    """End, for the reason that libvirt gives."""
    if machine.launching:
        return _replace(machine, active=False)
    return _replace(
        machine,
        active=False,
        status="Down",
        pause_code="",
        io_error="",
        exit=exit_of(machine, detail),
        exit_guessed=False,
        asked="",
        missing=machine.missing or not machine.persistent,
        outgoing=False,
        migration_progress=-1,
        incoming=0.0,
    )
