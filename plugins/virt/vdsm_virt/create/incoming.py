"""Places for machines that are migrated to this host."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any

from vdsm_core.errors import InvalidArgument, VdsmError
from vdsm_core.hooks.specs.storage import vdsm_prepare_disk, vdsm_release_disk
from vdsm_core.hypervisor import DomainLifecycle, HypervisorEvent, NoSuchDomain
from vdsm_core.volumes import DiskId
from vdsm_virt.api.definition import VmDefinition
from vdsm_virt.api.migration import IncomingParams
from vdsm_virt.api.scalars import given
from vdsm_virt.create.arrival import call_hooks, check_identity, documents
from vdsm_virt.domain.metadata import Exit
from vdsm_virt.errors import AlreadyExpected, CannotCreateVM, MigrationLimitExceeded, VMExists
from vdsm_virt.machine import transitions
from vdsm_virt.machine.describe import short
from vdsm_virt.machine.machine import Machine, Reason
from vdsm_virt.machine.machines import Machines
from vdsm_virt.machine.naming import check_machine_name
from vdsm_virt.machine.references import Machine as MachineReference

log = logging.getLogger(__name__)


class Incoming:
    """Keeps a place for each machine that was announced, until it arrives or is overdue.

    A place is known to this daemon only: libvirt accepts a machine with or without a place, and
    refuses one whose id or name is in use.

    :param limit: incoming migrations at the same time
    :param timeout: seconds that a place is kept
    """

    def __init__(
        self,
        machines: Machines,
        *,
        limit: int,
        timeout: float,
    ) -> None:
        self._hypervisor = machines.hypervisor
        self._inventory = machines.inventory
        self._jobs = machines.jobs
        self._hooks = machines.hooks
        self._machine_hooks = machines.machine_hooks
        self._limit = limit
        self._timeout = timeout
        self._lock = threading.Lock()
        #: The disks that were prepared for machines which have not arrived.
        self._prepared: dict[str, list[DiskId]] = {}

    def create(self, vm_id: str, params: IncomingParams, limit: int, reserved_by: str) -> VmDefinition:
        """Check that a machine can arrive, and keep a place for it.

        :param limit: as of the class; 0 is the class's own
        :param reserved_by: the caller (`Identity.key`)
        """
        known = params.known
        if given(known.vm_id, vm_id).lower() != vm_id:
            raise InvalidArgument(argument="params.vmId", reason=f"it is not vmID, {vm_id}")
        # VDSM called a machine without a name after its id.
        name = given(known.vm_name, f"n{vm_id}")
        check_machine_name(name, "params.vmName")
        check_identity(documents(params), vm_id, given(known.vm_name, ""))
        self._inventory.insist()
        self._refuse_known(vm_id)
        machine = transitions.expected(vm_id, name, reserved_by)
        self._reserve(machine, limit or self._limit)
        prepared: list[DiskId] = []
        try:
            self._see_to_disks(vm_id, known.devices, prepared)
            call_hooks(self._machine_hooks, vm_id, name, params)
        except BaseException:
            self._inventory.forget(vm_id)
            self._release(vm_id, prepared)
            raise
        self._prepared[vm_id] = prepared
        expected = self._inventory.update(vm_id, transitions.announced) or machine
        self._jobs.plan(
            "overdue arrival",
            lambda: self._overdue(machine),
            of=MachineReference(vm_id),
            after=self._timeout,
            second="replaces",
        )
        return short(expected)

    def drop(self, vm_id: str) -> None:
        """Release what was prepared for a machine that does not arrive any more."""
        self._release(vm_id, self._prepared.pop(vm_id, []))

    def handle(self, event: HypervisorEvent) -> None:
        """Note what becomes of the machines that are expected."""
        if isinstance(event, DomainLifecycle) and event.uuid in self._prepared:
            if event.event == "stopped":
                self._jobs.plan(
                    "releasing disks of a machine that did not arrive",
                    lambda: self.drop(event.uuid),
                    of=MachineReference(event.uuid),
                    second="not needed",
                )
            elif event.event == "resumed":
                # It has arrived: its domain has the ids of its disks from now on.
                self._prepared.pop(event.uuid, None)

    def _refuse_known(self, vm_id: str) -> None:
        try:
            self._hypervisor.domains.get(vm_id)
        except NoSuchDomain:
            return
        raise VMExists(member="vmId", value=vm_id)

    def _reserve(self, machine: Machine, limit: int) -> None:
        with self._lock:
            before = self._inventory.find(machine.id)
            if before is not None and before.incoming and not before.active:
                raise AlreadyExpected(member="vmId", value=machine.id)
            on_their_way = sum(bool(other.incoming) for other in self._inventory.all())
            if on_their_way >= limit:
                raise MigrationLimitExceeded(limit=limit)
            if before is not None and not (before.active or before.incoming or before.launching):
                # libvirt has no such domain: what is left is how it ended.
                self._inventory.forget(machine.id)
            self._inventory.add(machine)

    def _see_to_disks(self, vm_id: str, devices: list[dict[str, Any]], asked: list[DiskId]) -> None:
        """Have the disks prepared, and see that they are where the machine will look for them.

        :param asked: gets each disk that a plugin is asked to prepare
        :raises CannotCreateVM: one is not
        """
        for device in devices:
            if "disk" not in (device.get("deviceType"), device.get("type")):
                continue
            path = device.get("path")
            disk = DiskId.read(device)
            if disk:
                asked.append(disk)
            prepared = self._hooks.run(vdsm_prepare_disk, vm_id, disk) if disk else None
            if prepared is not None and path and prepared.path != path:
                raise CannotCreateVM(reason=f"disk {path} would be at {prepared.path} on this host")
            if isinstance(path, str) and path.startswith("/") and _is_absent(path):
                raise CannotCreateVM(reason=f"there is no disk {path} on this host")

    def _release(self, vm_id: str, disks: list[DiskId]) -> None:
        for disk in disks:
            try:
                self._hooks.run(vdsm_release_disk, vm_id, disk)
            except VdsmError as error:
                log.warning(
                    "Disk %s of machine %s, which did not arrive, is not released: %s", disk, vm_id, error
                )

    def _overdue(self, machine: Machine) -> None:
        reason = f"It did not arrive within {self._timeout:g} s"
        ended = Exit(1, Reason.MIGRATION_FAILED, reason)

        def given_up(now: Machine) -> Machine:
            if now.incoming != machine.incoming or now.active:
                return now
            return transitions.not_arrived(now, ended)

        after = self._inventory.update(machine.id, given_up)
        if after is not None and after.exit is ended:
            log.warning("Machine %s (%s) has not arrived: %s", machine.id, machine.name, reason)
            self.drop(machine.id)


def _is_absent(path: str) -> bool:
    try:
        Path(path).stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        # libvirt may see more than this process.
        return False
    return False
