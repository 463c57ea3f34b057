"""Changes of disks that were left open: by a daemon that was killed, or by a guest that took its time."""

from __future__ import annotations

import contextlib
import logging
import threading

from msgspec import UnsetType

from vdsm_core.errors import VdsmError
from vdsm_core.hypervisor import (
    ConnectionBack,
    DomainDeviceRemoved,
    DomainLifecycle,
    HypervisorEvent,
    NoSuchDomain,
)
from vdsm_core.volumes import DiskId
from vdsm_core.work.references import exclusive
from vdsm_virt.devices.disks import with_disk, without_disk, without_pending
from vdsm_virt.devices.images import Images
from vdsm_virt.devices.running import RunningDisks, read_running
from vdsm_virt.domain.elements import parse, to_text
from vdsm_virt.domain.metadata import Metadata, PendingChange
from vdsm_virt.domain.read.definition import Details
from vdsm_virt.machine.machine import Machine
from vdsm_virt.machine.machines import Machines
from vdsm_virt.machine.references import Machine as MachineReference

log = logging.getLogger(__name__)

_LABEL = "settling changes of disks"


class Settler:
    """Compares the metadata of machines with their disks, and ends or discards what is different.

    What libvirt has decides: a disk that is there is kept, one that is not there is released. This happens
    for each machine once after the start of the daemon, when a guest has released a disk, and after a call
    whose outcome is not known. A machine that ends has all its images released.
    """

    def __init__(self, machines: Machines, images: Images) -> None:
        self._hypervisor = machines.hypervisor
        self._inventory = machines.inventory
        self._mirror = machines.mirror
        self._jobs = machines.jobs
        self._work = machines.work
        self._images = images
        self._lock = threading.Lock()
        self._looked = False

    def look(self) -> None:
        """Settle every machine, if that has not happened since libvirt was connected."""
        with self._lock:
            if self._looked:
                return
            self._looked = True
        for machine in self._inventory.all():
            self._look_soon(machine.id)

    def release(self, vm_id: str) -> None:
        """Release all images of a machine that has ended, before its definition is removed."""
        machine = self._inventory.find(vm_id)
        if machine is None:
            return
        with contextlib.suppress(VdsmError):
            machine = self._mirror.fresh(machine)
        if machine.details is not None and machine.details.metadata is not None:
            self._release_all(vm_id, machine.details.metadata)

    def handle(self, event: HypervisorEvent) -> None:
        """Take an event of the hypervisor into account; called before the inventory has it."""
        if isinstance(event, ConnectionBack):
            with self._lock:
                self._looked = False
        elif isinstance(event, DomainDeviceRemoved):
            self.settle_soon(event.uuid)
        elif isinstance(event, DomainLifecycle) and event.event == "stopped":
            machine = self._inventory.find(event.uuid)
            # Where it has gone, its images are in use; here they are not any more.
            if machine is not None and not machine.launching:
                self._release_soon(machine)

    def settle_soon(self, vm_id: str) -> None:
        """Settle a machine once no verb works on it."""
        machine = MachineReference(vm_id)

        def settle() -> None:
            try:
                self._settle(vm_id)
            except NoSuchDomain:
                return
            except VdsmError as error:
                log.warning("Cannot settle the disks of machine %s: %s", vm_id, error)

        self._jobs.plan(
            _LABEL,
            lambda: self._work.when_free([exclusive(machine)], _LABEL, settle),
            of=machine,
            second="not needed",
        )

    def _look_soon(self, vm_id: str) -> None:
        """Settle a machine if its metadata are not what it has."""

        def look() -> None:
            machine = self._inventory.find(vm_id)
            if machine is None or machine.missing:
                return
            try:
                details = self._mirror.fresh(machine).details
            except VdsmError as error:
                log.warning("Cannot read the disks of machine %s: %s", vm_id, error)
                return
            if details is not None and details.metadata is not None and _differs(machine, details):
                self.settle_soon(vm_id)

        self._jobs.plan("looking at disks", look, of=MachineReference(vm_id), second="not needed")

    def _settle(self, vm_id: str) -> None:
        machine = self._inventory.find(vm_id)
        if machine is None or machine.missing or machine.launching or machine.incoming:
            return
        machine = self._mirror.fresh(machine)
        known = machine.details.metadata if machine.details is not None else None
        if not machine.ours or known is None:
            return
        if not machine.active:
            self._release_all(vm_id, known)
            return
        now = read_running(self._hypervisor, vm_id)
        for target, change in now.metadata.pending.items():
            self._end(vm_id, now, target, change)
        self._forget_gone(vm_id, now)
        for target, ids in now.metadata.devices.items():
            if target not in now.targets and target not in now.metadata.pending:
                log.info("Machine %s does not have disk %s any more", vm_id, target)
                self._drop(vm_id, target, ids)
        self._mirror.refresh(vm_id)

    def _forget_gone(self, vm_id: str, now: RunningDisks) -> None:
        """Remove the disks from the kept definition that the running machine does not have any more."""
        try:
            kept = parse(self._hypervisor.definitions.xml(vm_id, inactive=True))
        except ValueError:
            return
        for element in kept.iterfind("devices/disk"):
            place = element.find("target")
            if place is not None and place.get("dev") not in now.targets:
                self._hypervisor.devices.forget(vm_id, to_text(element))

    def _drop(self, vm_id: str, target: str, ids: dict[str, str]) -> None:
        self._release(vm_id, ids)
        self._mirror.change_metadata(vm_id, lambda kept: without_disk(kept, target))

    def _end(self, vm_id: str, now: RunningDisks, target: str, change: PendingChange) -> None:
        disk = now.at(target)
        if change.kind == "unplugging":
            if disk is not None:
                log.info("Machine %s still has disk %s, which was to be unplugged", vm_id, target)
                self._mirror.change_metadata(vm_id, lambda kept: without_pending(kept, target))
            else:
                self._drop(vm_id, target, change.ids)
        elif change.kind == "plugging":
            if disk is not None:
                log.info("Machine %s has got disk %s, which a daemon has begun to plug in", vm_id, target)
                self._mirror.change_metadata(vm_id, lambda kept: with_disk(kept, target, change))
            else:
                log.info("Machine %s has not got disk %s: it is taken back", vm_id, target)
                self._release(vm_id, change.ids)
                self._mirror.change_metadata(vm_id, lambda kept: without_pending(kept, target))
        else:
            self._end_loading(vm_id, now, target, change)

    def _end_loading(self, vm_id: str, now: RunningDisks, target: str, change: PendingChange) -> None:
        disk = now.at(target)
        before = now.metadata.devices.get(target, {})
        rest = {name: value for name, value in before.items() if name == "deviceId"}
        loaded = disk.path if disk is not None else ""
        if loaded == change.path:
            # Loaded as it was to be, or empty as it was to be.
            after, unused = {**rest, **change.ids}, before
        elif loaded:
            after, unused = before, change.ids
        else:
            after, unused = rest, before
            self._release(vm_id, change.ids)
        log.info("Drive %s of machine %s has %s", target, vm_id, loaded or "no medium")
        settled = PendingChange(kind="loading", ids=after)
        if DiskId.read(unused) != DiskId.read(after):
            self._release(vm_id, unused)
        self._mirror.change_metadata(vm_id, lambda kept: with_disk(kept, target, settled))

    def _release_soon(self, machine: Machine) -> None:
        known = machine.details.metadata if machine.details is not None else None

        def release() -> None:
            now = self._inventory.find(machine.id)
            if now is None or not (now.active or now.launching):
                self._release_all(machine.id, known or Metadata())

        reference = MachineReference(machine.id)

        def release_in_turn() -> None:
            try:
                # After a start that is under way, before one that follows.
                self._work.when_free([exclusive(reference)], "releasing disks", release)
            except VdsmError:
                # Long work on the machine, such as the migration that ended it here, starts nothing here.
                release()

        self._jobs.plan("releasing disks", release_in_turn, of=reference, second="replaces")

    def _release_all(self, vm_id: str, known: Metadata) -> None:
        for ids in [*known.devices.values(), *(change.ids for change in known.pending.values())]:
            self._release(vm_id, ids)
        self._images.release_payloads(vm_id)

    def _release(self, vm_id: str, ids: dict[str, str]) -> None:
        if disk := DiskId.read(ids):
            self._images.release(vm_id, disk)


def _differs(machine: Machine, details: Details) -> bool:
    """Return whether a machine's metadata name disks that it does not have, or changes that have begun."""
    known = details.metadata
    if known is None:
        return False
    devices = details.definition.devices
    names = set() if isinstance(devices, UnsetType) else {device.name for device in devices}
    return bool(known.pending) or not known.devices.keys() <= names or not machine.active
