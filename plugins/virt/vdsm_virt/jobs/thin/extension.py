"""Extend volumes of running machines before the guest has filled them."""

from __future__ import annotations

import logging
import threading
import time
from typing import Final

import msgspec

from vdsm_core.errors import VdsmError
from vdsm_core.hooks.specs.storage import vdsm_refresh_volume
from vdsm_core.hypervisor import (
    BlockInfo,
    DomainBlockThreshold,
    DomainIOError,
    DomainLifecycle,
    HypervisorEvent,
    NoSuchDomain,
    OperationInvalid,
)
from vdsm_core.volumes import Extension, VolumeId, VolumeInfo
from vdsm_virt.jobs.drives import Drive
from vdsm_virt.jobs.replication.job import Replication
from vdsm_virt.jobs.storage_job import StorageJobs, StorageParts
from vdsm_virt.jobs.thin.sizes import Sizes
from vdsm_virt.machine.references import Machine as MachineReference

log = logging.getLogger(__name__)

#: Seconds after which storage is asked again that has not answered: VDSM's figure.
_AGAIN: Final = 2.0
#: Events after which a machine has thresholds to be set: of a start, an arrival, the end of a pause.
_SET_AFTER: Final = frozenset({"started", "resumed"})
#: Seconds for libvirt to answer in the background: others wait behind it.
_PATIENCE: Final = 5.0
_NO_ROOM: Final = "ENOSPC"


class _Growing(msgspec.Struct, frozen=True):
    """An extension that was asked for: the size, and when, on the monotonic clock in seconds."""

    size: int
    asked: float


