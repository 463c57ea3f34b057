"""The marks of runs: what belongs to a run of a machine is written into its domain, and ends with the run."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any, Final

import msgspec

from vdsm_core.errors import VdsmError
from vdsm_core.hypervisor import Hypervisor, NoSuchDomain
from vdsm_core.hypervisor.domains.definition import Copies
from vdsm_core.work.scheduler import Jobs
from vdsm_virt.domain import run as marks
from vdsm_virt.domain.run import Run
from vdsm_virt.machine.inventory import Inventory
from vdsm_virt.machine.machine import Machine
from vdsm_virt.machine.references import Machine as MachineReference

log = logging.getLogger(__name__)

#: Seconds for libvirt to write in the background: other work on the machine waits behind it.
_PATIENCE: Final = 2.0
#: Seconds until a mark that could not be written is written again.
_AGAIN: Final = 5.0
#: Where the kernel has the id of the boot.
_BOOT_ID: Final = "proc/sys/kernel/random/boot_id"


def boot_id(root: Path) -> str:
    """Return the kernel's id of this boot of the host; empty if it has none."""
    try:
        return (root / _BOOT_ID).read_text().strip()
    except OSError:
        return ""


def facts(machine: Machine) -> tuple[Any, ...]:
    """Return what a mark is made of, and what decides whether one can be written now."""
    return (
        run_of(machine, ""),
        machine.active,
        machine.launching,
        machine.outgoing,
        bool(machine.incoming),
        machine.ours,
        machine.details is None,
    )


def run_of(machine: Machine, boot: str) -> Run:
    """Return the mark of the newest run of a machine."""
    paused = machine.active and machine.status == "Paused"
    return Run(
        started=machine.started,
        boot_id=boot,
        live=machine.active,
        asked=machine.asked,
        asked_until=machine.asked_until,
        pause_code=machine.pause_code if paused else "",
        paused_at=machine.paused_at if paused else 0.0,
        destroy_on_reboot=machine.destroy_on_reboot,
        exit=None if machine.active else machine.exit,
        ended_as="" if machine.active else machine.ended_as,
    )


class Runs:
    """Keeps the marks of the runs as new as the machines.

    :param root: where the host's files are
    """

    def __init__(self, hypervisor: Hypervisor, inventory: Inventory, jobs: Jobs, root: Path) -> None:
        self._hypervisor = hypervisor
        self._inventory = inventory
        self._jobs = jobs
        self._boot_id = boot_id(root)

    def begin(self, vm_id: str) -> None:
        """Mark, in the definition, that a run is about to begin: a power failure may come before its events.

        :raises HypervisorError: libvirt cannot write it
        """
        self._write(vm_id, Run(started=round(time.time(), 3), boot_id=self._boot_id), "stored", None)

    def follow(self, before: Machine, after: Machine) -> None:
        """Have the mark written if a change of a machine concerns it, whatever part found it."""
        if facts(before) != facts(after):
            self.keep_soon(after.id)

    def keep_soon(self, vm_id: str, after: float = 0.0) -> None:
        """Write the mark of a machine in the background, if it is not written yet.

        :param after: seconds
        """
        self._jobs.plan(
            "marking the run",
            lambda: self._keep(vm_id),
            of=MachineReference(vm_id),
            after=after,
            second="not needed",
        )

    def _keep(self, vm_id: str) -> None:
        machine = self._inventory.find(vm_id)
        if machine is None or not _can_be_marked(machine) or machine.details is None:
            return
        run, known = run_of(machine, self._boot_id), machine.details.run
        if run == known:
            return
        try:
            if machine.persistent and not (known and known.live and known.to_store() == run.to_store()):
                self._write(vm_id, run.to_store(), "stored", _PATIENCE)
            if machine.active:
                # The last of the two: a live mark means that the definition has its own.
                self._write(vm_id, run, "running", _PATIENCE)
        except NoSuchDomain:
            return
        except VdsmError as error:
            log.info("The run of machine %s is marked later: %s", vm_id, error)
            self.keep_soon(vm_id, _AGAIN)
            return
        self._inventory.update(vm_id, lambda now: _with_run(now, run))

    def _write(self, vm_id: str, run: Run, copies: Copies, timeout: float | None) -> None:
        self._hypervisor.definitions.set_metadata(
            vm_id, marks.URI, marks.PREFIX, marks.write_text(run), copies=copies, timeout=timeout
        )


def _can_be_marked(machine: Machine) -> bool:
    """Return whether the domain is ours, and libvirt does not hold it for a launch or a migration."""
    if not machine.ours or machine.missing or machine.launching:
        return False
    if machine.status == "Down":
        return machine.exit is not None and not machine.exit_guessed
    return machine.active and not machine.outgoing and not machine.incoming


def _with_run(machine: Machine, run: Run) -> Machine:
    if machine.details is None:
        return machine
    return msgspec.structs.replace(machine, details=msgspec.structs.replace(machine.details, run=run))
