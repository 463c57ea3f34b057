"""Disks are plugged into running machines, and out of them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final
from xml.etree.ElementTree import Element

import msgspec

from vdsm_core.errors import OperationFailed, VdsmError
from vdsm_core.hypervisor import DeviceNotReleased, NoSuchDevice, NoSuchDomain
from vdsm_virt.api.drives import HotplugDiskParams
from vdsm_virt.api.kept import kept_custom
from vdsm_virt.devices.disk_hooks import DiskHooks
from vdsm_virt.devices.drive_plan import DrivePlan, Wanted, plan_drive
from vdsm_virt.devices.guards import as_failure, as_machine, running
from vdsm_virt.devices.images import Images, fill_source
from vdsm_virt.devices.running import RunningDisk, read_running, same_image
from vdsm_virt.domain.elements import check_shape, to_text
from vdsm_virt.domain.metadata import Metadata, PendingChange
from vdsm_virt.errors import HotplugDiskFailed, HotunplugDiskFailed
from vdsm_virt.machine.machine import Machine
from vdsm_virt.machine.machines import Machines

log = logging.getLogger(__name__)

_ACTION: Final = "change the disks of"


class Disks:
    """Carries out `VM.hotplugDisk` and `VM.hotunplugDisk`.

    Before the first change, the metadata of the domain have what is going to happen (`Metadata.pending`), so
    that a daemon after a crash can end it; see `settle.Settler`.

    :param release_timeout: seconds that a guest has to release a disk
    :param kept_custom: shell patterns of the custom properties that are kept with machines
    """

    def __init__(
        self, machines: Machines, images: Images, release_timeout: float, kept_custom: Sequence[str]
    ) -> None:
        self._hypervisor = machines.hypervisor
        self._inventory = machines.inventory
        self._mirror = machines.mirror
        self._images = images
        self._hooks = DiskHooks(machines.hooks)
        self._custom = machines.machine_hooks.custom
        self._release_timeout = release_timeout
        self._kept_custom = tuple(kept_custom)

    def plan(self, vm_id: str, params: HotplugDiskParams) -> DrivePlan:
        """Return the disk of a request, with its place in the machine.

        :raises NoSuchVM: no machine of this id is on the host
        :raises VMIsDown: it is not running
        :raises MigrationInProgress: it is being migrated
        :raises InvalidArgument: the request cannot be expressed
        :raises MethodNotImplemented: it asks for the lease of a volume
        :raises HotplugDiskFailed: the machine has the disk already
        """
        running(self._inventory, vm_id, _ACTION)
        with as_machine(vm_id, _ACTION):
            now = read_running(self._hypervisor, vm_id)
        plan = plan_drive(params, now.targets | now.metadata.pending.keys())
        same = next((disk for disk in now if plan.disk and same_image(disk.disk, plan.disk)), None)
        if same is not None:
            # Taking back the failed attempt would release the image of the disk that is there.
            raise HotplugDiskFailed(vm_id=vm_id, reason=f"it has the disk already, as {same.target}")
        return plan

    def plug(self, vm_id: str, plan: DrivePlan) -> Machine:
        """Plug a disk in; return the machine with it.

        :raises HotplugDiskFailed: storage, a hook or the hypervisor refuses
        """
        machine = running(self._inventory, vm_id, _ACTION)
        properties = self._custom(vm_id)
        pending = PendingChange(
            kind="plugging", ids=plan.ids, custom=kept_custom(plan.custom, self._kept_custom)
        )
        element = plan.element
        try:
            with as_machine(vm_id, _ACTION):
                self._mirror.change_metadata(vm_id, lambda kept: _with_pending(kept, plan.target, pending))
                if plan.disk:
                    self._fill(vm_id, plan, properties)
                element = self._hooks.before_plug(element, vm_id, properties, plan.custom)
                _check_edited(element, plan.target)
                self._hypervisor.devices.attach(vm_id, to_text(element))
        except Exception as error:  # hooks of third parties may raise anything
            if not getattr(error, "in_doubt", False):
                self._take_back(vm_id, plan)
            if isinstance(error, VdsmError):
                raise as_failure(error, HotplugDiskFailed, vm_id) from error
            raise
        self._mirror.change_metadata(vm_id, lambda kept: with_disk(kept, plan.target, pending))
        self._hooks.after_plug(vm_id, element, properties, plan.custom)
        return self._mirror.refresh(vm_id) or machine

    def unplug(self, vm_id: str, wanted: Wanted) -> Machine:
        """Plug a disk out; return the machine without it.

        :raises HotunplugDiskFailed: the machine has no such disk, or the guest does not release it in time
        """
        machine = running(self._inventory, vm_id, _ACTION)
        properties = self._custom(vm_id)
        try:
            with as_machine(vm_id, _ACTION):
                disk = self._find(vm_id, wanted)
                self._hooks.before_unplug(vm_id, disk.element, properties, disk.custom)
                self._detach(vm_id, disk)
        except NoSuchDevice:
            raise HotunplugDiskFailed(vm_id=vm_id, reason="it has no such disk") from None
        except VdsmError as error:
            raise as_failure(error, HotunplugDiskFailed, vm_id) from error
        self.unplugged(vm_id, disk)
        self._hooks.after_unplug(vm_id, disk.element, properties, disk.custom)
        return self._mirror.refresh(vm_id) or machine

    def unplugged(self, vm_id: str, disk: RunningDisk) -> None:
        """Release the image of a disk that the machine does not have any more, and forget the disk.

        In this order: a later daemon releases what is noted, and nothing else.
        """
        if disk.disk:
            self._images.release(vm_id, disk.disk)
        self._mirror.change_metadata(vm_id, lambda kept: without_disk(kept, disk.target))

    def _detach(self, vm_id: str, disk: RunningDisk) -> None:
        change = PendingChange(kind="unplugging", ids=disk.ids, path=disk.path)
        self._mirror.change_metadata(vm_id, lambda kept: _with_pending(kept, disk.target, change))
        try:
            self._hypervisor.devices.detach(vm_id, disk.alias, within=self._release_timeout)
        except DeviceNotReleased:
            # The disk is in use as before; if the guest releases it later, an event reports that.
            self._mirror.change_metadata(vm_id, lambda kept: without_pending(kept, disk.target))
            raise

    def _find(self, vm_id: str, wanted: Wanted) -> RunningDisk:
        found = read_running(self._hypervisor, vm_id).find(wanted)
        if found is None:
            raise OperationFailed(reason="it has no such disk")
        return found

    def _fill(self, vm_id: str, plan: DrivePlan, properties: dict[str, str]) -> None:
        prepared = self._images.prepare(vm_id, plan.disk)
        fill_source(
            plan.element, self._hooks.after_prepare(vm_id, prepared, plan.ids, properties, plan.custom)
        )

    def _take_back(self, vm_id: str, plan: DrivePlan) -> None:
        """Leave no trace of a disk that was not plugged in."""
        if plan.disk:
            self._images.release(vm_id, plan.disk)
        try:
            self._mirror.change_metadata(vm_id, lambda kept: without_pending(kept, plan.target))
        except NoSuchDomain:
            return
        except VdsmError as error:
            log.warning("A change of disk %s of machine %s remains noted: %s", plan.target, vm_id, error)


def with_disk(kept: Metadata, target: str, change: PendingChange) -> Metadata:
    """Return metadata in which a change of a disk is done."""
    devices = {**kept.devices, target: change.ids}
    custom = {**kept.device_custom, f"target:{target}": change.custom}
    return msgspec.structs.replace(
        without_pending(kept, target),
        devices={name: ids for name, ids in devices.items() if ids},
        device_custom={name: properties for name, properties in custom.items() if properties},
    )


def without_disk(kept: Metadata, target: str) -> Metadata:
    """Return metadata without a disk."""
    left = with_disk(kept, target, PendingChange(kind="unplugging"))
    ids = {key: value for key, value in left.device_ids.items() if key != f"target:{target}"}
    return msgspec.structs.replace(left, device_ids=ids)


def without_pending(kept: Metadata, target: str) -> Metadata:
    """Return metadata without a change that had begun."""
    pending = {name: change for name, change in kept.pending.items() if name != target}
    return msgspec.structs.replace(kept, pending=pending)


def _with_pending(kept: Metadata, target: str, change: PendingChange) -> Metadata:
    return msgspec.structs.replace(kept, pending={**kept.pending, target: change})


def _check_edited(element: Element, target: str) -> None:
    """Check a disk after the hooks, which may have put anything into it.

    :raises OperationFailed: it is too deep, or has another name
    """
    try:
        check_shape(element)
    except ValueError as error:
        raise OperationFailed(reason=f"a hook changed the disk to what is not acceptable: {error}") from None
    place = element.find("target")
    if element.tag != "disk" or place is None or place.get("dev") != target:
        raise OperationFailed(reason="a hook changed the name of the disk")
