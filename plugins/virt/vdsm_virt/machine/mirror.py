"""What libvirt has of a machine, read into the inventory and written back from it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, cast

import msgspec

from vdsm_core.errors import OperationFailed, VdsmError
from vdsm_core.hypervisor import Hypervisor, NoSuchDomain
from vdsm_core.work.scheduler import Jobs
from vdsm_virt.api.scalars import given
from vdsm_virt.domain import metadata
from vdsm_virt.domain.elements import parse
from vdsm_virt.domain.metadata import Metadata
from vdsm_virt.domain.read import definition
from vdsm_virt.domain.read.definition import Details
from vdsm_virt.domain.run import Run
from vdsm_virt.machine import transitions
from vdsm_virt.machine.inventory import Inventory
from vdsm_virt.machine.machine import Asked, Machine, exit_recorded
from vdsm_virt.machine.processes import QemuProcesses
from vdsm_virt.machine.references import Machine as MachineReference
from vdsm_virt.machine.runs import boot_id

log = logging.getLogger(__name__)

#: Seconds for libvirt to return the XML of one machine in the background: others wait behind it.
_PATIENCE: Final = 2.0


class Mirror:
    """Keeps `Machine.details` as new as the domains, and the domains' metadata as new as the machines.

    :param root: where the host's files are
    :param kept_custom: shell patterns of the custom properties that are shown
    """

    def __init__(
        self,
        hypervisor: Hypervisor,
        inventory: Inventory,
        jobs: Jobs,
        root: Path,
        kept_custom: Sequence[str] = (),
    ) -> None:
        self._hypervisor = hypervisor
        self._inventory = inventory
        self._jobs = jobs
        self._processes = QemuProcesses(root)
        self._boot_id = boot_id(root)
        self._kept_custom = tuple(kept_custom)
        self._lock = threading.Lock()
        #: Of each machine whose metadata are being written: the lock, and how many hold it or wait.
        self._writers: dict[str, tuple[threading.Lock, int]] = {}

    def refresh_soon(self, vm_id: str) -> None:
        """Read a machine's XML in the background."""

        def refresh() -> None:
            machine = self._inventory.find(vm_id)
            if machine is not None and machine.stale and not machine.missing:
                self.refresh(vm_id, _PATIENCE)

        self._jobs.plan("reading", refresh, of=MachineReference(vm_id), second="not needed")

    def fresh(self, machine: Machine) -> Machine:
        """Return the machine with current details; with the known ones if libvirt does not answer."""
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
        after = self._inventory.update(vm_id, lambda machine: self._with(machine, details, read))
        if (
            after is not None
            and after.status == "Paused"
            and after.pause_code == "EIO"
            and not after.io_error
        ):
            self._see_disks(vm_id, timeout)
            return self._inventory.find(vm_id)
        return after

    def read(self, vm_id: str, timeout: float | None = None) -> Details:
        """Return what libvirt has of a machine now.

        :raises NoSuchDomain: nothing
        :raises OperationFailed: its document cannot be read
        """
        try:
            domain = parse(self._hypervisor.definitions.xml(vm_id, timeout=timeout))
        except ValueError as error:
            # Any client may have defined it: one such machine must not break the list of all.
            raise OperationFailed(
                reason=f"libvirt's document of machine {vm_id} cannot be read: {error}"
            ) from None
        details = definition.read(domain, vm_id, self._kept_custom)
        pid = self._processes.pid(vm_id, details.definition.vm_name) if domain.get("id") else 0
        return msgspec.structs.replace(
            details, definition=msgspec.structs.replace(details.definition, pid=pid)
        )

    def change_metadata(
        self, vm_id: str, change: Callable[[Metadata], Metadata], timeout: float | None = None
    ) -> Metadata:
        """Change what a machine's domain keeps for this daemon, and the record of the machine.

        Changes of one machine run one after the other; each begins with what libvirt has.

        :param change: makes the new metadata of the present one
        :param timeout: seconds for each call to libvirt; None is the hypervisor's own
        :returns: the new metadata
        :raises NoSuchDomain: libvirt has no such domain
        """
        with self._writing(vm_id):
            text = self._hypervisor.definitions.metadata(vm_id, metadata.URI, timeout=timeout)
            before = metadata.read_text(text) or Metadata()
            after = change(before)
            if after != before:
                self._hypervisor.definitions.set_metadata(
                    vm_id, metadata.URI, metadata.PREFIX, metadata.write_text(after), timeout=timeout
                )
            self._inventory.update(vm_id, lambda machine: _with_metadata(machine, after))
            return after

    @contextmanager
    def _writing(self, vm_id: str) -> Iterator[None]:
        """Hold the right to write the metadata of a machine."""
        with self._lock:
            lock, users = self._writers.get(vm_id, (threading.Lock(), 0))
            self._writers[vm_id] = (lock, users + 1)
        try:
            with lock:
                yield
        finally:
            with self._lock:
                lock, users = self._writers.pop(vm_id)
                if users > 1:
                    self._writers[vm_id] = (lock, users - 1)

    def _see_disks(self, vm_id: str, timeout: float | None) -> None:
        """Find out which I/O error paused a machine, where no event has said it.

        libvirt has two kinds: no space is left, or another one.
        """
        try:
            errors = set(self._hypervisor.devices.disk_errors(vm_id, timeout=timeout).values())
        except VdsmError as error:
            log.info("Cannot read which disk of machine %s failed: %s", vm_id, error)
            return
        code = "ENOSPC" if "no-space" in errors else "EIO" if errors else ""
        if code:
            self._inventory.update(vm_id, lambda machine: transitions.disks_read(machine, code))

    def _with(self, machine: Machine, details: Details, read: int) -> Machine:
        if machine.xml_read > read:
            return machine
        changes = msgspec.structs.replace(
            machine,
            details=details,
            xml_read=read,
            ours=details.metadata is not None,
            name=details.definition.vm_name or machine.name,
        )
        after = _resumed_run(changes, details, self._boot_id)
        if after.active and not after.started:
            # A run that no daemon has seen the beginning of.
            began = self._processes.started(given(details.definition.pid, 0)) or after.since
            after = msgspec.structs.replace(after, started=began)
        return after


def _resumed_run(machine: Machine, details: Details, boot_id: str) -> Machine:
    """Take over the mark of the run of a machine that was found, where this daemon has not seen it."""
    run = details.run
    if machine.status == "Down":
        if details.metadata is None or (machine.exit is not None and not machine.exit_guessed):
            return machine
        known = run or (Run(exit=details.metadata.exit) if details.metadata.exit is not None else None)
        return msgspec.structs.replace(
            machine,
            exit=exit_recorded(machine, known, boot_id),
            exit_guessed=False,
            started=known.started if known is not None else 0.0,
        )
    if run is None or not run.live or machine.started:
        return machine
    resumed = msgspec.structs.replace(
        machine,
        started=run.started,
        asked=machine.asked or cast("Asked", run.asked),
        asked_until=machine.asked_until or run.asked_until,
        destroy_on_reboot=run.destroy_on_reboot,
    )
    if machine.status != "Paused" or not run.pause_code:
        return resumed
    resumed = msgspec.structs.replace(resumed, paused_at=run.paused_at or machine.paused_at)
    is_io_error = machine.pause_code == "EIO" and not machine.io_error
    return transitions.io_error(resumed, run.pause_code) if is_io_error else resumed


def _with_metadata(machine: Machine, known: Metadata) -> Machine:
    if machine.details is None:
        return machine
    return msgspec.structs.replace(machine, details=msgspec.structs.replace(machine.details, metadata=known))
