"""Media of CD-ROM and floppy drives of running machines."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final
from xml.etree.ElementTree import Element

import msgspec
from msgspec import UnsetType

from vdsm_core.errors import HypervisorError, VdsmError
from vdsm_core.volumes import DiskId, PreparedDisk
from vdsm_virt.api.devices import Payload
from vdsm_virt.api.drives import DriveSpec, VolumeSpec
from vdsm_virt.api.scalars import given, whole
from vdsm_virt.devices.disks import with_disk, without_pending
from vdsm_virt.devices.guards import as_machine, running
from vdsm_virt.devices.images import Images, fill_source
from vdsm_virt.devices.payload import PayloadKind as MediumKind
from vdsm_virt.devices.running import RunningDisk, RunningDisks, read_running
from vdsm_virt.domain.elements import add, to_text
from vdsm_virt.domain.metadata import PendingChange
from vdsm_virt.domain.write import disks
from vdsm_virt.errors import CannotPrepareImage, ChangeDiskFailed, ImageFileNotFound, reason_of
from vdsm_virt.machine.machine import Machine
from vdsm_virt.machine.machines import Machines

log = logging.getLogger(__name__)

_ACTION: Final = "change the medium of"
#: The noted path of a medium that storage has not prepared yet: no drive has it.
_NOT_PREPARED: Final = "(not prepared)"
#: The names of the drives that a request means which names none, in VDSM's order of preference.
_PLACES: Final[dict[MediumKind, tuple[str, ...]]] = {"cdrom": ("hdc", "sda"), "floppy": ("fda",)}
_NAMES: Final[dict[MediumKind, str]] = {"cdrom": "CD-ROM", "floppy": "floppy"}


class Medium(msgspec.Struct, frozen=True, kw_only=True):
    """What a drive is to hold.

    :ivar path: an image by its path; empty if it is given in another way, or the drive shall be empty
    :ivar disk: an image for storage to prepare
    :ivar payload: files to make an image of
    :ivar target: name of the drive; empty: the machine's first one
    :ivar argument: the member of the request that names the image
    """

    path: str = ""
    disk: DiskId = DiskId()
    payload: Payload | None = None
    target: str = ""
    argument: str = "driveSpec"

    @property
    def is_empty(self) -> bool:
        """Whether the drive shall be empty."""
        return not (self.path or self.disk or self.payload is not None)


def read_medium(spec: DriveSpec | str) -> Medium:
    """Return what a request names, in each of VDSM's forms."""
    if isinstance(spec, str):
        return Medium(path=spec)
    target = ""
    if not isinstance(spec.iface, UnsetType):
        number = whole(spec.index, "driveSpec.index", 0, maximum=1024)
        target = disks.prefix(spec.iface) + disks.letters(number)
    if not isinstance(spec.spec_params, UnsetType) and isinstance(spec.spec_params.vm_payload, Payload):
        return Medium(payload=spec.spec_params.vm_payload, target=target, argument="driveSpec.specParams")
    if isinstance(spec.drive_spec, VolumeSpec):
        return Medium(disk=_disk(spec.drive_spec), target=target, argument="driveSpec.drive_spec")
    if disk := _disk(spec):
        return Medium(disk=disk, target=target)
    return Medium(path=given(spec.path, ""), target=target, argument="driveSpec.path")


