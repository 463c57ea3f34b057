"""One mirror of a disk, as a task that follows it from its beginning to its end."""

from __future__ import annotations

import logging
from typing import Final
from xml.etree.ElementTree import Element

import msgspec

from vdsm_bridge.work import Again, Progress, Step
from vdsm_core.errors import VdsmError
from vdsm_core.hypervisor import BlockJob, DomainJob, Pending
from vdsm_core.volumes import DiskId
from vdsm_virt.domain.elements import add, to_text
from vdsm_virt.errors import NoSuchVM
from vdsm_virt.jobs.errors import NoSuchDrive, ReplicationFailed
from vdsm_virt.jobs.storage_job import (
    StorageJob,
    StorageParts,
    as_domain_job,
    domain_of,
    report_processed,
)
from vdsm_virt.jobs.thin.sizes import Sizes

log = logging.getLogger(__name__)

VERB: Final = "VM.diskReplicateStart"


class ReplicationOrder(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a mirror is about, as its task keeps it.

    :ivar target: libvirt's name of the disk
    :ivar source: the volume that the guest writes to
    :ivar destination: the volume that it is mirrored to
    :ivar extends: whether volumes that grow on demand are extended before
    """

    vm_id: str
    target: str
    source: DiskId
    destination: DiskId
    extends: bool = True


class Replication(StorageJob):
    """A mirror of one disk: begun by `VM.diskReplicateStart`, in progress until `VM.diskReplicateFinish`.

    :ivar stays: whether it ends without the mirror on request
    """

    def __init__(
        self, order: ReplicationOrder, parts: StorageParts, sizes: Sizes, *, resumed: bool = False
    ) -> None:
        super().__init__(order.vm_id, "a mirror of a disk", VERB, parts, resumed=resumed)
        self.order = order
        self.stays = False
        self._sizes = sizes
        self._block_jobs = parts.machines.hypervisor.block_jobs

    def arguments(self) -> str:
        """Return the order as JSON."""
        return msgspec.json.encode(self.order).decode()

    def task_steps(self) -> tuple[Step, ...]:
        """Return the steps."""
        return self.steps(
            Step(name="prepare", do=self.explained(self._prepare), undo=self._release, repeatable=True),
            self.explained(self._settle),
        )

    def start(self) -> Pending | None:
        """Begin to mirror."""
        kind, path = self.memory["kind"], self.memory["path"]
        disk = Element("disk", type=kind)
        add(disk, "source", **{"dev" if kind == "block" else "file": path})
        # Whatever the source is: VDSM's destinations are thin.
        add(disk, "driver", type="qcow2")
        self._block_jobs.copy(self.vm_id, self.order.target, to_text(disk))
        return None

    def is_done(self) -> bool:
        """Return whether the guest writes to the destination."""
        try:
            drive = self.parts.drives.get(self.vm_id, self.order.target)
        except NoSuchDrive:
            return False
        return drive.leaf is not None and drive.leaf.path == self.memory.get("path")

    def block_job(self) -> BlockJob | None:
        """Return what libvirt reports of the mirror; None if there is none."""
        with domain_of(self.vm_id):
            job = self._block_jobs.get(self.vm_id, self.order.target)
        return job if job is not None and job.type == "copy" else None

    def read(self) -> DomainJob | None:
        """Return the job if libvirt mirrors the disk."""
        job = self.block_job()
        if job is None:
            return None
        return as_domain_job(job)

    def abort(self) -> None:
        """End the mirror; the guest goes on with its volume."""
        self._block_jobs.abort(self.vm_id, self.order.target)

    def observe(self, job: DomainJob, progress: Progress) -> None:
        """Note how far it is."""
        report_processed(job, progress)

    def conclude(self, unexplained: str) -> Again | None:
        """Find out from the volume that the guest writes to."""
        try:
            if self.stays or self.is_done():
                return None
            running = self.parts.machines.hypervisor.domains.get(self.vm_id).active
        except NoSuchVM:
            running = False
        raise self.failure(f"libvirt has lost the mirror: {unexplained}" if running else "the machine ended")

    def failure(self, reason: str) -> VdsmError:
        """Return the error of a mirror that failed."""
        return ReplicationFailed(vm_id=self.vm_id, drive=self.order.target, reason=reason)

    def _prepare(self, progress: Progress) -> None:
        progress.check()
        order, volumes = self.order, self.parts.volumes
        try:
            prepared = volumes.prepare(self.vm_id, order.destination)
            progress.memory["path"], progress.memory["kind"] = prepared.path, prepared.kind
            for disk in (order.destination, order.source) if order.extends else ():
                info = volumes.info(disk)
                if info is not None and info.thin:
                    size = self._sizes.next_size(info.apparent_size, info.capacity, mirrored=True)
                    if size > info.apparent_size:
                        volumes.extend(info.id, size)
        except ReplicationFailed:
            raise
        except VdsmError as error:
            raise self.failure(f"its volumes cannot be prepared: {error}") from error

    def _settle(self, progress: Progress) -> None:
        """Store which volume the guest writes to, and release the other one."""
        order, parts = self.order, self.parts
        if self.is_done():
            parts.drives.set_ids(self.vm_id, {order.target: order.destination})
            parts.volumes.release(self.vm_id, order.source)
        else:
            parts.volumes.release(self.vm_id, order.destination)
        parts.changed(self.vm_id)
        progress.report(100)

    def _release(self, _progress: Progress) -> None:
        """Undo the preparation of a destination that the guest does not write to."""
        try:
            used = self.is_done()
        except NoSuchVM:
            used = False
        if not used:
            self.parts.volumes.release(self.vm_id, self.order.destination)
