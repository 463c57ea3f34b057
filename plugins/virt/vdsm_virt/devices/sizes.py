"""Sizes of disks: resized while their machines run, and read anew."""

from __future__ import annotations

from typing import Final

from vdsm_core.errors import HypervisorError, VdsmError
from vdsm_core.hooks.specs.storage import vdsm_refresh_volume, vdsm_set_volume_capacity
from vdsm_core.volumes import DiskId, VolumeId, VolumeInfo
from vdsm_virt.api.drives import VolumeSizeInfo
from vdsm_virt.devices.drive_plan import Wanted
from vdsm_virt.devices.errors import BadDiskResizeParameter, DriveRefreshError
from vdsm_virt.devices.guards import as_machine, running
from vdsm_virt.devices.running import RunningDisk, read_running
from vdsm_virt.errors import (
    ImageFileNotFound,
    UpdateDeviceFailed,
    reason_of,
)
from vdsm_virt.machine.machines import Machines

_ACTION: Final = "resize a disk of"


class Sizes:
    """Carries out `VM.diskSizeExtend` and `VM.refresh_disk`."""

    def __init__(self, machines: Machines) -> None:
        self._hypervisor = machines.hypervisor
        self._inventory = machines.inventory
        self._hooks = machines.hooks

    def extend(self, vm_id: str, wanted: Wanted, size: int) -> int:
        """Make a disk of a running machine larger; return its new size in bytes.

        :param size: bytes
        :raises ImageFileNotFound: the machine has no such disk
        :raises BadDiskResizeParameter: the disk is larger, or storage has not made the volume that large
        :raises UpdateDeviceFailed: the hypervisor refuses
        """
        running(self._inventory, vm_id, _ACTION)
        with as_machine(vm_id, _ACTION):
            disk = self._find(vm_id, wanted)
            volume = disk.disk.volume()
            before = self._hypervisor.disks.size(vm_id, disk.target)
            if size < before.capacity:
                raise BadDiskResizeParameter(
                    vm_id=vm_id, reason=f"{size} bytes are less than its size, {before.capacity}"
                )
            if volume is not None:
                self._check_room(vm_id, disk, volume, size)
            try:
                self._hypervisor.disks.resize(vm_id, disk.target, size)
            except HypervisorError as error:
                raise UpdateDeviceFailed(vm_id=vm_id, reason=reason_of(error)) from error
            if volume is not None:
                self._hooks.run(vdsm_set_volume_capacity, volume, size)
            return self._hypervisor.disks.size(vm_id, disk.target).capacity

    def extend_unused(self, vm_id: str, disk: DiskId, size: int) -> int:
        """Note the size of a disk that no machine uses; return its new size in bytes.

        :raises ImageFileNotFound: the ids name no volume that storage has
        :raises BadDiskResizeParameter: storage refuses
        """
        volume = disk.volume()
        if volume is None:
            raise ImageFileNotFound(vm_id=vm_id, reason="the ids of a volume are missing")
        try:
            info = self._hooks.run(vdsm_set_volume_capacity, volume, size)
        except VdsmError as error:
            raise BadDiskResizeParameter(vm_id=vm_id, reason=reason_of(error)) from error
        if info is None:
            raise ImageFileNotFound(vm_id=vm_id, reason=f"no plugin has the volume ({disk})")
        return info.capacity

    def refresh(self, vm_id: str, wanted: Wanted) -> VolumeSizeInfo:
        """Have storage read a disk's volume anew; return its sizes.

        :raises ImageFileNotFound: the machine has no such disk
        :raises DriveRefreshError: storage cannot read it
        """
        running(self._inventory, vm_id, "refresh a disk of")
        with as_machine(vm_id, _ACTION):
            disk = self._find(vm_id, wanted)
        volume = disk.disk.volume()
        if volume is None:
            raise DriveRefreshError(vm_id=vm_id, reason=f"disk {disk.target} is no volume")
        info = self._refreshed(vm_id, volume)
        return VolumeSizeInfo(apparentsize=info.apparent_size, truesize=info.true_size)

    def _find(self, vm_id: str, wanted: Wanted) -> RunningDisk:
        disk = read_running(self._hypervisor, vm_id).find(wanted)
        if disk is None:
            raise ImageFileNotFound(vm_id=vm_id, reason="it has no such disk")
        return disk

    def _check_room(self, vm_id: str, disk: RunningDisk, volume: VolumeId, size: int) -> None:
        """Check that the volume of a raw disk has the size: QEMU makes only qcow2 images larger."""
        if not disk.is_raw:
            return
        info = self._refreshed(vm_id, volume)
        if info.apparent_size < size:
            raise BadDiskResizeParameter(
                vm_id=vm_id, reason=f"storage has {info.apparent_size} bytes for it, fewer than {size}"
            )

    def _refreshed(self, vm_id: str, volume: VolumeId) -> VolumeInfo:
        try:
            info = self._hooks.run(vdsm_refresh_volume, volume)
        except VdsmError as error:
            raise DriveRefreshError(vm_id=vm_id, reason=reason_of(error)) from error
        if info is None:
            raise DriveRefreshError(vm_id=vm_id, reason=f"no plugin has volume {volume.volume_id}")
        return info
