"""The two volumes of a saved machine: one for its memory, one for its parameters."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from vdsm_core.errors import InvalidArgument, OperationFailed
from vdsm_core.hooks.manager import Hooks
from vdsm_core.types import UUID_PATTERN
from vdsm_core.volumes import DiskId
from vdsm_virt.devices.images import Images
from vdsm_virt.saved import pickled
from vdsm_virt.saved.pickled import UnsafePickle

#: Bytes of which the content of the volume of parameters is a multiple: block devices are written in these.
_BLOCK: Final = 4096
#: Ids of a handle: domain, pool, image and volume of the memory, image and volume of the parameters.
_IDS: Final = 6


class Handle(msgspec.Struct, frozen=True, kw_only=True):
    """The volumes of a saved machine.

    :ivar memory: has libvirt's saved state
    :ivar parameters: has what the machine is created with again, as a pickle
    """

    memory: DiskId
    parameters: DiskId

    @classmethod
    def read(cls, text: str, argument: str) -> Handle:
        """Return what VDSM's text names: six ids, joined by commas.

        :param argument: the name of the argument, for the error
        :raises InvalidArgument: it is no such text
        """
        ids = [part.strip().lower() for part in text.split(",")]
        if len(ids) != _IDS or not all(re.fullmatch(UUID_PATTERN, each) for each in ids):
            raise InvalidArgument(
                argument=argument,
                reason="it has to be six ids, joined by commas: storage domain, pool, image and volume of "
                "the memory, image and volume of the parameters",
            )
        domain, pool, *rest = ids
        memory, parameters = (
            DiskId(pool_id=pool, domain_id=domain, image_id=rest[index], volume_id=rest[index + 1])
            for index in (0, 2)
        )
        return cls(memory=memory, parameters=parameters)


class SavedVolumes:
    """Prepares the volumes of saved machines, and reads and writes the parameters."""

    def __init__(self, hooks: Hooks) -> None:
        self._images = Images(hooks)

    @contextmanager
    def prepared(self, vm_id: str, disk: DiskId) -> Iterator[str]:
        """Hold a volume prepared; its path.

        :raises OperationFailed: no plugin has it
        """
        try:
            yield self.prepare(vm_id, disk)
        finally:
            self.release(vm_id, disk)

    def prepare(self, vm_id: str, disk: DiskId) -> str:
        """Prepare a volume until it is released; return its path.

        :raises OperationFailed: no plugin has it, or it is no file and no block device
        """
        prepared = self._images.prepare(vm_id, disk)
        if prepared.kind == "network":
            raise OperationFailed(reason=f"the state of a machine cannot be saved on a network disk ({disk})")
        return prepared.path

    def release(self, vm_id: str, disk: DiskId) -> None:
        """Release a volume, also one that is not prepared."""
        self._images.release(vm_id, disk)

    def write_parameters(self, vm_id: str, disk: DiskId, parameters: dict[str, Any]) -> None:
        """Write the parameters of a machine.

        :raises OperationFailed: the volume cannot be written
        """
        data = pickled.encode(parameters)
        data += bytes(-len(data) % _BLOCK)
        with self.prepared(vm_id, disk) as path:
            try:
                # Not truncated: a block device has its size, and a file of storage keeps its own.
                with Path(path).open("r+b") as volume:
                    volume.write(data)
                    volume.flush()
                    os.fsync(volume.fileno())
            except OSError as error:
                raise OperationFailed(reason=f"cannot write the parameters to {path}: {error}") from error

    def read_parameters(self, vm_id: str, disk: DiskId) -> dict[str, Any]:
        """Return the parameters of a saved machine.

        :raises OperationFailed: the volume cannot be read, or has something else
        """
        with self.prepared(vm_id, disk) as path:
            try:
                with Path(path).open("rb") as volume:
                    data = volume.read(pickled.MAX_BYTES)
            except OSError as error:
                raise OperationFailed(reason=f"cannot read the parameters from {path}: {error}") from error
        try:
            found = pickled.decode(data)
        except UnsafePickle as error:
            raise OperationFailed(
                reason=f"the parameters on volume {disk.volume_id} are not those of a machine: {error}"
            ) from None
        if not isinstance(found, dict):
            raise OperationFailed(
                reason=f"volume {disk.volume_id} has no parameters of a machine, but a {type(found).__name__}"
            )
        return found
