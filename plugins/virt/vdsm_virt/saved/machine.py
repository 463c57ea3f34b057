"""What a saved machine is created with again: the parameters of its volume replace those of the request."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from vdsm_core.errors import InvalidArgument, MissingArgument, OperationFailed
from vdsm_core.types import BLANK_UUID
from vdsm_core.volumes import DiskId
from vdsm_virt.api.devices import Disk
from vdsm_virt.api.params import KnownVmParams, VmParams
from vdsm_virt.api.scalars import given
from vdsm_virt.domain import metadata
from vdsm_virt.domain.elements import parse
from vdsm_virt.domain.metadata import Metadata
from vdsm_virt.saved.volumes import Handle, SavedVolumes

#: oVirt's description of a device in the metadata of a domain document.
_OVIRT: Final = "{http://ovirt.org/vm/1.0}"
#: Members that VDSM passed to itself: of a client, they would decide what a guest boots, past every check.
REFUSED: Final[Mapping[str, str]] = {
    "restoreState": "name the volumes of the saved machine with hiberVolHandle",
    "restoreFromSnapshot": "the volume that hiberVolHandle or memoryConfVolume names has it",
    "_srcDomXML": "the volume that hiberVolHandle or memoryConfVolume names has it",
    "_X_tpmdata": "a machine begins with a TPM of its own, without the state of another one",
    "_X_nvramdata": "a machine begins with the variables of its firmware's template",
    "migrationDest": "call VM.migrationCreate",
}


class SavedMachine(msgspec.Struct, frozen=True, kw_only=True):
    """A saved machine that is to be restored.

    :ivar memory: the volume with its memory
    :ivar from_snapshot: the memory is that of a snapshot: the disks of the request replace the saved ones
    :ivar elapsed: seconds that its guest had run
    :ivar metadata: what its domain remembered; None if another program defined it
    :ivar disks: VDSM's ids of its disks, by target
    """

    memory: DiskId
    from_snapshot: bool = False
    elapsed: float = 0.0
    metadata: Metadata | None = None
    disks: dict[str, dict[str, str]] = {}


def refuse_internal(params: VmParams) -> None:
    """Refuse members of a request that are VDSM's own.

    :raises InvalidArgument: it has one
    """
    for name, instead in REFUSED.items():
        if params.unknown.get(name):
            raise InvalidArgument(argument=f"vmParams.{name}", reason=f"it cannot be given: {instead}")


def unfold(volumes: SavedVolumes, params: VmParams, vm_id: str) -> tuple[VmParams, SavedMachine | None]:
    """Return the parameters to create a machine with: those of its volume if the request names a saved one.

    :param vm_id: VDSM's argument beside `vmParams`; empty if it was not given
    :raises InvalidArgument: the request names no complete pair of volumes, or has members of VDSM's own
    :raises MissingArgument: the id of the machine
    :raises OperationFailed: the volume cannot be read, or has no such parameters
    """
    refuse_internal(params)
    known = params.known
    handle = _handle(known)
    if handle is None:
        return params, None
    own_id = next(
        (each for each in (vm_id, given(known.vm_id, "")) if each and each != BLANK_UUID), ""
    ).lower()
    if not own_id:
        raise MissingArgument(argument="vmParams.vmId")
    found = volumes.read_parameters(own_id, handle.parameters)
    text = found.get("_srcDomXML")
    if not isinstance(text, str) or not text:
        raise OperationFailed(
            reason=f"volume {handle.parameters.volume_id} has no domain document of a saved machine"
        )
    elapsed = found.get("elapsedTimeOffset", 0.0)
    is_time = isinstance(elapsed, int | float) and math.isfinite(elapsed) and elapsed >= 0
    from_snapshot = bool(found.get("restoreFromSnapshot"))
    try:
        remembered = metadata.read(parse(text))
    except ValueError as error:
        raise OperationFailed(
            reason=f"the domain document of the saved machine on volume {handle.parameters.volume_id} "
            f"cannot be read: {error}"
        ) from None
    saved = SavedMachine(
        memory=handle.memory,
        from_snapshot=from_snapshot,
        elapsed=float(elapsed) if is_time else 0.0,
        metadata=remembered,
        disks=_disks(remembered, _requested(known) if from_snapshot else {}),
    )
    # From here on it is a ready document, and is checked as one.
    merged = msgspec.structs.replace(known, xml=text, kvm_enable=UNSET)
    return VmParams(merged, params.unknown), saved


def _handle(known: KnownVmParams) -> Handle | None:
    pair = known.memory_dump_volume, known.memory_conf_volume
    if not isinstance(known.hiber_vol_handle, UnsetType) and known.hiber_vol_handle:
        return Handle.read(known.hiber_vol_handle, "vmParams.hiberVolHandle")
    if not any(given(each, {}) for each in pair):
        return None
    disks = [DiskId.read(given(each, {})) for each in pair]
    for name, disk in zip(("memoryDumpVolume", "memoryConfVolume"), disks, strict=True):
        if disk.volume() is None:
            raise InvalidArgument(
                argument=f"vmParams.{name}", reason="it has to name a volume: domainID, imageID, volumeID"
            )
    return Handle(memory=disks[0], parameters=disks[1])


def _disks(remembered: Metadata | None, requested: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Return the ids of disks that storage prepares, with the volumes of the request where it names any."""
    found = {}
    for target, ids in (remembered.devices if remembered is not None else {}).items():
        if DiskId.read(ids):
            leaf = requested.get(ids.get("imageID", ""))
            found[target] = {**ids, "volumeID": leaf} if leaf else dict(ids)
    return found


def _requested(known: KnownVmParams) -> dict[str, str]:
    """Return the volumes of a request by their images."""
    found: dict[str, str] = {}
    for device in given(known.devices, []):
        if isinstance(device, Disk):
            image, volume = given(device.image_id, ""), given(device.volume_id, "")
            if image and volume:
                found[image] = volume
    text = given(known.xml, "")
    try:
        document: Any = parse(text) if text else []
    except ValueError:
        return found
    for device in document.iter(f"{_OVIRT}device") if text else []:
        image, volume = device.findtext(f"{_OVIRT}imageID"), device.findtext(f"{_OVIRT}volumeID")
        if image and volume:
            found[image] = volume
    return found
