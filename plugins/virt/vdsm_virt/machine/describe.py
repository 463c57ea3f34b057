"""A machine as VDSM's structs and events show it."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET

from vdsm_virt.api.definition import VmDefinition
from vdsm_virt.api.events import VmStatusChanged
from vdsm_virt.machine.machine import Machine


def short(machine: Machine) -> VmDefinition:
    """Return id, name and status."""
    return VmDefinition(
        vm_id=machine.id,
        vm_name=machine.name,
        status=machine.status,
        status_time=int(machine.since * 1000),
    )


def definition(machine: Machine) -> VmDefinition:
    """Return everything that is known; only the short form until libvirt has reported the rest."""
    known = machine.details.definition if machine.details is not None else short(machine)
    return msgspec.structs.replace(known, status_time=int(machine.since * 1000), **_standing(machine))


def status_event(machine: Machine) -> VmStatusChanged:
    """Return the event that shows the status of a machine."""
    return VmStatusChanged(**_standing(machine))


def _standing(machine: Machine) -> dict[str, Any]:
    """Return id, name and status, the pause code of a paused machine, and the exit of one that is down."""
    ended = machine.exit if machine.status == "Down" else None
    return {
        "vm_id": machine.id,
        "vm_name": machine.name,
        "status": machine.status,
        "pause_code": machine.pause_code if machine.status == "Paused" else UNSET,
        "exit_code": UNSET if ended is None else ended.code,
        "exit_reason": UNSET if ended is None else int(ended.reason),
        "exit_message": UNSET if ended is None else ended.message,
    }
