"""Storage's part in work on the disks of running machines: the hooks, as the jobs call them."""

from __future__ import annotations

import logging
import queue
from collections.abc import Sequence
from typing import Final

from vdsm_core.errors import OperationFailed, VdsmError
from vdsm_core.hooks.manager import Hooks
from vdsm_core.hooks.specs.storage import (
    vdsm_extend_volume,
    vdsm_get_volume,
    vdsm_set_volume_legality,
    vdsm_sync_volume_chain,
)
from vdsm_core.volumes import DiskId, Extension, Legality, PreparedDisk, VolumeId, VolumeInfo
from vdsm_virt.devices.images import Images

log = logging.getLogger(__name__)

#: VDSM's patience with an extension before a merge: seconds for one attempt, and attempts.
_ATTEMPT: Final = 10.0
_ATTEMPTS: Final = 10


class Volumes:
    """Prepares, describes and marks volumes."""

    def __init__(self, hooks: Hooks) -> None:
        self._hooks = hooks
        self._images = Images(hooks)

    def prepare(self, vm_id: str, disk: DiskId) -> PreparedDisk:
        """Make a volume usable on this host; what is prepared already stays so.

        :raises VdsmError: storage cannot, or no plugin knows the volume
        """
        return self._images.prepare(vm_id, disk)

    def release(self, vm_id: str, disk: DiskId) -> None:
        """Report that a machine does not use a volume any more."""
        if disk:
            self._images.release(vm_id, disk)

    def info(self, disk: DiskId) -> VolumeInfo | None:
        """Return what storage knows of a volume; None if no plugin knows it.

        :raises VdsmError: storage cannot read it
        """
        volume = disk.volume()
        return None if volume is None else self._hooks.run(vdsm_get_volume, volume)

    def mark(self, disk: DiskId, legality: Legality) -> None:
        """Mark a volume as usable or not.

        :raises VdsmError: storage cannot note it
        """
        volume = disk.volume()
        if volume is not None:
            self._hooks.run(vdsm_set_volume_legality, volume, legality)

    def try_mark(self, disk: DiskId, legality: Legality) -> None:
        """Mark a volume; an error is logged."""
        try:
            self.mark(disk, legality)
        except VdsmError as error:
            log.warning("The volume with %s is not marked %s: %s", disk, legality, error)

    def synchronise(self, disk: DiskId, chain: Sequence[str]) -> None:
        """Make storage's chain of an image equal to the one that QEMU uses.

        :param disk: the volume that was the leaf before
        :param chain: ids of the volumes in use, from the base to the leaf
        :raises VdsmError: storage cannot note it
        """
        volume = disk.volume()
        if volume is not None:
            self._hooks.run(vdsm_sync_volume_chain, volume, list(chain))

    def begin_extension(self, extension: Extension) -> None:
        """Ask storage to make a volume larger; it answers to `extension`.

        :raises VdsmError: storage cannot, or no plugin knows the volume
        """
        if not self._hooks.run(vdsm_extend_volume, extension):
            raise OperationFailed(reason=f"no storage plugin extends volume {extension.volume.volume_id}")

    def extend(self, volume: VolumeId, size: int) -> VolumeInfo:
        """Make a volume larger, and wait for it.

        :param size: bytes that it shall have at least
        :raises VdsmError: it does not become so large
        """
        error: VdsmError = OperationFailed(reason=f"volume {volume.volume_id} was not extended in time")
        for _ in range(_ATTEMPTS):
            answers: queue.SimpleQueue[VolumeInfo | VdsmError] = queue.SimpleQueue()
            self.begin_extension(Extension(volume, size, answers.put))
            try:
                answer = answers.get(timeout=_ATTEMPT)
            except queue.Empty:
                continue
            if isinstance(answer, VolumeInfo):
                return answer
            error = answer
        raise error
