"""Launches of machines that are down, from the definitions that libvirt keeps of them."""

from __future__ import annotations

import time
from typing import Final
from xml.etree.ElementTree import Element

import msgspec

from vdsm_core.errors import OperationFailed
from vdsm_core.hypervisor import NoSuchDomain
from vdsm_core.volumes import DiskId
from vdsm_core.work.engine import Engine
from vdsm_core.work.references import exclusive
from vdsm_virt.create.launch import Launcher
from vdsm_virt.create.launch_plan import LaunchPlan
from vdsm_virt.devices.disks import with_disk, without_disk, without_pending
from vdsm_virt.devices.images import Images
from vdsm_virt.domain import metadata
from vdsm_virt.domain.elements import parse
from vdsm_virt.domain.metadata import Metadata
from vdsm_virt.errors import CannotStartVM, NoSuchVM, VMNotDown
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
    """Starts machines that are down.

    :param patience: seconds that a call waits for others on the same machine
    """

    def __init__(
        self, machines: Machines, launcher: Launcher, images: Images, work: Engine, patience: float
    ) -> None:
        self._machines = machines
        self._launcher = launcher
        self._images = images
        self._work = work
        self._patience = patience

    def start(self, vm_id: str, verb: str, *, paused: bool = False, patience: float | None = None) -> Machine:
        """Start a machine in the background; return it as it waits for that.

        :param verb: what other calls on the machine see as the holder of its lock
        :param patience: seconds; None is that of the constructor
        :raises VMNotDown: it is not down
        :raises CannotStartVM: there is nothing to start, or it would run twice
        """
        deadline = time.monotonic() + (self._patience if patience is None else patience)
        with self._work.locks.holding([exclusive(MachineReference(vm_id))], verb, deadline=deadline) as hold:
            plan = self._plan(self._startable(vm_id), paused=paused)
            machine = self._launcher.launch_again(plan)
            if machine is None or not machine.launching:
                raise NoSuchVM(vm_id=vm_id)
            try:
                self._work.go_on(hold, f"{verb} (launch)", lambda: self._launcher.launch(plan))
            except RuntimeError:
                self._launcher.give_up(plan, "the daemon is about to stop")
                raise OperationFailed(reason="the daemon is about to stop") from None
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
