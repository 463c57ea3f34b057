"""What libvirt has of a machine, read into the inventory and written back from it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

import msgspec

from vdsm_core.errors import OperationFailed, VdsmError
from vdsm_core.hypervisor import Hypervisor, NoSuchDomain
from vdsm_core.work.scheduler import Jobs
from vdsm_virt.domain import metadata
from vdsm_virt.domain.elements import parse
from vdsm_virt.domain.metadata import Exit, Metadata
from vdsm_virt.domain.read import definition
from vdsm_virt.domain.read.definition import Details
from vdsm_virt.machine.inventory import Inventory
from vdsm_virt.machine.machine import NEVER_LAUNCHED, NOT_RUNNING, Machine
from vdsm_virt.machine.references import Machine as MachineReference

log = logging.getLogger(__name__)

#: Seconds for libvirt to tell the XML of one machine in the background: others wait behind it.
_PATIENCE: Final = 2.0
#: Where libvirt's QEMU driver keeps the process ids of the machines it runs.
_PID_FILES: Final = "run/libvirt/qemu"


class Mirror:
    """Keeps `Machine.details` as new as the domains, and the domains' metadata as new as the machines.

    :param root: where the host's files are
    """

    def __init__(self, hypervisor: Hypervisor, inventory: Inventory, jobs: Jobs, root: Path) -> None:
        self._hypervisor = hypervisor
        self._inventory = inventory
        self._jobs = jobs
        self._root = root

    def refresh_soon(self, vm_id: str) -> None:
        """Read a machine's XML in the background."""

        def refresh() -> None:
            machine = self._inventory.find(vm_id)
            if machine is not None and machine.stale and not machine.missing:
                self.refresh(vm_id, _PATIENCE)

        self._jobs.plan("reading", refresh, of=MachineReference(vm_id), second="not needed")

    def fresh(self, machine: Machine) -> Machine:
        """The machine with details as new as the domain; with those that are known if libvirt cannot tell."""
        if not machine.stale or machine.missing:
            return machine
        try:
            return self.refresh(machine.id) or machine
        except VdsmError:
            if machine.details is None:
                raise
            return machine

    def refresh(self, vm_id: str, timeout: float | None = None) -> Machine | None:
        """Read a machine's XML.

        :param timeout: seconds; None is the hypervisor's own
        :returns: the machine, None if it is gone
        """
        before = self._inventory.find(vm_id)
        if before is None:
            return None
        try:
            details = self.read(vm_id, timeout)
        except NoSuchDomain:
            return self._inventory.find(vm_id)
        # What changes while it is being read makes it stale again.
        read = before.xml_changes
        return self._inventory.update(vm_id, lambda machine: _with(machine, details, read))

    def read(self, vm_id: str, timeout: float | None = None) -> Details:
        """What libvirt has of a machine now.

        :raises NoSuchDomain: nothing
        :raises OperationFailed: its document cannot be read
        """
        try:
            domain = parse(self._hypervisor.definitions.xml(vm_id, timeout=timeout))
        except ValueError as error:
            # Anybody may have defined it: one such machine must not break the list of all.
            raise OperationFailed(
                reason=f"libvirt's document of machine {vm_id} cannot be read: {error}"
            ) from None
        details = definition.read(domain, vm_id)
        pid = self._pid(details.definition.vm_name) if domain.get("id") else 0
        return msgspec.structs.replace(
            details, definition=msgspec.structs.replace(details.definition, pid=pid)
        )

    def remember_exit_soon(self, vm_id: str) -> None:
        """Write how a machine of ours ended into its domain, so that the next daemon knows."""

        def remember() -> None:
            machine = self._inventory.find(vm_id)
            if machine is None or machine.exit is None or not machine.ours or machine.missing:
                return
            known = machine.details.metadata if machine.details is not None else None
            kept = msgspec.structs.replace(known or Metadata(), exit=machine.exit)
            try:
                self._hypervisor.definitions.set_metadata(
                    vm_id, metadata.URI, metadata.PREFIX, metadata.write_text(kept), timeout=_PATIENCE
                )
            except NoSuchDomain:
                return

        self._jobs.plan("writing the end", remember, of=MachineReference(vm_id), second="not needed")

    def _pid(self, name: str) -> int:
        try:
            return int((self._root / _PID_FILES / f"{name}.pid").read_text())
        except (OSError, ValueError):
            # Another driver, another libvirtd's folder, or no permission.
            return 0


def _with(machine: Machine, details: Details, read: int) -> Machine:
    if machine.xml_read > read:
        return machine
    known = details.metadata
    changes = msgspec.structs.replace(
        machine,
        details=details,
        xml_read=read,
        ours=known is not None,
        name=details.definition.vm_name or machine.name,
    )
    if machine.status != "Down":
        started = machine.started or (known.created if known is not None else 0.0)
        return msgspec.structs.replace(changes, started=started)
    return msgspec.structs.replace(changes, exit=_exit(machine, known))


def _exit(machine: Machine, known: Metadata | None) -> Exit | None:
    """How it ended: what the daemon saw itself counts most, then what it wrote down, then libvirt's word."""
    if known is None or (machine.exit is not None and not machine.exit_guessed):
        return machine.exit
    if known.exit is None and machine.exit in (None, NOT_RUNNING):
        return NEVER_LAUNCHED
    return known.exit or machine.exit
