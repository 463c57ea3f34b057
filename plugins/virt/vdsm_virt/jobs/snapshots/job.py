"""One snapshot, as a task that follows it from its beginning to its end."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Final

import msgspec

from vdsm_bridge.work import Again, HostJob, LongWork, Plan, Progress, Step
from vdsm_core.errors import VdsmError
from vdsm_core.hypervisor import DomainJob, Pending
from vdsm_core.volumes import DiskId
from vdsm_virt.errors import NoSuchVM
from vdsm_virt.jobs.errors import SnapshotFailed
from vdsm_virt.jobs.snapshots import document, memory
from vdsm_virt.jobs.snapshots.document import NewVolume
from vdsm_virt.jobs.storage_job import StorageJob, StorageParts, domain_of

VERB: Final = "VM.snapshot"
#: Verbs that run beside a snapshot: they do not touch what is in it. A guest may be thawed at any time.
_BESIDE: Final = frozenset({"VM.setTicket", "VM.thaw"})


class SnapshotDisk(msgspec.Struct, frozen=True, kw_only=True):
    """One disk of a snapshot: its name, the volume that it writes to before, and afterwards."""

    target: str
    before: DiskId
    after: DiskId


class SnapshotOrder(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a snapshot is about, as its task keeps it.

    :ivar memory: volume of the guest's memory; None for a snapshot of disks only
    :ivar configuration: volume of what the machine is resumed with
    :ivar frozen: whether the client freezes and thaws the guest itself
    :ivar job_id: id of the host job; empty for none
    :ivar timeout: seconds that it may take in all
    :ivar freeze_timeout: seconds from the begin of freezing after which nothing is begun any more
    """

    vm_id: str
    disks: tuple[SnapshotDisk, ...]
    memory: DiskId | None = None
    configuration: DiskId | None = None
    frozen: bool = False
    job_id: str = ""
    timeout: float
    freeze_timeout: float


