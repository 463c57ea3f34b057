"""Launches of machines that are down, from the definitions that libvirt keeps of them."""

from __future__ import annotations

from typing import Final
from xml.etree.ElementTree import Element

import msgspec

from vdsm_core.errors import VdsmError
from vdsm_core.hypervisor import NoSuchDomain
from vdsm_core.volumes import DiskId
from vdsm_core.work.references import exclusive
from vdsm_virt.create.launch import Launcher
from vdsm_virt.create.launch_plan import LaunchPlan
from vdsm_virt.definitions.errors import CannotStartVM
from vdsm_virt.devices.disks import with_disk, without_disk, without_pending
from vdsm_virt.devices.images import Images
from vdsm_virt.domain import metadata
from vdsm_virt.domain.elements import parse
from vdsm_virt.domain.metadata import Metadata
from vdsm_virt.errors import NoSuchVM, VMNotDown
from vdsm_virt.machine.machine import Machine, Reason
from vdsm_virt.machine.machines import Machines
from vdsm_virt.machine.references import Machine as MachineReference

#: Why a machine that ended so is not started again, by the reason of its exit.
_ENDED_FOR_GOOD: Final[dict[int, str]] = {
    Reason.MIGRATION_SUCCEEDED: "it was migrated, and runs on another host",
    Reason.SAVE_STATE_SUCCEEDED: "its state was saved: create it from that, or destroy it",
    Reason.POSTCOPY_MIGRATION_FAILED: "its migration failed in post-copy: it may run on the other host",
}


class KeptLaunches:
    """Starts machines that are down."""

    def __init__(self, machines: Machines, launcher: Launcher, images: Images) -> None:
        self._machines = machines
        self._launcher = launcher
        self._images = images
        self._work = machines.work

    def start(self, vm_id: str, *, paused: bool = False) -> Machine:
        """Start a machine in the background; return it as it waits for that. The caller holds its lock.

        :raises VMNotDown: it is not down
        :raises CannotStartVM: there is nothing to start, or it would run twice
        """
        plan = self._plan(self._startable(vm_id), paused=paused)
        machine = self._launcher.launch_again(plan)
        if machine is None or not machine.launching:
            raise NoSuchVM(vm_id=vm_id)
        try:
            locks = [exclusive(MachineReference(vm_id))]
            # Begins when the caller returns; calls that wait already find a machine that is being started.
            self._work.when_free(locks, "VM.start (launch)", lambda: self._launcher.launch(plan))
        except VdsmError as error:
            self._launcher.give_up(plan, str(error))
            raise
        return machine

    def _startable(self, vm_id: str) -> Machine:
        machine = self._machines.inventory.get(vm_id)
        if machine.status != "Down" or machine.active:
            raise VMNotDown(vm_id=vm_id, action="start", status=machine.status)
        if machine.missing:
            raise CannotStartVM(vm_id=vm_id, reason="libvirt has no definition of it any more")
        machine = self._machines.mirror.fresh(machine)
        reason = machine.exit.reason if machine.exit is not None else Reason.SUCCESS
        # What another client has saved, libvirt itself restores or does not know any more.
        if reason in _ENDED_FOR_GOOD and (machine.ours or reason != Reason.SAVE_STATE_SUCCEEDED):
            raise CannotStartVM(vm_id=vm_id, reason=_ENDED_FOR_GOOD[reason])
        return machine

    def _plan(self, machine: Machine, *, paused: bool) -> LaunchPlan:
        """Return the plan of a launch: as the definition is, with what a crash has left open settled."""
        domain = self._definition(machine.id)
        known = metadata.read(domain)
        facts = known or Metadata()
        if facts.pending:
            facts = self._machines.mirror.change_metadata(machine.id, lambda now: _settled(now, domain))
            domain = self._definition(machine.id)
        self._empty_payload_drives(machine.id, domain)
        return LaunchPlan(
            id=machine.id,
            name=machine.name,
            domain=domain,
            metadata=facts,
            paused=paused,
            disks={target: ids for target, ids in facts.devices.items() if DiskId.read(ids)},
            custom=dict(facts.custom),
            device_custom=dict(facts.device_custom),
            again=True,
            ours=known is not None,
        )

    def _definition(self, vm_id: str) -> Element:
        try:
            return parse(self._machines.hypervisor.definitions.xml(vm_id, inactive=True, secure=True))
        except NoSuchDomain:
            raise NoSuchVM(vm_id=vm_id) from None
        except ValueError as error:
            raise CannotStartVM(vm_id=vm_id, reason=f"its definition cannot be read: {error}") from None

    def _empty_payload_drives(self, vm_id: str, domain: Element) -> None:
        """Remove media that were made of a payload, which was for the first run, and is not kept."""
        payloads = self._images.payload_paths(vm_id)
        for disk in domain.iterfind("devices/disk"):
            source = disk.find("source")
            if source is not None and source.get("file") in payloads:
                disk.remove(source)


def _settled(known: Metadata, domain: Element) -> Metadata:
    """Return metadata in which the changes of disks have ended as the definition shows it."""
    paths: dict[str, str] = {}
    for disk in domain.iterfind("devices/disk"):
        target, source = disk.find("target"), disk.find("source")
        if target is not None:
            paths[target.get("dev", "")] = (
                next(iter(source.attrib.values()), "") if source is not None else ""
            )
    for name, change in known.pending.items():
        if change.kind == "unplugging":
            known = without_pending(known, name) if name in paths else without_disk(known, name)
        elif name in paths and (change.kind == "plugging" or paths[name] == change.path):
            known = with_disk(known, name, change)
        else:
            known = without_pending(known, name)
    return msgspec.structs.replace(known, pending={})
