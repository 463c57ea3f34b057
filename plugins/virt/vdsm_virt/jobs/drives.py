"""The disks of a machine as libvirt has them now: their ids, their chains of volumes, the jobs on them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final
from xml.etree.ElementTree import Element

import msgspec

from vdsm_core.errors import OperationFailed
from vdsm_core.hypervisor import NoSuchDomain
from vdsm_core.volumes import DiskId
from vdsm_virt.domain import metadata
from vdsm_virt.domain.elements import parse
from vdsm_virt.domain.metadata import Metadata
from vdsm_virt.errors import NoSuchVM, VMIsDown
from vdsm_virt.jobs.errors import NoSuchDrive
from vdsm_virt.machine.machines import Machines

#: Attributes of a source that hold its path, by the kind of the source.
_PATHS: Final = ("file", "dev", "name", "dir")


class Layer(msgspec.Struct, frozen=True, kw_only=True):
    """One volume of a disk's chain.

    :ivar path: of the file or device; the name of a network disk
    :ivar kind: "file", "block" or "network"
    :ivar format: libvirt's name of the layout, "raw" or "qcow2"
    :ivar index: libvirt's number of the volume; 0 where the machine does not run
    """

    path: str
    kind: str
    format: str
    index: int = 0


class Drive(msgspec.Struct, frozen=True, kw_only=True):
    """One disk.

    :ivar target: libvirt's name of it, such as "vda"
    :ivar ids: VDSM's ids of the volume that the guest writes to; empty for a disk that was given by its path
    :ivar chain: the volumes from that one down to the base; empty for an empty drive
    :ivar device: "disk", "cdrom", "floppy", "lun"
    :ivar transient: whether what is written is lost when the machine ends
    :ivar leased: whether a lease protects the disk
    :ivar job: libvirt's word for the job that mirrors it: "copy", "active-commit"; empty if there is none
    :ivar mirror: the volume that the job writes
    """

    target: str
    ids: DiskId = DiskId()
    chain: tuple[Layer, ...] = ()
    device: str = "disk"
    transient: bool = False
    leased: bool = False
    job: str = ""
    mirror: Layer | None = None

    @property
    def leaf(self) -> Layer | None:
        """The volume that the guest writes to; None for an empty drive."""
        return self.chain[0] if self.chain else None

    @property
    def thin(self) -> bool:
        """Whether the volume may be one that grows on demand: qcow2 on a block device."""
        return self.leaf is not None and (self.leaf.kind, self.leaf.format) == ("block", "qcow2")

    def place(self, path: str) -> str:
        """Return libvirt's name of a volume of the chain, such as "vda[2]"; empty if it has none."""
        return next((f"{self.target}[{each.index}]" for each in self.chain if each.path == path), "")


def read_drives(domain: Element) -> list[Drive]:
    """Return the disks of a domain document in its order."""
    known = metadata.read(domain)
    ids = known.devices if known is not None else {}
    leases = {key.text or "" for key in domain.iterfind("devices/lease/key")}
    return [_drive(element, ids, leases) for element in domain.iterfind("devices/disk")]


class Drives:
    """Reads the disks of machines from libvirt, and stores their ids there."""

    def __init__(self, machines: Machines) -> None:
        self._machines = machines

    def all(self, vm_id: str) -> list[Drive]:
        """Return the disks of a machine.

        :raises NoSuchVM: libvirt does not have the machine
        """
        try:
            return read_drives(parse(self._machines.hypervisor.definitions.xml(vm_id)))
        except NoSuchDomain:
            raise NoSuchVM(vm_id=vm_id) from None
        except ValueError as error:
            raise OperationFailed(reason=f"libvirt's document of machine {vm_id}: {error}") from None

    def get(self, vm_id: str, target: str) -> Drive:
        """Return one disk.

        :raises NoSuchDrive: the machine has none of this name
        """
        for drive in self.all(vm_id):
            if drive.target == target:
                return drive
        raise NoSuchDrive(vm_id=vm_id, disk=f"the name {target}")

    def find(self, vm_id: str, disk: DiskId) -> Drive:
        """Return the disk that has all the ids that are given, its pool excepted.

        :raises NoSuchDrive: the machine has none
        """
        found = match(self.all(vm_id), disk)
        if found is None:
            raise NoSuchDrive(vm_id=vm_id, disk=str(disk) or "no ids")
        return found

    def running(self, vm_id: str, action: str) -> None:
        """Refuse a machine that does not run.

        :raises NoSuchVM: there is none
        :raises VMIsDown: it is down
        """
        machine = self._machines.inventory.get(vm_id)
        if machine.status == "Down" or not machine.active:
            raise VMIsDown(vm_id=vm_id, action=action)

    def set_ids(self, vm_id: str, ids: Mapping[str, DiskId]) -> None:
        """Store the ids of disks, by target, in the domain, running and defined.

        A machine that another client of libvirt defined has no metadata of ours, and gets none.
        """
        machine = self._machines.inventory.find(vm_id)
        if machine is not None and machine.ours is None:
            # The daemon has just started, and has not read its domain yet.
            machine = self._machines.mirror.refresh(vm_id)
        if machine is None or not machine.ours:
            return

        def changed(known: Metadata) -> Metadata:
            devices = {
                target: {**known.devices.get(target, {}), **new.members()} for target, new in ids.items()
            }
            return msgspec.structs.replace(known, devices={**known.devices, **devices})

        self._machines.mirror.change_metadata(vm_id, changed)
        self._machines.mirror.refresh(vm_id)


def match(drives: list[Drive], disk: DiskId) -> Drive | None:
    """Return the disk that has all the ids that are given, its pool excepted; None if there is none."""
    wanted = {name: value for name, value in disk.members().items() if name != "poolID"}
    if not wanted:
        return None
    for drive in drives:
        ids = drive.ids.members()
        if all(ids.get(name, "").lower() == value.lower() for name, value in wanted.items()):
            return drive
    return None


def _drive(element: Element, ids: Mapping[str, Mapping[str, str]], leases: set[str]) -> Drive:
    target = element.find("target")
    name = target.get("dev", "") if target is not None else ""
    disk = DiskId.read(ids.get(name, {}))
    mirror = element.find("mirror")
    return Drive(
        target=name,
        ids=disk,
        chain=tuple(_chain(element)),
        device=element.get("device", "disk"),
        transient=element.find("transient") is not None,
        leased=bool(disk.volume_id) and disk.volume_id in leases,
        job=mirror.get("job", "") if mirror is not None else "",
        mirror=_layer(mirror, _format(mirror)) if mirror is not None else None,
    )


def _chain(disk: Element) -> Iterator[Layer]:
    driver = disk.find("driver")
    layer_format = driver.get("type", "raw") if driver is not None else "raw"
    holder: Element | None = disk
    while holder is not None:
        layer = _layer(holder, layer_format)
        if layer is None:
            return
        yield layer
        holder = holder.find("backingStore")
        layer_format = _format(holder) if holder is not None else ""


def _layer(holder: Element, layer_format: str) -> Layer | None:
    source = holder.find("source")
    path = (
        next((source.attrib[name] for name in _PATHS if name in source.attrib), "")
        if source is not None
        else ""
    )
    if source is None or not path:
        return None
    # The number of the leaf and of a mirror is with the source, that of the others with their element.
    index = source.get("index") or holder.get("index") or "0"
    return Layer(path=path, kind=holder.get("type", "file"), format=layer_format, index=int(index))


def _format(holder: Element) -> str:
    found = holder.find("format")
    return found.get("type", "raw") if found is not None else "raw"
