"""Verbs of `VM` that merge volumes and mirror disks."""

from __future__ import annotations

from vdsm_bridge.api.declare import Namespace, action, query
from vdsm_bridge.api.legacy import LegacyMethod
from vdsm_bridge.call.context import Context
from vdsm_core.types import UUID
from vdsm_virt.api.live_storage import Bandwidth, DriveSpec, MergeStatus
from vdsm_virt.jobs.merges.merges import Merges
from vdsm_virt.jobs.replication.replications import Replications
from vdsm_virt.policy.host_access import HostAccess
from vdsm_virt.verbs.vm import VM


class BlockJobs(Namespace, group_of=VM):
    """Merge volumes of a running machine's disks, and move its disks to other volumes."""

    def __init__(self, merges: Merges, replications: Replications, host_access: HostAccess) -> None:
        self._merges = merges
        self._replications = replications
        self._host_access = host_access

    @action(
        since="1.0",
        names={"base_vol_uuid": "baseVolUUID", "top_vol_uuid": "topVolUUID", "job_uuid": "jobUUID"},
        legacy=LegacyMethod(
            "merge", args=("vmID", "drive", "baseVolUUID", "topVolUUID", "bandwidth", "jobUUID")
        ),
    )
    def merge(  # noqa: PLR0917 - the parameters are VDSM's
        self,
        vm_id: UUID,
        drive: DriveSpec,
        base_vol_uuid: UUID,
        top_vol_uuid: UUID,
        context: Context,
        bandwidth: Bandwidth = 0,
        job_uuid: UUID | None = None,
    ) -> None:
        """Begin to merge volumes of a disk into a volume below them. Returns once that has begun.

        `VM.getStats` has the merge among its `vmJobs` until it is over. It goes on if the daemon ends. If the
        guest writes to the uppermost volume, it goes on with the base at the end. Meanwhile the machine is
        not migrated. Whether a merge has succeeded follows from the chain of volumes.

        :param drive: the disk, by the volume that the guest writes to
        :param base_vol_uuid: the volume that is written
        :param top_vol_uuid: the uppermost volume that is merged
        :param bandwidth: limit in MiB/s; 0 is none
        :param job_uuid: id of the merge, chosen by the caller
        :raises NoSuchVM: no machine of this id is on the host
        :raises VMIsDown: it does not run
        :raises NoSuchDrive: it has no disk with these ids
        :raises MergeFailed: a job on the disk is in progress, a volume is shared or not in the chain, or the
            hypervisor refuses
        :raises BaseTooSmall: the base cannot take all data
        :raises MigrationInProgress: the machine is being migrated
        """
        self._merges.begin(
            vm_id.lower(),
            drive.disk(),
            base=base_vol_uuid.lower(),
            top=top_vol_uuid.lower(),
            bandwidth=bandwidth,
            job_id=(job_uuid or "").lower(),
            context=context,
        )

    @query(since="1.0", legacy=LegacyMethod("mergeStatus", reply="mergeStatus"))
    def merge_status(self, vm_id: UUID) -> list[MergeStatus]:
        """Return how far the newest merge of each disk is, in VDSM's words of release 3.1.

        A merge that has ended is listed for as long as the daemon keeps its task.

        :raises NoSuchVM: no machine of this id is on the host
        """
        return self._merges.statuses(vm_id.lower())

    @action(
        since="1.0",
        legacy=LegacyMethod("diskReplicateStart", args=("vmID", "srcDisk", "dstDisk")),
    )
    def disk_replicate_start(
        self,
        vm_id: UUID,
        src_disk: DriveSpec,
        dst_disk: DriveSpec,
        context: Context,
        need_extend: bool = True,
    ) -> None:
        """Begin to mirror the topmost volume of a disk to another one. Returns once that has begun.

        The mirror goes on until `VM.diskReplicateFinish`, also if the daemon ends.

        :param src_disk: the disk, by the volume that the guest writes to
        :param dst_disk: a qcow2 volume whose base has the contents of the source's base
        :param need_extend: extend volumes that grow on demand before
        :raises NoSuchVM: no machine of this id is on the host
        :raises VMIsDown: it does not run
        :raises NoSuchDrive: it has no disk with these ids
        :raises ReplicationFailed: a job on the disk is in progress, or the hypervisor refuses
        :raises LeasesNotSupported: a lease protects the disk
        :raises TransientDisk: what is written to it is lost when the machine ends
        :raises MigrationInProgress: the machine is being migrated
        :raises NeedsAdmin: the destination is a block device of the host, and the caller is no `admin`
        """
        destination = dst_disk.disk()
        self._host_access.check_disk_ids(destination, "dstDisk", "VM.diskReplicateStart", context)
        self._replications.begin(
            vm_id.lower(), src_disk.disk(), destination, extends=need_extend, context=context
        )

    @action(since="1.0", legacy=LegacyMethod("diskReplicateFinish", args=("vmID", "srcDisk", "dstDisk")))
    def disk_replicate_finish(self, vm_id: UUID, src_disk: DriveSpec, dst_disk: DriveSpec) -> None:
        """End the mirror of a disk: the guest goes on with `dstDisk`.

        If that is equal to `srcDisk`, the guest stays with its volume.

        :param src_disk: the disk, by the volume that the guest writes to
        :param dst_disk: the volume that the guest goes on with
        :raises NoSuchVM: no machine of this id is on the host
        :raises VMIsDown: it does not run
        :raises NoSuchDrive: it has no disk with these ids
        :raises ReplicationNotInProgress: the disk is not mirrored to this volume
        :raises ReplicationNotReady: the mirror does not have everything yet
        :raises ReplicationFailed: libvirt has lost the mirror
        :raises ReplicationNotEnded: the hypervisor refuses
        :raises LeasesNotSupported: a lease protects the disk
        :raises TransientDisk: what is written to it is lost when the machine ends
        """
        self._replications.end(vm_id.lower(), src_disk.disk(), dst_disk.disk())