class Media:
    """Carries out `VM.changeCD` and `VM.changeFloppy`.

    A drive is emptied before the new medium is loaded, first as the guest allows it, then by force. Before
    that, the metadata of the domain have what is going to happen; see `settle.Settler`.
    """

    def __init__(self, machines: Machines, images: Images) -> None:
        self._hypervisor = machines.hypervisor
        self._inventory = machines.inventory
        self._mirror = machines.mirror
        self._images = images

    def change(self, vm_id: str, kind: MediumKind, medium: Medium) -> Machine:
        """Load a medium into a drive, or empty it.

        :raises ImageFileNotFound: there is no such image
        :raises CannotPrepareImage: storage cannot prepare it
        :raises ChangeDiskFailed: there is no such drive, or the hypervisor refuses
        """
        machine = running(self._inventory, vm_id, _ACTION)
        with as_machine(vm_id, _ACTION):
            drive = _drive(vm_id, read_running(self._hypervisor, vm_id), kind, medium)
            if medium.disk:
                # Before storage prepares it: a later daemon releases what is noted, and nothing else.
                self._note(
                    vm_id,
                    drive,
                    PendingChange(kind="loading", ids=medium.disk.members(), path=_NOT_PREPARED),
                )
            prepared = self._prepare(vm_id, drive, medium, kind)
            change = PendingChange(
                kind="loading",
                ids=medium.disk.members(),
                path=prepared.path if prepared is not None else "",
            )
            try:
                self._note(vm_id, drive, change)
                self._eject(vm_id, drive.element)
                if prepared is not None:
                    self._load(vm_id, drive.element, prepared)
            except HypervisorError as error:
                if not error.in_doubt:
                    self._take_back(vm_id, drive, medium)
                raise ChangeDiskFailed(vm_id=vm_id, reason=reason_of(error)) from error
            kept_ids = PendingChange(kind="loading", ids={**_foreign_ids(drive), **change.ids})
            if drive.disk and drive.disk != medium.disk:
                self._images.release(vm_id, drive.disk)
            self._mirror.change_metadata(vm_id, lambda kept: with_disk(kept, drive.target, kept_ids))
        return self._mirror.refresh(vm_id) or machine

    def _note(self, vm_id: str, drive: RunningDisk, change: PendingChange) -> None:
        self._mirror.change_metadata(
            vm_id,
            lambda kept: msgspec.structs.replace(kept, pending={**kept.pending, drive.target: change}),
        )

    def _prepare(
        self, vm_id: str, drive: RunningDisk, medium: Medium, kind: MediumKind
    ) -> PreparedDisk | None:
        if medium.is_empty:
            return None
        if medium.disk:
            try:
                return self._images.prepare(vm_id, medium.disk)
            except Exception as error:  # a plugin of a third party may raise anything
                self._take_back(vm_id, drive, medium)
                if isinstance(error, VdsmError):
                    raise CannotPrepareImage(vm_id=vm_id, reason=reason_of(error)) from error
                raise
        if medium.payload is not None:
            return self._images.prepare_payload(vm_id, medium.payload, kind)
        if not Path(medium.path).exists():
            raise ImageFileNotFound(vm_id=vm_id, reason=f"there is no {medium.path}")
        return PreparedDisk(path=medium.path, kind="block" if medium.path.startswith("/dev/") else "file")

    def _eject(self, vm_id: str, drive: Element) -> None:
        element = to_text(_with_medium(drive, None))
        try:
            self._hypervisor.disks.change_medium(vm_id, element)
        except HypervisorError as error:
            if error.in_doubt:
                raise
            log.info("Machine %s: the guest keeps its medium, which is ejected by force: %s", vm_id, error)
            self._hypervisor.disks.change_medium(vm_id, element, force=True)

    def _load(self, vm_id: str, drive: Element, prepared: PreparedDisk) -> None:
        self._hypervisor.disks.change_medium(vm_id, to_text(_with_medium(drive, prepared)), force=True)

    def _take_back(self, vm_id: str, drive: RunningDisk, medium: Medium) -> None:
        """Note what is in the drive after a change that failed: the old medium, or none."""
        if medium.disk and medium.disk != drive.disk:
            self._images.release(vm_id, medium.disk)
        try:
            now = read_running(self._hypervisor, vm_id).at(drive.target)
            if now is not None and not now.path and drive.disk:
                self._images.release(vm_id, drive.disk)
                nothing = PendingChange(kind="loading", ids=_foreign_ids(drive))
                self._mirror.change_metadata(vm_id, lambda kept: with_disk(kept, drive.target, nothing))
            else:
                self._mirror.change_metadata(vm_id, lambda kept: without_pending(kept, drive.target))
        except VdsmError as error:
            log.warning("A change of drive %s of machine %s remains noted: %s", drive.target, vm_id, error)


def _disk(spec: VolumeSpec) -> DiskId:
    members = {
        "poolID": spec.pool_id,
        "domainID": spec.domain_id,
        "imageID": spec.image_id,
        "volumeID": spec.volume_id,
        "GUID": spec.guid,
        "UUID": spec.uuid,
    }
    return DiskId.read({name: value for name, value in members.items() if isinstance(value, str)})


def _drive(vm_id: str, running_disks: RunningDisks, kind: MediumKind, medium: Medium) -> RunningDisk:
    drives = [disk for disk in running_disks if disk.device == kind]
    if medium.target:
        drives = [disk for disk in drives if disk.target == medium.target]
    usual = [disk for disk in drives if disk.target in _PLACES[kind]]
    for drive in [*usual, *drives]:
        return drive
    name = f" {medium.target}" if medium.target else ""
    raise ChangeDiskFailed(vm_id=vm_id, reason=f"it has no {_NAMES[kind]} drive{name}")


def _foreign_ids(drive: RunningDisk) -> dict[str, str]:
    """Return what is kept of a drive that is not an id of its medium."""
    return {name: value for name, value in drive.ids.items() if name == "deviceId"}


def _with_medium(drive: Element, prepared: PreparedDisk | None) -> Element:
    """Return the element of a drive with another medium, as libvirt takes it for an update."""
    element = Element("disk", {**drive.attrib, "type": "file"})
    driver = drive.find("driver")
    kept = (
        {} if driver is None else {name: v for name, v in driver.attrib.items() if name in ("name", "cache")}
    )
    # Media are raw, whatever their header seems to be: a guest may have written it.
    add(element, "driver", **{"name": "qemu", "type": "raw", **kept})
    if prepared is not None:
        fill_source(element, prepared)
    for child in drive:
        if child.tag in ("target", "readonly", "alias", "address"):
            element.append(child)
    return element
