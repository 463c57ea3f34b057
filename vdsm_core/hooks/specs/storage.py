"""Hooks that storage implements for other features.

A disk or a volume belongs to one plugin: an implementation returns None for those of others, and the first
other result counts. If a plugin does not return in time, the next ones are called; if none of them has a
result either, the operation fails with the error of the first. Errors are raised as `VdsmError`; their
codes reach the client.
"""

from __future__ import annotations

from vdsm_core.hooks.declare import first_result, notify
from vdsm_core.volumes import (
    DiskId,
    Extension,
    Lease,
    LeaseId,
    Legality,
    NewVolume,
    PreparedDisk,
    VolumeId,
    VolumeInfo,
)


@first_result
def vdsm_prepare_disk(vm_id: str, disk: DiskId) -> PreparedDisk | None:
    """Make a disk usable on this host.

    Idempotent: a disk that is prepared for the machine already stays so, and one release ends it. A volume
    that is ILLEGAL, or whose chain has one, is refused.

    :param vm_id: the id of the machine that is going to use the disk
    :param disk: the disk as VDSM's clients name it
    :returns: where it is, or None if the disk belongs to another plugin
    :raises VdsmError: the disk belongs to this plugin and cannot be prepared
    """


@notify
def vdsm_release_disk(vm_id: str, disk: DiskId) -> None:
    """A machine does not use a disk any more, which `vdsm_prepare_disk` has prepared for it.

    Also called for a disk whose preparation failed, or that was released already.

    :param vm_id: the machine's id
    :param disk: the disk as it was named for the preparation
    """


@notify
def vdsm_storage_domain_valid(domain_id: str) -> None:
    """A storage domain can be used again that could not be.

    Storage calls it; features whose objects wait for the domain implement it.

    :param domain_id: the storage domain
    """


@first_result
def vdsm_find_lease(lease: LeaseId) -> Lease | None:
    """Return where a lease is.

    :param lease: the lease
    :returns: its place, or None if the storage domain belongs to another plugin
    :raises VdsmError: the storage domain belongs to this plugin, and the lease cannot be found
    """


@first_result
def vdsm_get_volume(volume: VolumeId) -> VolumeInfo | None:
    """Return what storage knows of a volume, with its sizes of the moment.

    :returns: the volume, or None if it belongs to another plugin
    :raises VdsmError: the volume belongs to this plugin and cannot be read
    """


@first_result
def vdsm_refresh_volume(volume: VolumeId) -> VolumeInfo | None:
    """Read a volume anew from storage, after another host has changed its size.

    :returns: the volume, or None if it belongs to another plugin
    :raises VdsmError: the volume belongs to this plugin and cannot be read
    """


@first_result
def vdsm_create_volume(volume: NewVolume) -> VolumeInfo | None:
    """Create a volume: an empty one, or one on top of another.

    :returns: the volume, or None if its storage domain belongs to another plugin
    :raises VdsmError: it exists already, its parent does not, or there is no room
    """


@first_result
def vdsm_remove_volume(volume: VolumeId) -> bool | None:
    """Remove a volume that no other one is based on. One that does not exist is no error.

    :returns: True, or None if it belongs to another plugin
    :raises VdsmError: another volume is based on it, or it cannot be removed
    """


@first_result
def vdsm_extend_volume(extension: Extension) -> bool | None:
    """Begin to make a thin volume larger. The answer is given to `extension`, at once or later.

    :param extension: the volume, the size, and where the answer goes
    :returns: True if the answer will be given, or None if the volume belongs to another plugin
    :raises VdsmError: it cannot even begin; `extension` gets no answer
    """


@first_result
def vdsm_set_volume_capacity(volume: VolumeId, capacity: int) -> VolumeInfo | None:
    """Note the size that guests see of a volume, after its disk has been resized.

    :param capacity: bytes; a smaller one than before is refused
    :returns: the volume, or None if it belongs to another plugin
    :raises VdsmError: storage cannot note it
    """


@first_result
def vdsm_set_volume_legality(volume: VolumeId, legality: Legality) -> VolumeInfo | None:
    """Mark a volume as usable or as not usable.

    :returns: the volume, or None if it belongs to another plugin
    :raises VdsmError: storage cannot note it
    """


@first_result
def vdsm_sync_volume_chain(image: VolumeId, chain: list[str]) -> list[VolumeId] | None:
    """Make storage's chain of an image equal to the one that QEMU uses, after a merge.

    Volumes that are not in the chain any more are marked ILLEGAL and are not used on this host; they stay
    until they are removed. The volume above a dropped one is based on the one below it.

    :param image: the image, by its volume that was the leaf before
    :param chain: ids of the volumes that QEMU uses, from the base to the leaf
    :returns: the dropped volumes, or None if the image belongs to another plugin
    :raises VdsmError: the chain has a volume that the image does not have, or storage cannot note it
    """
