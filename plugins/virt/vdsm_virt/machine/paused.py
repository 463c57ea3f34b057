"""Machines that an I/O error has paused: they go on when their storage is back, or are destroyed."""

from __future__ import annotations

import logging
import time
from typing import Final

from vdsm_core.errors import VdsmError
from vdsm_core.hooks import hookimpl
from vdsm_core.hypervisor import NoSuchDomain, OperationInvalid
from vdsm_virt.machine import transitions
from vdsm_virt.machine.machine import Machine
from vdsm_virt.machine.machines import Machines
from vdsm_virt.machine.power import Power
from vdsm_virt.machine.references import Machine as MachineReference

log = logging.getLogger(__name__)

#: Seconds between two looks at how long machines have been paused.
_ROUND: Final = 40.0
#: The errors of which a machine does not recover by itself; a lack of room is storage's matter.
_LASTING: Final = frozenset({"EIO", "EOTHER"})


class PausedMachines:
    """Follows the `resumeBehavior` of machines: "auto_resume", "leave_paused" or "kill".

    :param timeout: seconds after which a machine is destroyed that is not to wait for its storage
    """

    def __init__(self, machines: Machines, power: Power, timeout: float) -> None:
        self._machines = machines
        self._power = power
        self._timeout = timeout

    def start(self) -> None:
        """Look regularly, until the jobs of the plugin end."""
        self._machines.jobs.plan(
            "looking for paused machines",
            self._look,
            after=min(_ROUND, self._timeout / 2),
            second="not needed",
        )

    def look(self) -> None:
        """Destroy the machines that have been paused for too long, and are not to wait."""
        for machine in self._machines.inventory.all():
            if (
                machine.pause_code in _LASTING
                and behavior_of(machine) == "kill"
                and self._is_overdue(machine)
            ):
                self._power.end_soon(machine.id, "no longer paused")

    @hookimpl
    def vdsm_storage_domain_valid(self, domain_id: str) -> None:
        """Let the machines go on that wait for a storage domain."""
        for machine in self._machines.inventory.all():
            if not transitions.is_io_error(machine) or machine.outgoing or not _uses(machine, domain_id):
                continue
            behavior = behavior_of(machine)
            if behavior == "kill" and self._is_overdue(machine):
                self._power.end_soon(machine.id, "no longer paused")
            elif behavior != "leave_paused":
                self._resume_soon(machine.id)

    def _look(self) -> None:
        try:
            self.look()
        finally:
            self.start()

    def _is_overdue(self, machine: Machine) -> bool:
        """Return whether a machine is paused for too long; when it was paused outlives the daemon."""
        return transitions.is_io_error(machine) and 0 < machine.paused_at < time.time() - self._timeout

    def _resume_soon(self, vm_id: str) -> None:
        def resume() -> None:
            machine = self._machines.inventory.find(vm_id)
            if machine is None or not transitions.is_io_error(machine):
                return
            log.info("Machine %s goes on: its storage is back", vm_id)
            try:
                self._machines.hypervisor.domains.resume(vm_id)
            except (NoSuchDomain, OperationInvalid):
                return
            except VdsmError as error:
                log.warning("Machine %s, whose storage is back, does not go on: %s", vm_id, error)

        self._machines.jobs.plan(
            "resuming a machine", resume, of=MachineReference(vm_id), second="not needed"
        )


def behavior_of(machine: Machine) -> str:
    """Return what becomes of a machine that an I/O error pauses."""
    known = machine.details.metadata if machine.details is not None else None
    return (known.resume_behavior if known is not None else "") or "auto_resume"


def _uses(machine: Machine, domain_id: str) -> bool:
    known = machine.details.metadata if machine.details is not None else None
    return known is not None and any(ids.get("domainID") == domain_id for ids in known.devices.values())
