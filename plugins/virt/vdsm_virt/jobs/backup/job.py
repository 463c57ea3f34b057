"""One backup, as a task that follows it from its beginning to its end."""

from __future__ import annotations

from typing import Final

import msgspec

from vdsm_bridge.work import Again, Progress, Step
from vdsm_core.errors import VdsmError
from vdsm_core.hypervisor import DomainJob, NoSuchDomain, Pending
from vdsm_virt.jobs.backup import document
from vdsm_virt.jobs.backup.document import DiskBackup
from vdsm_virt.jobs.backup.scratch import Scratch
from vdsm_virt.jobs.errors import BackupFailed
from vdsm_virt.jobs.storage_job import StorageJob, StorageParts, domain_of

VERB: Final = "VM.start_backup"
#: Seconds for QEMU to write bitmaps, open scratch volumes and start its NBD server.
_BEGIN: Final = 120.0


class BackupOrder(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a backup is about, as its task keeps it.

    :ivar since: checkpoint whose changes are backed up; empty for everything
    :ivar checkpoint: checkpoint to create; empty for none
    :ivar consistent: whether a guest that cannot be frozen is not backed up
    """

    vm_id: str
    backup_id: str
    disks: tuple[DiskBackup, ...]
    since: str = ""
    checkpoint: str = ""
    consistent: bool = False


class Backup(StorageJob):
    """A backup of one machine: begun by `VM.start_backup`, in progress until `VM.stop_backup`."""

    def __init__(
        self, order: BackupOrder, parts: StorageParts, scratch: Scratch, *, resumed: bool = False
    ) -> None:
        super().__init__(order.vm_id, "a backup", VERB, parts, resumed=resumed)
        self.order = order
        self._scratch = scratch
        self._hypervisor = parts.machines.hypervisor

    def arguments(self) -> str:
        """Return the order as JSON."""
        return msgspec.json.encode(self.order).decode()

    def exports(self) -> dict[str, str]:
        """Return the addresses of the NBD exports, by image id."""
        socket = self._scratch.socket(self.order.backup_id)
        return {disk.image_id: f"nbd:unix:{socket}:exportname={disk.target}" for disk in self.order.disks}

    def task_steps(self) -> tuple[Step, ...]:
        """Return the steps: the guest is frozen only while the backup begins."""
        prepare, hand_over, watch, settle = self.steps(
            Step(name="prepare", do=self.explained(self._prepare), undo=self._clean_up, repeatable=True),
            self._clean_up,
        )
        freeze, thaw = self.freezing(required=self.order.consistent)
        return prepare, freeze, hand_over, thaw, watch, settle

    def start(self) -> Pending | None:
        """Begin the backup."""
        order = self.order
        self._hypervisor.backups.begin(
            order.vm_id,
            document.backup(order.disks, self._scratch.socket(order.backup_id), order.since),
            document.checkpoint(order.checkpoint, order.disks),
            timeout=_BEGIN,
        )
        return None

    def is_done(self) -> bool:
        """Return False: a backup that libvirt does not run has not begun, or is over."""
        return False

    def read(self) -> DomainJob | None:
        """Return the job if libvirt runs this backup."""
        with domain_of(self.vm_id):
            found = self._hypervisor.backups.xml(self.vm_id)
            if found is None or self.order.backup_id not in found:
                return None
            return self._hypervisor.jobs.get(self.vm_id)

    def abort(self) -> None:
        """End the backup."""
        if self.read() is not None:
            self._hypervisor.jobs.abort(self.vm_id)

    def observe(self, job: DomainJob, progress: Progress) -> None:
        """Nothing to note: clients read a backup as they like, and it waits for `VM.stop_backup`."""

    def conclude(self, unexplained: str) -> Again | None:  # noqa: ARG002 - a backup has no other failure
        """Raise the error of a backup whose machine has ended."""
        try:
            ended = not self._hypervisor.domains.get(self.vm_id).active
        except NoSuchDomain:
            ended = True
        if ended:
            raise self.failure("the machine ended")
        return None

    def failure(self, reason: str) -> VdsmError:
        """Return the error of a backup that failed."""
        return BackupFailed(vm_id=self.vm_id, reason=reason)

    def _prepare(self, progress: Progress) -> None:
        progress.check()
        try:
            self._scratch.open_folder(self.order.backup_id)
            for disk in self.order.disks:
                name = f"{self.order.backup_id}.{disk.target}"
                if disk.scratch == str(self._scratch.path(self.vm_id, name)):
                    self._scratch.create(self.vm_id, name, disk.capacity)
        except (OSError, ValueError) as error:
            raise self.failure(f"its scratch volumes cannot be created: {error}") from error

    def _clean_up(self, _progress: Progress) -> None:
        self._scratch.remove(self.vm_id, self.order.backup_id)
