"""The disks of a running machine, as libvirt and the metadata of its domain have them."""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree.ElementTree import Element

from vdsm_core.errors import OperationFailed
from vdsm_core.hypervisor import Hypervisor
from vdsm_core.volumes import DiskId
from vdsm_virt.devices.drive_plan import Wanted
from vdsm_virt.domain import metadata
from vdsm_virt.domain.devices import device_key
from vdsm_virt.domain.elements import parse
from vdsm_virt.domain.metadata import Metadata


class RunningDisk:
    """One disk of a running machine.

    :ivar element: libvirt's `<disk>`
    :ivar ids: VDSM's ids, as far as they are kept
    :ivar custom: its custom properties
    """

    def __init__(self, element: Element, ids: dict[str, str], custom: dict[str, str]) -> None:
        self.element = element
        self.ids = ids
        self.custom = custom

    @property
    def target(self) -> str:
        """Its name, such as "vda"."""
        return _attribute(self.element, "target", "dev")

    @property
    def alias(self) -> str:
        """libvirt's name of the device."""
        return _attribute(self.element, "alias", "name")

    @property
    def device(self) -> str:
        """Its kind: "disk", "cdrom", "floppy" or "lun"."""
        return self.element.get("device", "disk")

    @property
    def disk(self) -> DiskId:
        """The image, for storage."""
        return DiskId.read(self.ids)

    @property
    def path(self) -> str:
        """The path of its image; empty for an empty drive."""
        source = self.element.find("source")
        if source is None:
            return ""
        return next((value for name in ("file", "dev", "name") if (value := source.get(name))), "")

    @property
    def is_raw(self) -> bool:
        """Whether QEMU opens its image as raw."""
        return _attribute(self.element, "driver", "type") == "raw"


class RunningDisks:
    """Every disk of a running machine at one moment."""

    def __init__(self, domain: Element) -> None:
        self.domain = domain
        self.metadata = metadata.read(domain) or Metadata()
        self._disks = [
            RunningDisk(
                element,
                self.metadata.devices.get(_attribute(element, "target", "dev"), {}),
                self.metadata.device_custom.get(device_key(element), {}),
            )
            for element in domain.iterfind("devices/disk")
        ]

    def __iter__(self) -> Iterator[RunningDisk]:
        return iter(self._disks)

    @property
    def targets(self) -> set[str]:
        """The names of all disks."""
        return {disk.target for disk in self._disks}

    def at(self, target: str) -> RunningDisk | None:
        """Return the disk of a name."""
        return next((disk for disk in self._disks if disk.target == target), None)

    def find(self, wanted: Wanted) -> RunningDisk | None:
        """Return the disk that a request is about: by alias, else by ids, path or name."""
        if wanted.alias:
            return next((disk for disk in self._disks if disk.alias == wanted.alias), None)
        if wanted.disk:
            return next((disk for disk in self._disks if same_image(disk.disk, wanted.disk)), None)
        if wanted.path:
            return next((disk for disk in self._disks if disk.path == wanted.path), None)
        return self.at(wanted.target) if wanted.target else None


def read_running(hypervisor: Hypervisor, vm_id: str) -> RunningDisks:
    """Return the disks that a machine has now.

    :raises NoSuchDomain: there is no such machine
    :raises OperationFailed: its document cannot be read
    """
    try:
        return RunningDisks(parse(hypervisor.definitions.xml(vm_id)))
    except ValueError as error:
        raise OperationFailed(
            reason=f"libvirt's document of machine {vm_id} cannot be read: {error}"
        ) from None


def same_image(mine: DiskId, wanted: DiskId) -> bool:
    """Return whether a disk of a machine is the one that a request names: each id that is given agrees."""
    have = mine.members()
    # Engines leave the pool out, and name the volume below the leaf while a merge runs.
    asked = {name: value for name, value in wanted.members().items() if name != "poolID"}
    return bool(asked) and all(have.get(name, "").lower() == value.lower() for name, value in asked.items())


def _attribute(element: Element, child: str, name: str) -> str:
    found = element.find(child)
    return found.get(name, "") if found is not None else ""