class ThinDisks:
    """Watches the disks whose volumes grow on demand.

    libvirt reports, once, that a volume is written beyond a threshold. Then storage is asked for a larger
    one; with it, the next threshold is set, and a guest that was paused for lack of room goes on.
    """

    def __init__(self, parts: StorageParts, jobs: StorageJobs, sizes: Sizes) -> None:
        self._machines = parts.machines
        self._parts = parts
        self._jobs = jobs
        self._sizes = sizes
        self._lock = threading.Lock()
        #: Extensions under way, by machine and volume.
        self._growing: dict[tuple[str, str], _Growing] = {}
        #: Machines that may go on if they lack no room now: once for each cause, as storage may be full.
        self._may_go_on: set[str] = set()

    def handle(self, event: HypervisorEvent) -> None:
        """Act on libvirt's events about the room of disks."""
        if isinstance(event, DomainBlockThreshold):
            self.look_soon(event.uuid)
        elif isinstance(event, DomainIOError):
            if event.action == "pause" and event.reason in ("enospc", ""):
                self.look_soon(event.uuid)
        elif isinstance(event, DomainLifecycle):
            if event.event in _SET_AFTER:
                self.look_soon(event.uuid)
            elif event.event == "stopped":
                self._forget(event.uuid)

    def look(self) -> None:
        """Look at all machines: the events of an earlier time may have been missed."""
        for machine in self._machines.inventory.all():
            if machine.active:
                self._may_go_on.add(machine.id)
                self.look_soon(machine.id)

    def look_soon(self, vm_id: str, after: float = 0.0) -> None:
        """Look at the disks of a machine in the background: extend them, or set their thresholds.

        :param after: seconds
        """
        self._machines.jobs.plan(
            "looking at thin disks" if not after else "looking at thin disks again",
            lambda: self._look_at(vm_id),
            of=MachineReference(vm_id),
            after=after,
            second="not needed",
        )

    def _look_at(self, vm_id: str) -> None:
        machine = self._machines.inventory.find(vm_id)
        if machine is None or not machine.active:
            return
        try:
            drives = [drive for drive in self._parts.drives.all(vm_id) if drive.device == "disk"]
            thin = [drive for drive in drives if self._may_grow(drive)]
            for drive in thin:
                self._look_at_drive(vm_id, drive)
        except (NoSuchDomain, OperationInvalid):
            return
        except VdsmError as error:
            log.warning("The thin disks of machine %s cannot be watched: %s", vm_id, error)
            return
        if thin:
            self._resume(vm_id)

    def _may_grow(self, drive: Drive) -> bool:
        """Return whether storage may have to be asked. Only qcow2 grows; files have room of themselves."""
        return bool(drive.ids) and drive.leaf is not None and drive.leaf.format == "qcow2"

    def _look_at_drive(self, vm_id: str, drive: Drive) -> None:
        info = self._parts.volumes.info(drive.ids)
        if info is None or not info.thin:
            return
        sizes = self._machines.hypervisor.block_jobs.info(vm_id, drive.target, timeout=_PATIENCE)
        physical = max(sizes.physical, info.apparent_size) if drive.thin else info.apparent_size
        mirrored = drive.job == "copy"
        if physical >= self._sizes.maximum(sizes.capacity):
            return
        threshold = self._sizes.threshold(physical, mirrored=mirrored)
        if sizes.allocation < threshold:
            # Set first: what is written from now on is reported.
            self._set_threshold(vm_id, drive, threshold)
            return
        if mirrored:
            self._extend_mirror(vm_id, drive, physical, sizes)
        self._extend(vm_id, info.id, self._sizes.next_size(physical, sizes.capacity, mirrored=mirrored))

    def _extend_mirror(self, vm_id: str, drive: Drive, physical: int, sizes: BlockInfo) -> None:
        """Extend the destination of a mirror, which has to have room for what its source gets."""
        for job in self._jobs.running(Replication, vm_id):
            if job.order.target != drive.target:
                continue
            destination = self._parts.volumes.info(job.order.destination)
            if destination is not None and destination.thin:
                size = self._sizes.next_size(physical, sizes.capacity, mirrored=True)
                if size > destination.apparent_size:
                    self._extend(vm_id, destination.id, size)

    def _extend(self, vm_id: str, volume: VolumeId, size: int) -> None:
        key, now = (vm_id, volume.volume_id), time.monotonic()
        with self._lock:
            growing = self._growing.get(key)
            if growing is not None and growing.size >= size and now < growing.asked + _AGAIN:
                return
            self._growing[key] = _Growing(size, now)
        log.info("Volume %s of machine %s is extended to %d bytes", volume.volume_id, vm_id, size)
        # Looked at again if storage does not answer.
        self.look_soon(vm_id, after=_AGAIN + 0.1)
        try:
            self._parts.volumes.begin_extension(
                Extension(volume, size, lambda answer: self._answered(vm_id, volume, answer))
            )
        except VdsmError as error:
            self._answered(vm_id, volume, error)

    def _answered(self, vm_id: str, volume: VolumeId, answer: VolumeInfo | VdsmError) -> None:
        with self._lock:
            self._growing.pop((vm_id, volume.volume_id), None)
        if isinstance(answer, VdsmError):
            log.warning("Volume %s of machine %s is not extended: %s", volume.volume_id, vm_id, answer)
            return
        self._may_go_on.add(vm_id)
        self._machines.jobs.plan(
            "refreshing an extended volume",
            lambda: self._refresh(vm_id, volume),
            of=MachineReference(vm_id),
            second="not needed",
        )

    def _refresh(self, vm_id: str, volume: VolumeId) -> None:
        try:
            self._machines.hooks.run(vdsm_refresh_volume, volume)
        except VdsmError as error:
            log.warning("Volume %s of machine %s is not refreshed: %s", volume.volume_id, vm_id, error)
        self._look_at(vm_id)

    def _set_threshold(self, vm_id: str, drive: Drive, threshold: int) -> None:
        leaf = drive.leaf
        place = f"{drive.target}[{leaf.index}]" if leaf is not None and leaf.index else drive.target
        self._machines.hypervisor.block_jobs.set_threshold(vm_id, place, threshold, timeout=_PATIENCE)

    def _resume(self, vm_id: str) -> None:
        """Let a guest go on that was paused for lack of room, if there is room now."""
        machine = self._machines.inventory.find(vm_id)
        if machine is None or machine.status != "Paused" or machine.pause_code != _NO_ROOM:
            return
        if machine.outgoing or self._is_growing(vm_id) or vm_id not in self._may_go_on:
            return
        self._may_go_on.discard(vm_id)
        log.info("Machine %s goes on: its disks have room", vm_id)
        try:
            self._machines.hypervisor.domains.resume(vm_id)
        except (NoSuchDomain, OperationInvalid):
            return

    def _is_growing(self, vm_id: str) -> bool:
        with self._lock:
            return any(machine == vm_id for machine, _ in self._growing)

    def _forget(self, vm_id: str) -> None:
        self._may_go_on.discard(vm_id)
        with self._lock:
            self._growing = {key: value for key, value in self._growing.items() if key[0] != vm_id}
