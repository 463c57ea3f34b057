"""One merge of volumes, as a task that follows it from its beginning to its end."""

from __future__ import annotations

import logging
from typing import Final

import msgspec

from vdsm_bridge.work import Again, Progress, Step
from vdsm_core.errors import HypervisorError, VdsmError
from vdsm_core.hypervisor import BlockJob, DomainJob, Pending
from vdsm_core.volumes import DiskId, VolumeInfo
from vdsm_virt.errors import NoSuchVM, reason_of
from vdsm_virt.jobs.errors import BaseTooSmall, MergeFailed, NoSuchDrive
from vdsm_virt.jobs.storage_job import (
    StorageJob,
    StorageParts,
    as_domain_job,
    domain_of,
    report_processed,
)
from vdsm_virt.jobs.thin.sizes import Sizes

log = logging.getLogger(__name__)

VERB: Final = "VM.merge"


class MergeOrder(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a merge is about, as its task keeps it.

    :ivar target: libvirt's name of the disk
    :ivar disk: the volume that the guest writes to when the merge begins
    :ivar base: id of the volume that is written, and its path
    :ivar top: id of the uppermost volume that is merged, and its path
    :ivar bandwidth: MiB/s; 0 is no limit
    :ivar job_id: the client's id of the merge
    """

    vm_id: str
    target: str
    disk: DiskId
    base: str
    base_path: str
    top: str
    top_path: str
    bandwidth: int = 0
    job_id: str

    @property
    def active(self) -> bool:
        """Whether the guest writes to the uppermost volume."""
        return self.top == self.disk.volume_id


class Merge(StorageJob):
    """A merge of volumes of one disk.

    :ivar block_job: what libvirt reported last; None before it has begun
    """

    def __init__(
        self, order: MergeOrder, parts: StorageParts, sizes: Sizes, *, resumed: bool = False
    ) -> None:
        super().__init__(order.vm_id, "a merge of volumes", VERB, parts, resumed=resumed)
        self.order = order
        self.block_job: BlockJob | None = None
        self._sizes = sizes
        self._block_jobs = parts.machines.hypervisor.block_jobs

    def arguments(self) -> str:
        """Return the order as JSON."""
        return msgspec.json.encode(self.order).decode()

    def task_steps(self) -> tuple[Step, ...]:
        """Return the steps."""
        return self.steps(
            Step(name="prepare", do=self.explained(self._prepare), undo=self._stay, repeatable=True),
            self.explained(self._settle),
        )

    def start(self) -> Pending | None:
        """Begin the merge. libvirt's numbers of volumes change with each snapshot and merge."""
        order = self.order
        drive = self.parts.drives.get(self.vm_id, order.target)
        base, top = drive.place(order.base_path), drive.place(order.top_path)
        if not base or not top:
            raise self.failure("its volumes are not in the chain that QEMU uses")
        self._block_jobs.commit(
            self.vm_id,
            order.target,
            base=base,
            top=top,
            active=order.active,
            bandwidth=order.bandwidth,
        )
        return None

    def is_done(self) -> bool:
        """Return whether the chain that QEMU uses does not have the merged volumes any more."""
        try:
            drive = self.parts.drives.get(self.vm_id, self.order.target)
        except NoSuchDrive:
            return False
        if self.order.active:
            return drive.leaf is not None and drive.leaf.path == self.order.base_path
        paths = [layer.path for layer in drive.chain]
        # The document of a machine that does not run has the leaf alone.
        return self.order.base_path in paths and self.order.top_path not in paths

    def read(self) -> DomainJob | None:
        """Return the job if libvirt merges volumes of the disk."""
        with domain_of(self.vm_id):
            job = self._block_jobs.get(self.vm_id, self.order.target)
        if job is None or job.type not in ("commit", "active-commit"):
            return None
        self.block_job = job
        return as_domain_job(job)

    def abort(self) -> None:
        """End the merge; what was written stays in the lower volume, which the upper one hides."""
        self._block_jobs.abort(self.vm_id, self.order.target)

    def observe(self, job: DomainJob, progress: Progress) -> None:
        """Note how far it is; end one of the volume that the guest writes to once it is complete."""
        report_processed(job, progress)
        if self.order.active and self.block_job is not None and self.block_job.ready and not self.cancelled:
            self._pivot()

    def conclude(self, unexplained: str) -> Again | None:
        """Find out from the chain that QEMU uses."""
        try:
            if self.is_done():
                return None
            running = self.parts.machines.hypervisor.domains.get(self.vm_id).active
        except NoSuchVM:
            running = False
        raise self.failure(unexplained if running else "the machine ended")

    def failure(self, reason: str) -> VdsmError:
        """Return the error of a merge that failed."""
        return MergeFailed(vm_id=self.vm_id, drive=self.order.target, reason=reason)

    def _prepare(self, progress: Progress) -> None:
        """Make room in a base that grows on demand."""
        progress.check()
        order = self.order
        try:
            base = self._info(order.base)
            top = self._info(order.top)
            if base.format == "raw" and base.kind == "block" and base.apparent_size < top.capacity:
                raise BaseTooSmall(
                    vm_id=self.vm_id, drive=order.target, reason=f"its base has {base.apparent_size} bytes"
                )
            if base.thin:
                size = self._sizes.for_merge(base, top, active=order.active)
                if size > base.apparent_size:
                    self.parts.volumes.extend(base.id, size)
        except MergeFailed:
            raise
        except VdsmError as error:
            raise self.failure(f"its base cannot be prepared: {error}") from error

    def _info(self, volume_id: str) -> VolumeInfo:
        info = self.parts.volumes.info(self._disk(volume_id))
        if info is None:
            raise self.failure(f"no storage plugin knows volume {volume_id}")
        return info

    def _disk(self, volume_id: str) -> DiskId:
        return msgspec.structs.replace(self.order.disk, volume_id=volume_id)

    def _pivot(self) -> None:
        """Have the guest go on with the base.

        The leaf is marked before: a host that started the machine with it after a crash in between would
        lose what the guest has written since.
        """
        order, volumes = self.order, self.parts.volumes
        try:
            volumes.mark(order.disk, "ILLEGAL")
            self._block_jobs.pivot(self.vm_id, order.target)
        except HypervisorError as error:
            log.warning("Machine %s goes on with volume %s: %s", self.vm_id, order.top, reason_of(error))
            volumes.try_mark(order.disk, "LEGAL")
        except VdsmError as error:
            # Storage refuses, or libvirt's answer is not known: the next look tries again.
            log.warning("The merge of volume %s is not complete: %s", order.top, error)

    def _settle(self, progress: Progress) -> None:
        """Have storage's chain be the one that QEMU uses."""
        order, parts = self.order, self.parts
        info = parts.volumes.info(order.disk)
        if info is not None and info.chain:
            before = [each.id.volume_id for each in info.chain]
            parts.volumes.synchronise(order.disk, _chain(before, order))
        if order.active:
            new = self._disk(order.base)
            parts.volumes.prepare(self.vm_id, new)
            parts.drives.set_ids(self.vm_id, {order.target: new})
            parts.volumes.release(self.vm_id, order.disk)
        parts.changed(self.vm_id)
        progress.report(100)

    def _stay(self, _progress: Progress) -> None:
        """Undo the mark of a leaf that the guest goes on with."""
        if not self.order.active:
            return
        try:
            done = self.is_done()
        except NoSuchVM:
            # Whether it had gone on with the base is not known: the mark stays, and storage decides.
            return
        if not done:
            self.parts.volumes.try_mark(self.order.disk, "LEGAL")


def _chain(before: list[str], order: MergeOrder) -> list[str]:
    """Return the ids from the base to the leaf that are left of a chain."""
    if order.base not in before or order.top not in before:
        return before
    return before[: before.index(order.base) + 1] + before[before.index(order.top) + 1 :]
