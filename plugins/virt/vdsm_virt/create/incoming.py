"""Places for machines that come from other hosts."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path
from typing import Any, Final

import msgspec

from vdsm_core.errors import InvalidArgument
from vdsm_core.hooks.manager import Hooks
from vdsm_core.hooks.specs.storage import vdsm_prepare_disk
from vdsm_core.hypervisor import Hypervisor, NoSuchDomain
from vdsm_core.work.scheduler import Jobs
from vdsm_virt.api.definition import VmDefinition
from vdsm_virt.api.migration import IncomingParams
from vdsm_virt.api.scalars import given
from vdsm_virt.domain.metadata import Exit
from vdsm_virt.errors import CannotCreateVM, MigrationLimitExceeded, VMExists
from vdsm_virt.machine.describe import short
from vdsm_virt.machine.inventory import Inventory
from vdsm_virt.machine.machine import Machine, Reason
from vdsm_virt.machine.naming import check_machine_name
from vdsm_virt.machine.references import Machine as MachineReference

log = logging.getLogger(__name__)

#: How VDSM names a disk for a storage plugin.
_IDS: Final = ("poolID", "domainID", "imageID", "volumeID", "GUID", "UUID")


class Incoming:
    """Keeps a place for each machine that was announced, until it comes or is overdue.

    A place is known to this daemon only: libvirt takes a machine that comes whether or not there is one, and
    refuses one whose id or name is in use.

    :param limit: machines on their way to this host at the same time
    :param timeout: seconds that a place is kept
    """

    def __init__(
        self,
        hypervisor: Hypervisor,
        inventory: Inventory,
        jobs: Jobs,
        hooks: Hooks,
        *,
        limit: int,
        timeout: float,
    ) -> None:
        self._hypervisor = hypervisor
        self._inventory = inventory
        self._jobs = jobs
        self._hooks = hooks
        self._limit = limit
        self._timeout = timeout
        self._lock = threading.Lock()

    def create(self, vm_id: str, params: IncomingParams, limit: int) -> VmDefinition:
        """Make sure that a machine can come, and keep a place for it.

        :param limit: as of the class; 0 is the class's own
        """
        known = params.known
        if given(known.vm_id, vm_id).lower() != vm_id:
            raise InvalidArgument(argument="params.vmId", reason=f"it is not vmID, {vm_id}")
        name = given(known.vm_name, f"n{vm_id}")
        check_machine_name(name, "params.vmName")
        self._inventory.insist()
        self._refuse_known(vm_id)
        machine = Machine(
            id=vm_id,
            # VDSM called a machine without a name after its id.
            name=name,
            status="WaitForLaunch",
            since=time.time(),
            persistent=False,
            ours=True,
            missing=True,
            incoming=time.time(),
        )
        self._reserve(machine, limit or self._limit)
        try:
            self._see_to_disks(vm_id, known.devices)
        except BaseException:
            self._inventory.forget(vm_id)
            raise
        expected = self._inventory.update(vm_id, _expected) or machine
        self._jobs.plan(
            "overdue arrival",
            lambda: self._overdue(machine),
            of=MachineReference(vm_id),
            after=self._timeout,
            second="replaces",
        )
        return short(expected)

    def _refuse_known(self, vm_id: str) -> None:
        try:
            self._hypervisor.domains.get(vm_id)
        except NoSuchDomain:
            return
        raise VMExists(member="vmId", value=vm_id)

    def _reserve(self, machine: Machine, limit: int) -> None:
        with self._lock:
            on_their_way = sum(bool(other.incoming) for other in self._inventory.all())
            if on_their_way >= limit:
                raise MigrationLimitExceeded(limit=limit)
            before = self._inventory.find(machine.id)
            if before is not None and not (before.active or before.incoming or before.launching):
                # libvirt knows nothing of it: what is left is how it went away, or why it did not come.
                self._inventory.forget(machine.id)
            self._inventory.add(machine)

    def _see_to_disks(self, vm_id: str, devices: list[dict[str, Any]]) -> None:
        """Have the disks prepared, and see that they are where the machine will look for them.

        :raises CannotCreateVM: one is not
        """
        for device in devices:
            if "disk" not in (device.get("deviceType"), device.get("type")):
                continue
            path = device.get("path")
            ids = {name: device[name] for name in _IDS if device.get(name)}
            prepared = self._hooks.run(vdsm_prepare_disk, vm_id, ids) if ids else None
            if prepared is not None and path and prepared != path:
                raise CannotCreateVM(reason=f"disk {path} would be at {prepared} on this host")
            if isinstance(path, str) and path.startswith("/") and _is_absent(path):
                raise CannotCreateVM(reason=f"there is no disk {path} on this host")

    def _overdue(self, machine: Machine) -> None:
        reason = f"It did not come within {self._timeout:g} s"
        ended = Exit(1, Reason.MIGRATION_FAILED, reason)

        def given_up(now: Machine) -> Machine:
            if now.incoming != machine.incoming or now.active:
                return now
            return msgspec.structs.replace(now, status="Down", exit=ended, incoming=0.0)

        after = self._inventory.update(machine.id, given_up)
        if after is not None and after.exit is ended:
            log.warning("Machine %s (%s) has not come: %s", machine.id, machine.name, reason)


def _is_absent(path: str) -> bool:
    try:
        Path(path).stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        # libvirt may see more than this process.
        return False
    return False


def _expected(machine: Machine) -> Machine:
    if machine.status != "WaitForLaunch":
        return machine
    return msgspec.structs.replace(machine, status="Migration Destination")
