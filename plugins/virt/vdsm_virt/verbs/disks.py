"""Verbs of `VM` on the disks of a running machine."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from vdsm_bridge.api.declare import Namespace, action
from vdsm_bridge.api.legacy import LegacyForm, LegacyMethod
from vdsm_bridge.call.context import Context
from vdsm_core.types import BLANK_UUID, UUID, TextBytes
from vdsm_core.volumes import LeaseId
from vdsm_virt.api.definition import VmDefinition
from vdsm_virt.api.drives import (
    DriveSpec,
    HotplugDiskParams,
    LeaseDevice,
    Medium,
    VolumeSizeInfo,
)
from vdsm_virt.api.scalars import patterned
from vdsm_virt.devices.alignment import Alignment
from vdsm_virt.devices.disks import Disks as DiskRoom
from vdsm_virt.devices.drive_plan import Wanted, read_wanted
from vdsm_virt.devices.errors import (
    BadDiskResizeParameter,
)
from vdsm_virt.devices.leases import Leases as LeaseRoom
from vdsm_virt.devices.media import Media, read_medium
from vdsm_virt.devices.sizes import Sizes
from vdsm_virt.errors import MethodNotImplemented
from vdsm_virt.machine.describe import definition
from vdsm_virt.policy.host_access import HostAccess
from vdsm_virt.verbs.vm import VM

#: A size as VDSM's clients send it.
Size = Annotated[
    int | Annotated[str, patterned(r"^.{0,64}$", "a number of bytes")],
    Meta(description="Size in bytes.", extra_json_schema={"x-unit": "B"}),
]
#: Bytes of a disk at most: QEMU counts in signed 64-bit numbers.
_MAX_SIZE: Final = 2**63 - 1


class DiskRooms(msgspec.Struct, frozen=True, kw_only=True):
    """What the verbs on disks are carried out by.

    :ivar disks: plugs disks in and out
    :ivar media: changes media
    :ivar sizes: resizes disks
    :ivar alignment: measures partitions
    """

    disks: DiskRoom
    media: Media
    sizes: Sizes
    alignment: Alignment


class Disks(Namespace, group_of=VM):
    """Plug disks in and out, change media, resize."""

    def __init__(self, rooms: DiskRooms, host_access: HostAccess) -> None:
        self._disks = rooms.disks
        self._media = rooms.media
        self._sizes = rooms.sizes
        self._alignment = rooms.alignment
        self._host_access = host_access

    @action(
        since="1.0",
        name="hotplugDisk",
        legacy=LegacyMethod("hotplugDisk", args=("params",), id_inside="vmId", reply="vmList"),
    )
    def hotplug_disk(self, vm_id: UUID, params: HotplugDiskParams, context: Context) -> VmDefinition:
        """Plug a disk into a running machine.

        :param params: the disk, as VDSM's struct in `drive` or as libvirt's element in `xml`
        :returns: the machine with the disk
        :raises NoSuchVM: no machine of this id is on the host
        :raises VMIsDown: it is not running
        :raises MigrationInProgress: it is being migrated
        :raises MethodNotImplemented: the disk is an exclusive one
        :raises HotplugDiskFailed: storage, a hook or the hypervisor refuses
        :raises NeedsAdmin: the disk is a file or a device of the host, and the caller is no `admin`
        """
        plan = self._disks.plan(vm_id.lower(), params)
        self._host_access.check_disk(plan, "VM.hotplugDisk", context)
        return definition(self._disks.plug(vm_id.lower(), plan))

    @action(
        since="1.0",
        name="hotunplugDisk",
        legacy=LegacyMethod("hotunplugDisk", args=("params",), id_inside="vmId", reply="vmList"),
    )
    def hotunplug_disk(self, vm_id: UUID, params: HotplugDiskParams) -> VmDefinition:
        """Unplug a disk of a running machine. Waits until the guest has released it.

        If the guest does not in time, the call fails; the request stays with the guest, and a disk that it
        releases later is taken away then.

        :param params: the disk, by its alias, its ids, its path or its name
        :returns: the machine without the disk
        :raises NoSuchVM: no machine of this id is on the host
        :raises VMIsDown: it is not running
        :raises MigrationInProgress: it is being migrated
        :raises HotunplugDiskFailed: the machine has no such disk, or the guest does not release it
        """
        return definition(self._disks.unplug(vm_id.lower(), read_wanted(params)))

    @action(since="1.0", name="changeCD", legacy=LegacyMethod("changeCD", reply="vmList"))
    def change_cd(self, vm_id: UUID, drive_spec: Medium, context: Context) -> VmDefinition:
        """Change or eject the medium of a CD-ROM drive.

        A medium that is in the drive is ejected first, by force if the guest has locked the tray.

        :param drive_spec: the medium: a path, the ids of a volume, or files to make one of; empty to eject
        :returns: the machine
        :raises NoSuchVM: no machine of this id is on the host
        :raises VMIsDown: it is not running
        :raises MigrationInProgress: it is being migrated
        :raises ImageFileNotFound: there is no such image
        :raises CannotPrepareImage: storage cannot prepare it
        :raises ChangeDiskFailed: there is no such drive, or the hypervisor refuses
        :raises NeedsAdmin: the image is outside the image folders, and the caller is no `admin`
        """
        medium = read_medium(drive_spec)
        self._host_access.check_medium(medium, "VM.changeCD", context)
        return definition(self._media.change(vm_id.lower(), "cdrom", medium))

    @action(since="1.0", legacy=LegacyMethod("changeFloppy", reply="vmList"))
    def change_floppy(self, vm_id: UUID, drive_spec: Medium, context: Context) -> VmDefinition:
        """Change or eject the medium of a floppy drive.

        :param drive_spec: the medium: a path, the ids of a volume, or files to make one of; empty to eject
        :returns: the machine
        :raises NoSuchVM: no machine of this id is on the host
        :raises VMIsDown: it is not running
        :raises MigrationInProgress: it is being migrated
        :raises ImageFileNotFound: there is no such image
        :raises CannotPrepareImage: storage cannot prepare it
        :raises ChangeDiskFailed: there is no such drive, or the hypervisor refuses
        :raises NeedsAdmin: the image is outside the image folders, and the caller is no `admin`
        """
        medium = read_medium(drive_spec)
        self._host_access.check_medium(medium, "VM.changeFloppy", context)
        return definition(self._media.change(vm_id.lower(), "floppy", medium))

    @action(since="1.0", legacy=LegacyMethod("diskSizeExtend", reply="size"))
    def disk_size_extend(self, vm_id: UUID, drive_specs: DriveSpec, new_size: Size) -> TextBytes:
        """Make a disk of a running machine larger; the guest sees the new size.

        :param vm_id: all zeros for a disk that no machine uses: then only storage notes the size
        :param drive_specs: the disk, by its ids or its path
        :param new_size: bytes, not fewer than the disk has
        :returns: the size of the disk in bytes
        :raises NoSuchVM: no machine of this id is on the host
        :raises VMIsDown: it is not running
        :raises MigrationInProgress: it is being migrated
        :raises ImageFileNotFound: the machine has no such disk
        :raises BadDiskResizeParameter: the size is no number, or less than the disk has
        :raises UpdateDeviceFailed: the hypervisor refuses
        """
        wanted, size = _wanted(drive_specs), _size(vm_id, new_size)
        if vm_id == BLANK_UUID:
            return self._sizes.extend_unused(vm_id, wanted.disk, size)
        return self._sizes.extend(vm_id.lower(), wanted, size)

    @action(since="1.0", legacy=LegacyMethod("getDiskAlignment", reply="alignment"))
    def get_disk_alignment(self, vm_id: UUID, disk: DriveSpec, context: Context) -> dict[str, bool]:
        """Return whether the partitions of an unused disk begin at multiples of 64 KiB.

        :param vm_id: all zeros: disks of machines cannot be measured
        :param disk: the disk, by its ids
        :returns: partitions by their names, "/dev/sda1" the first; empty for a disk without a partition table
        :raises MethodNotImplemented: a machine is named
        :raises ImageFileNotFound: no disk is named
        :raises CannotPrepareImage: storage cannot prepare it
        :raises NeedsAdmin: it is a block device of the host, and the caller is no `admin`
        """
        if vm_id != BLANK_UUID:
            raise MethodNotImplemented(
                reason="the alignment is measured of unused disks only, with vmID all zeros"
            )
        wanted = _wanted(disk)
        self._host_access.check_disk_id(wanted.disk, "VM.getDiskAlignment", "disk", context)
        return self._alignment.measure(wanted.disk)

    @action(since="1.0", name="refresh_disk", legacy=LegacyForm(member="result"))
    def refresh_disk(self, vm_id: UUID, drive: DriveSpec) -> VolumeSizeInfo:
        """Have storage read the volume of a disk anew, after another host has changed its size.

        :param drive: the disk, by its ids
        :returns: its sizes
        :raises NoSuchVM: no machine of this id is on the host
        :raises VMIsDown: it is not running
        :raises MigrationInProgress: it is being migrated
        :raises ImageFileNotFound: the machine has no such disk
        :raises DriveRefreshError: storage cannot read it
        """
        return self._sizes.refresh(vm_id.lower(), _wanted(drive))


class Leases(Namespace, group_of=VM):
    """Give leases to running machines."""

    def __init__(self, leases: LeaseRoom) -> None:
        self._leases = leases

    @action(since="1.0", legacy=LegacyForm(member="vmList"))
    def hotplug_lease(self, vm_id: UUID, lease: LeaseDevice) -> VmDefinition:
        """Give a lease to a running machine. The lock manager of libvirt (sanlock) holds it for the machine.

        :param lease: the lease, which storage finds
        :returns: the machine
        :raises NoSuchVM: no machine of this id is on the host
        :raises VMIsDown: it is not running
        :raises MigrationInProgress: it is being migrated
        :raises HotplugLeaseFailed: storage does not have it, or the hypervisor refuses
        """
        wanted = LeaseId(sd_id=lease.sd_id, lease_id=lease.lease_id)
        return definition(self._leases.plug(vm_id.lower(), wanted))

    @action(since="1.0", legacy=LegacyForm(member="vmList"))
    def hotunplug_lease(self, vm_id: UUID, lease: LeaseDevice) -> VmDefinition:
        """Take a lease from a running machine.

        :param lease: the lease
        :returns: the machine
        :raises NoSuchVM: no machine of this id is on the host
        :raises VMIsDown: it is not running
        :raises MigrationInProgress: it is being migrated
        :raises HotunplugLeaseFailed: the machine does not have it, or the hypervisor refuses
        """
        wanted = LeaseId(sd_id=lease.sd_id, lease_id=lease.lease_id)
        return definition(self._leases.unplug(vm_id.lower(), wanted))


def _wanted(spec: DriveSpec) -> Wanted:
    medium = read_medium(spec)
    return Wanted(target=medium.target, disk=medium.disk, path=medium.path)


def _size(vm_id: str, given: int | str) -> int:
    try:
        size = int(given)
    except ValueError:
        raise BadDiskResizeParameter(vm_id=vm_id, reason=f"'{given}' is no number of bytes") from None
    if not 0 < size <= _MAX_SIZE:
        raise BadDiskResizeParameter(vm_id=vm_id, reason=f"{size} is no size")
    return size
