"""Disks, volumes and leases: the documents of the hooks in `vdsm_core.hooks.specs.storage`.

Sizes are in bytes. Paths are absolute paths on this host, valid for the emulators' user.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, Self

import msgspec

from vdsm_core.errors import VdsmError

__all__ = [
    "ChainVolume",
    "DiskId",
    "Extension",
    "Lease",
    "LeaseId",
    "Legality",
    "NetworkHost",
    "NewVolume",
    "PreparedDisk",
    "SourceKind",
    "VolumeFormat",
    "VolumeId",
    "VolumeInfo",
]

#: How libvirt refers to a disk's source: a file, a block device, or a server on the network.
SourceKind = Literal["file", "block", "network"]
#: VDSM's words for the layouts of a volume: "cow" is qcow2.
VolumeFormat = Literal["raw", "cow"]
#: VDSM's legality: an illegal volume is being changed, or has been removed logically; it is not prepared.
Legality = Literal["LEGAL", "ILLEGAL"]

#: Members of `DiskId` by their names in VDSM's documents.
_DISK_IDS: Final[Mapping[str, str]] = {
    "poolID": "pool_id",
    "domainID": "domain_id",
    "imageID": "image_id",
    "volumeID": "volume_id",
    "GUID": "guid",
    "UUID": "uuid",
}


class VolumeId(msgspec.Struct, frozen=True, kw_only=True):
    """A volume of an image. Ids are UUIDs in canonical text form.

    :ivar domain_id: the storage domain
    :ivar image_id: the image, a chain of volumes
    :ivar volume_id: the volume
    :ivar pool_id: the storage pool; empty if none is named
    """

    domain_id: str
    image_id: str
    volume_id: str
    pool_id: str = ""


class DiskId(msgspec.Struct, frozen=True, kw_only=True):
    """A disk as VDSM's clients name it: by the ids of a volume or of a device. Absent ids are empty.

    :ivar pool_id: the storage pool
    :ivar domain_id: the storage domain
    :ivar image_id: the image
    :ivar volume_id: the volume that the machine uses, the leaf of its chain
    :ivar guid: a multipath device (VDSM's `GUID`)
    :ivar uuid: a file system or partition by its own id (VDSM's `UUID`)
    """

    pool_id: str = ""
    domain_id: str = ""
    image_id: str = ""
    volume_id: str = ""
    guid: str = ""
    uuid: str = ""

    @classmethod
    def read(cls, members: Mapping[str, Any]) -> Self:
        """Return the id that is among the members of a client's document; others are ignored."""
        return cls(**{ours: str(members[name]) for name, ours in _DISK_IDS.items() if members.get(name)})

    def members(self) -> dict[str, str]:
        """Return the ids that are present, by their names in VDSM's documents."""
        return {name: value for name, ours in _DISK_IDS.items() if (value := getattr(self, ours))}

    def volume(self) -> VolumeId | None:
        """Return the volume; None if the ids name none."""
        if not (self.domain_id and self.image_id and self.volume_id):
            return None
        return VolumeId(
            pool_id=self.pool_id,
            domain_id=self.domain_id,
            image_id=self.image_id,
            volume_id=self.volume_id,
        )

    def __bool__(self) -> bool:
        return bool(self.members())

    def __str__(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in self.members().items())


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """Where a lease of sanlock is.

    :ivar path: the file or device that holds it
    :ivar offset: bytes from its begin
    """

    path: str
    offset: int = 0


class LeaseId(msgspec.Struct, frozen=True, kw_only=True):
    """A lease that belongs to no volume, by VDSM's names.

    :ivar sd_id: the storage domain, which is also sanlock's lockspace
    :ivar lease_id: the lease, which is also sanlock's resource
    """

    sd_id: str
    lease_id: str


class ChainVolume(msgspec.Struct, frozen=True, kw_only=True):
    """One volume of a prepared chain.

    :ivar id: the volume
    :ivar path: where QEMU finds it
    :ivar format: its layout
    :ivar lease: its lease; None on storage without leases
    """

    id: VolumeId
    path: str
    format: VolumeFormat = "raw"
    lease: Lease | None = None


class NetworkHost(msgspec.Struct, frozen=True, kw_only=True):
    """A server of a network disk.

    :ivar name: host name or address
    :ivar port: TCP port as text; empty for the protocol's own
    :ivar transport: "tcp", "rdma" or "unix"
    """

    name: str
    port: str = ""
    transport: str = "tcp"


class PreparedDisk(msgspec.Struct, frozen=True, kw_only=True):
    """A disk that machines of this host can use.

    :ivar path: path of the leaf; the name of a network disk (`pool/image`)
    :ivar kind: how libvirt refers to it
    :ivar format: layout of the leaf; None leaves that of the machine's definition
    :ivar protocol: libvirt's protocol of a network disk ("rbd", "gluster"); empty for others
    :ivar hosts: servers of a network disk
    :ivar capacity: size that the guest sees; 0 if it is not known
    :ivar apparent_size: size of the leaf's file or device; 0 if it is not known
    :ivar true_size: space that the leaf takes on storage; 0 if it is not known
    :ivar thin: whether the leaf grows on demand, by `vdsm_extend_volume` (a qcow2 volume on a block device)
    :ivar chain: the volumes from the base to the leaf; empty for a disk that is no volume
    """

    path: str
    kind: SourceKind = "file"
    format: VolumeFormat | None = None
    protocol: str = ""
    hosts: list[NetworkHost] = []
    capacity: int = 0
    apparent_size: int = 0
    true_size: int = 0
    thin: bool = False
    chain: list[ChainVolume] = []


class VolumeInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A volume, as storage knows it.

    :ivar id: the volume
    :ivar path: where QEMU finds it while it is prepared
    :ivar kind: how libvirt refers to it
    :ivar format: its layout
    :ivar capacity: size that the guest sees
    :ivar apparent_size: size of its file or device
    :ivar true_size: space that it takes on storage
    :ivar legality: whether it may be prepared
    :ivar parent: the volume below it; empty for a base
    :ivar leaf: whether no other volume is based on it
    :ivar shared: whether it is a template, which other images are based on and nothing may change
    :ivar thin: whether it grows on demand, by `vdsm_extend_volume`
    :ivar chain: the volumes from the base to this one, with their paths
    """

    id: VolumeId
    path: str
    kind: SourceKind = "file"
    format: VolumeFormat = "raw"
    capacity: int = 0
    apparent_size: int = 0
    true_size: int = 0
    legality: Legality = "LEGAL"
    parent: str = ""
    leaf: bool = True
    shared: bool = False
    thin: bool = False
    chain: list[ChainVolume] = []


class NewVolume(msgspec.Struct, frozen=True, kw_only=True):
    """A volume that is to be created.

    :ivar id: its ids; the image may be a new one
    :ivar capacity: size that a guest or the writer sees; 0 with a parent: the parent's
    :ivar format: its layout; a volume with a parent is "cow"
    :ivar parent: the volume of the same image that it is based on; empty for none
    :ivar initial_size: space to allocate on storage that does not grow by itself; 0 is the least
    :ivar purpose: "disk" for a guest's data, "memory" for the memory of a guest, "metadata" for the
        configuration beside it, "scratch" for a disk that is thrown away
    """

    id: VolumeId
    capacity: int = 0
    format: VolumeFormat = "raw"
    parent: str = ""
    initial_size: int = 0
    purpose: Literal["disk", "memory", "metadata", "scratch"] = "disk"


class Extension:
    """A volume that is to grow, and the way back to who asked for it.

    Storage calls `done` or `failed` once, from any thread, also after its hook has returned. Later calls have
    no effect.

    :ivar volume: the volume
    :ivar size: bytes that it shall have at least
    :param answered: receives the volume, or the error; called once
    """

    def __init__(
        self, volume: VolumeId, size: int, answered: Callable[[VolumeInfo | VdsmError], None]
    ) -> None:
        self.volume: Final = volume
        self.size: Final = size
        self._answered = answered
        self._lock = threading.Lock()
        self._is_answered = False

    def done(self, volume: VolumeInfo) -> None:
        """Report the volume at its new size."""
        self._answer(volume)

    def failed(self, error: VdsmError) -> None:
        """Report that it does not grow, and why."""
        self._answer(error)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        # Hooks get copies of their arguments; an answer to a copy has to arrive.
        return self

    def _answer(self, answer: VolumeInfo | VdsmError) -> None:
        with self._lock:
            if self._is_answered:
                return
            self._is_answered = True
        self._answered(answer)
