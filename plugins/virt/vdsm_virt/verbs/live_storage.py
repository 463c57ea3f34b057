"""All work on the disks of running machines, built together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from vdsm_bridge.api.declare import Namespace
from vdsm_core.hypervisor import HypervisorEvent
from vdsm_virt.api.stats import BlockJob
from vdsm_virt.host.system.emulator_user import EmulatorUser
from vdsm_virt.jobs.backup.backups import Backups
from vdsm_virt.jobs.backup.checkpoints import MachineCheckpoints
from vdsm_virt.jobs.backup.scratch import Scratch
from vdsm_virt.jobs.drives import Drives
from vdsm_virt.jobs.merges.merges import Merges
from vdsm_virt.jobs.replication.replications import Replications
from vdsm_virt.jobs.snapshots.filesystems import Filesystems
from vdsm_virt.jobs.snapshots.snapshots import Snapshots
from vdsm_virt.jobs.storage_job import StorageJobs, StorageParts
from vdsm_virt.jobs.thin.extension import ThinDisks
from vdsm_virt.jobs.thin.sizes import Sizes
from vdsm_virt.jobs.volumes import Volumes
from vdsm_virt.machine.machines import Machines
from vdsm_virt.policy.host_access import HostAccess
from vdsm_virt.verbs.backup import Backup
from vdsm_virt.verbs.block_jobs import BlockJobs
from vdsm_virt.verbs.snapshots import Snapshots as SnapshotVerbs


class LiveStorageOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the configuration says about it.

    :ivar sizes: how volumes grow
    :ivar transient: folder of volumes that are thrown away
    :ivar sockets: folder of the sockets that backups are read from
    """

    sizes: Sizes
    transient: Path
    sockets: Path


class LiveStorage:
    """Snapshots, merges, mirrors, backups, and the room of thin disks.

    :param emulator: returns the user whom emulators run as
    """

    def __init__(
        self,
        machines: Machines,
        options: LiveStorageOptions,
        host_access: HostAccess,
        emulator: Callable[[], EmulatorUser | None],
    ) -> None:
        self._host_access = host_access
        self._jobs = StorageJobs(machines)
        self._parts = StorageParts(
            machines=machines,
            drives=Drives(machines),
            volumes=Volumes(machines.hooks),
            filesystems=Filesystems(machines),
            changed=lambda vm_id: self._thin.look_soon(vm_id),
        )
        self._thin = ThinDisks(self._parts, self._jobs, options.sizes)
        self._snapshots = Snapshots(self._parts, self._jobs)
        self._merges = Merges(self._parts, self._jobs, options.sizes)
        self._replications = Replications(self._parts, self._jobs, options.sizes)
        scratch = Scratch(options.transient, options.sockets, emulator)
        self._backups = Backups(self._parts, self._jobs, scratch)

    def namespaces(self) -> Sequence[Namespace]:
        """Return the groups of verbs."""
        machines = self._parts.machines
        checkpoints = MachineCheckpoints(machines.hypervisor, machines.inventory, self._backups)
        return [
            SnapshotVerbs(self._parts.filesystems, self._snapshots, self._host_access),
            BlockJobs(self._merges, self._replications, self._host_access),
            Backup(self._backups, checkpoints, self._host_access),
        ]

    def start(self) -> None:
        """Continue the work of an earlier daemon."""
        self._jobs.start()

    def stop(self, grace: float) -> None:
        """Leave the work to libvirt, and to the next start."""
        self._jobs.stop(grace)

    def handle(self, event: HypervisorEvent) -> None:
        """Act on libvirt's events about disks."""
        self._jobs.handle(event)
        self._thin.handle(event)

    def look(self) -> None:
        """Look at the disks of all machines, after events may have been missed."""
        self._thin.look()

    def merges_of(self, vm_id: str) -> dict[str, BlockJob]:
        """Return the merges of a machine that are in progress, by their ids."""
        return self._merges.in_progress(vm_id)
