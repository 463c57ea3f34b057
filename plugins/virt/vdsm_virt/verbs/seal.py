"""The verb of `VM` that seals disks."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from vdsm_bridge.api.declare import Namespace, action
from vdsm_bridge.call.context import Context
from vdsm_core.types import UUID
from vdsm_core.volumes import DiskId
from vdsm_virt.api.live_storage import SealedVolume
from vdsm_virt.jobs.seal import SealOrder, Seals
from vdsm_virt.verbs.vm import VM


class Seal(Namespace, group_of=VM):
    """Make templates of disks."""

    def __init__(self, seals: Seals) -> None:
        self._seals = seals

    @action(since="1.0", names={"job_id": "job_id", "sp_id": "sp_id"})
    def seal(
        self,
        vm_id: UUID,
        job_id: UUID,
        sp_id: UUID,
        images: Annotated[list[SealedVolume], Meta(min_length=1, max_length=64)],
        context: Context,
    ) -> None:
        """Begin to remove what makes a guest unique from its disks: host keys, logs, host name, machine id.

        The host job is of type "virt"; `Host.getJobs` and an event report its end. A job that ends with the
        daemon is not done again: the disks may have been changed in part.

        :param vm_id: the machine that the disks belong to; it need not be on this host
        :param job_id: id of the host job, chosen by the caller
        :param sp_id: storage pool of the disks
        :param images: the leaves of all disks of the machine
        :raises JobExists: there is a host job of this id
        :raises StorageBusy: the machine runs on this host
        """
        disks = tuple(
            DiskId(pool_id=sp_id, domain_id=image.sd_id, image_id=image.img_id, volume_id=image.vol_id)
            for image in images
        )
        self._seals.begin(SealOrder(job_id=job_id, vm_id=vm_id.lower(), disks=disks), context)
