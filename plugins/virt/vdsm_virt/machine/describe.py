"""A machine as VDSM's structs show it."""

from __future__ import annotations

import msgspec
from msgspec import UNSET

from vdsm_virt.api.definition import VmDefinition
from vdsm_virt.machine.machine import Machine


def short(machine: Machine) -> VmDefinition:
    """Id, name and status."""
    return VmDefinition(vm_id=machine.id, vm_name=machine.name, status=machine.status)


def definition(machine: Machine) -> VmDefinition:
    """Everything that is known; only the short form while libvirt has not told yet."""
    known = machine.details.definition if machine.details is not None else short(machine)
    ended = machine.exit if machine.status == "Down" else None
    return msgspec.structs.replace(
        known,
        vm_id=machine.id,
        vm_name=machine.name,
        status=machine.status,
        pause_code=machine.pause_code if machine.status == "Paused" else UNSET,
        exit_code=UNSET if ended is None else ended.code,
        exit_reason=UNSET if ended is None else int(ended.reason),
        exit_message=UNSET if ended is None else ended.message,
    )