class Snapshot(StorageJob):
    """A snapshot of one machine.

    :ivar quiesced: whether the guest's file systems were frozen
    """

    interval = 0.5

    def __init__(self, order: SnapshotOrder, parts: StorageParts, *, resumed: bool = False) -> None:
        super().__init__(order.vm_id, "a snapshot", VERB, parts, resumed=resumed)
        self.order = order
        self._hypervisor = parts.machines.hypervisor

    @property
    def quiesced(self) -> bool:
        """Whether the guest's file systems were frozen."""
        return bool(self.memory.get("frozen"))

    def arguments(self) -> str:
        """Return the order as JSON."""
        return msgspec.json.encode(self.order).decode()

    def beside(self) -> LongWork:
        """Return what may run meanwhile; everything else waits, and destroying cancels it."""
        tasks = self.parts.machines.work.tasks
        return LongWork(beside=_BESIDE, cancel=lambda: tasks.abort(self.task_id))

    def plan(self, ended: Any) -> Plan:
        """Return the plan of the task, which clients see as a host job."""
        job = HostJob(id=self.order.job_id, type="virt", description="snapshot_vm")
        return msgspec.structs.replace(super().plan(ended), job=job if self.order.job_id else None)

    def task_steps(self) -> tuple[Step, ...]:
        """Return the steps. The memory of a guest is consistent by itself, without freezing."""
        prepare, hand_over, watch, settle = self.steps(
            Step(name="prepare", do=self.explained(self._prepare), undo=self._release, repeatable=True),
            self.explained(self._settle),
        )
        if self.order.memory is not None or self.order.frozen:
            return prepare, hand_over, watch, settle
        freeze, thaw = self.freezing(required=False)
        return prepare, freeze, hand_over, watch, thaw, settle

    def start(self) -> Pending | None:
        """Take the snapshot."""
        order, volumes = self.order, self._volumes()
        if time.time() > self.memory["freezing"] + order.freeze_timeout:
            raise self.failure(f"freezing took longer than {order.freeze_timeout:.0f} s")
        others = [drive.target for drive in self.parts.drives.all(order.vm_id) if drive.target not in volumes]
        path = self.memory.get("memory", "")
        xml = document.snapshot(volumes, others, path)
        return self._hypervisor.snapshots.begin(order.vm_id, xml, memory=bool(path))

    def is_done(self) -> bool:
        """Return whether the machine writes to the new volumes."""
        volumes = self._volumes()
        if not volumes:
            return False
        used = {each.target: each.leaf.path for each in self.parts.drives.all(self.vm_id) if each.leaf}
        return all(used.get(target) == volume.path for target, volume in volumes.items())

    def read(self) -> DomainJob | None:
        """Return the job if libvirt takes a snapshot of the machine."""
        with domain_of(self.vm_id):
            job = self._hypervisor.jobs.get(self.vm_id)
        return job if job.state == "running" and job.operation.startswith("snapshot") else None

    def abort(self) -> None:
        """End the snapshot: possible while the memory is written."""
        self._hypervisor.jobs.abort(self.vm_id)

    def observe(self, job: DomainJob, progress: Progress) -> None:
        """Note how much of the memory is written; end a snapshot that takes too long."""
        if job.total:
            progress.report(min(99, 100 * (job.total - job.remaining) // job.total))
        if time.time() > self.memory["begun"] + self.order.timeout:
            self.cancel(f"it was not done within {self.order.timeout:.0f} s")

    def conclude(self, unexplained: str) -> Again | None:
        """Find out from the volumes that the machine uses."""
        try:
            if self.is_done():
                return None
        except NoSuchVM:
            raise self.failure("the machine ended") from None
        raise self.failure(unexplained)

    def failure(self, reason: str) -> VdsmError:
        """Return the error of a snapshot that was not taken."""
        return SnapshotFailed(vm_id=self.vm_id, reason=reason)

    def _volumes(self) -> dict[str, NewVolume]:
        return msgspec.convert(self.memory.get("volumes", {}), dict[str, NewVolume])

    def _prepare(self, progress: Progress) -> None:
        progress.check()
        order, volumes = self.order, self.parts.volumes
        progress.memory["begun"] = time.time()
        try:
            new = {}
            for disk in order.disks:
                prepared = volumes.prepare(order.vm_id, disk.after)
                new[disk.target] = {"path": prepared.path, "kind": prepared.kind}
            progress.memory["volumes"] = new
            if order.memory is not None and order.configuration is not None:
                progress.memory["memory"] = volumes.prepare(order.vm_id, order.memory).path
                path = volumes.prepare(order.vm_id, order.configuration).path
                memory.write_configuration(Path(path), self._configuration())
        except SnapshotFailed:
            raise
        except (VdsmError, OSError) as error:
            raise self.failure(f"its volumes cannot be prepared: {error}") from error
        progress.memory["freezing"] = time.time()

    def _configuration(self) -> dict[str, Any]:
        machine = self.parts.machines.inventory.get(self.vm_id)
        started = machine.started or time.time()
        return {
            "restoreFromSnapshot": True,
            "_srcDomXML": self._hypervisor.definitions.xml(self.vm_id),
            "elapsedTimeOffset": max(0.0, time.time() - started),
        }

    def _settle(self, progress: Progress) -> None:
        """Store which volumes the machine uses now."""
        order, parts = self.order, self.parts
        parts.drives.set_ids(order.vm_id, {disk.target: disk.after for disk in order.disks})
        for disk in order.disks:
            parts.volumes.release(order.vm_id, disk.before)
        if path := self.memory.get("memory"):
            try:
                memory.pad(Path(path))
            except OSError as error:
                raise self.failure(f"the volume of the memory cannot be padded: {error}") from error
            self._release_memory()
        parts.changed(order.vm_id)
        progress.report(100)

    def _release(self, _progress: Progress) -> None:
        """Undo the preparation of volumes that the machine does not use."""
        try:
            used = {each.leaf.path for each in self.parts.drives.all(self.vm_id) if each.leaf}
        except NoSuchVM:
            used = set()
        for disk in self.order.disks:
            volume = self._volumes().get(disk.target)
            if volume is None or volume.path not in used:
                self.parts.volumes.release(self.vm_id, disk.after)
        self._release_memory()

    def _release_memory(self) -> None:
        for volume in (self.order.memory, self.order.configuration):
            if volume is not None:
                self.parts.volumes.release(self.vm_id, volume)
