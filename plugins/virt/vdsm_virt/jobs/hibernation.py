"""Hibernation: the state of a machine is saved to a volume, and the machine ends."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final
from xml.etree.ElementTree import Element

import msgspec

from vdsm_bridge.call.context import Context
from vdsm_bridge.work import LongWork, Plan, begin_task, exclusive
from vdsm_core.errors import VdsmError
from vdsm_core.hooks.specs.vm import vdsm_after_vm_hibernate, vdsm_before_vm_hibernate
from vdsm_core.hypervisor import DomainJob, NoSuchDomain, OperationInvalid, Pending
from vdsm_core.work.record import TaskRecord
from vdsm_core.work.steps import Again, Progress, Step
from vdsm_virt.domain.elements import parse
from vdsm_virt.errors import (
    HibernationFailed,
    MigrationInProgress,
    SavingState,
    VMIsDown,
)
from vdsm_virt.jobs.libvirt_job import LOOK, LibvirtJob
from vdsm_virt.machine import transitions
from vdsm_virt.machine.machine import ENDINGS, Machine
from vdsm_virt.machine.machines import Machines
from vdsm_virt.machine.references import Machine as MachineReference
from vdsm_virt.saved.volumes import Handle, SavedVolumes

log = logging.getLogger(__name__)

VERB: Final = "VM.hibernate"
#: Statuses from which a machine can be saved; any other one is about to change.
_SAVABLE: Final = ("Up", "Powering up", "Paused")
#: Seconds for libvirt's event of what a call has just done; after that the state is read instead.
_EVENT: Final = 2.0
_SAVED: Final = ENDINGS["saved"]


class HibernationOrder(msgspec.Struct, frozen=True, kw_only=True):
    """What a hibernation is about, as its task keeps it.

    :ivar handle: VDSM's text for the volumes
    :ivar resumes: the guest ran before, and is resumed if it cannot be saved
    """

    vm_id: str
    vm_name: str
    handle: str
    resumes: bool


class Hibernation(LibvirtJob):
    """The hibernation of one machine, in one life of the daemon."""

    def __init__(
        self, order: HibernationOrder, machines: Machines, volumes: SavedVolumes, *, resumed: bool = False
    ) -> None:
        super().__init__(f"The hibernation of machine {order.vm_id}", VERB, resumed=resumed)
        self.order = order
        self._machines = machines
        self._volumes = volumes
        self._handle = Handle.read(order.handle, "hibernationVolHandle")
        self._path = ""
        self._document: Element | None = None

    @property
    def vm_id(self) -> str:
        """The machine."""
        return self.order.vm_id

    def plan(self, ended: Callable[[TaskRecord], None]) -> Plan:
        """Return the plan of the task; see `Plan`."""
        prepare = Step(name="prepare", do=self.explained(self._prepare), undo=self._stay, repeatable=True)
        return Plan(
            steps=self.steps(prepare, self._settle),
            locks=(exclusive(MachineReference(self.vm_id)),),
            others=LongWork(beside=frozenset(), refuses=self._refusal),
            ended=ended,
            listed=False,
        )

    def begin(self) -> Pending | None:
        """Let libvirt save the machine."""
        return self._machines.hypervisor.saved_states.begin_save(self.vm_id, self._memory_path())

    def read(self) -> DomainJob | None:
        """Return the job if libvirt is saving the machine."""
        job = self._machines.hypervisor.jobs.get(self.vm_id)
        return job if job.state == "running" and job.operation == "save" else None

    def abort(self) -> None:
        """Abort libvirt's job."""
        self._machines.hypervisor.jobs.abort(self.vm_id)

    def observe(self, job: DomainJob, progress: Progress) -> None:
        """Note how far it is."""
        self._machines.inventory.update(self.vm_id, transitions.saving)
        if job.total:
            progress.report(max(0, min(99, 100 - 100 * job.remaining // job.total)))

    def conclude(self, unexplained: str) -> Again | None:
        """Find out from the machine how a hibernation ended whose end was not reported."""
        inventory = self._machines.inventory
        if not inventory.is_complete:
            return Again(after=LOOK)
        inventory.wait(self.vm_id, _is_off, _EVENT)
        machine = inventory.find(self.vm_id)
        if machine is None or machine.active:
            raise self.failure(unexplained)
        if machine.exit != _SAVED:
            raise self.failure("the machine ended")
        return None

    def failure(self, reason: str) -> VdsmError:
        """Return the error of a hibernation that failed."""
        return HibernationFailed(vm_id=self.vm_id, reason=reason)

    # The steps.

    def _prepare(self, progress: Progress) -> None:
        """Show the machine as being saved; write what it is created with again."""
        progress.check()
        inventory, hypervisor = self._machines.inventory, self._machines.hypervisor
        machine = inventory.update(self.vm_id, transitions.saving)
        if self.resumed and machine is not None and not machine.active:
            return  # libvirt was done before this daemon began
        if machine is None or machine.status != "Saving State":
            raise self.failure("it does not run")
        machine = self._machines.mirror.fresh(machine)
        text = hypervisor.definitions.xml(self.vm_id, migratable=True)
        self._document = parse(text)
        custom = machine.details.metadata.custom if machine.details and machine.details.metadata else {}
        self._machines.hooks.run(vdsm_before_vm_hibernate, self.vm_id, self._document, dict(custom))
        parameters = {
            "vmId": self.vm_id,
            "vmName": machine.name,
            "elapsedTimeOffset": transitions.elapsed(machine),
            "_srcDomXML": text,
        }
        self._volumes.write_parameters(self.vm_id, self._handle.parameters, parameters)
        self._path = self._volumes.prepare(self.vm_id, self._handle.memory)

    def _memory_path(self) -> str:
        self._path = self._path or self._volumes.prepare(self.vm_id, self._handle.memory)
        return self._path

    def _settle(self, progress: Progress) -> str:
        """Show the machine as saved."""
        inventory = self._machines.inventory
        if not inventory.wait(self.vm_id, _is_off, _EVENT):
            self._machines.watcher.settle(self.vm_id)
        self._volumes.release(self.vm_id, self._handle.memory)
        progress.report(100)
        log.info("The state of machine %s (%s) is saved", self.vm_id, self.order.vm_name)
        if self._document is not None:
            machine = inventory.find(self.vm_id)
            details = machine.details if machine is not None else None
            custom = details.metadata.custom if details is not None and details.metadata is not None else {}
            self._machines.hooks.run(vdsm_after_vm_hibernate, self.vm_id, self._document, dict(custom))
        return ""

    def _stay(self, progress: Progress) -> None:
        """Undo the preparation: the machine is as it was before."""
        self.settle_failure(str(progress.memory.get("reason", "")))

    def settle_failure(self, reason: str) -> None:
        """Let the guest run again that could not be saved, whatever of it fails."""
        log.warning("Machine %s (%s) is not saved: %s", self.vm_id, self.order.vm_name, reason)
        self._volumes.release(self.vm_id, self._handle.memory)
        self._machines.inventory.update(self.vm_id, transitions.not_saved)
        try:
            domain = self._machines.hypervisor.domains.get(self.vm_id)
            if self.order.resumes and domain.state == "paused":
                self._machines.hypervisor.domains.resume(self.vm_id)
        except (NoSuchDomain, OperationInvalid) as error:
            log.info("Machine %s is not resumed: %s", self.vm_id, error)
        except VdsmError as error:
            log.warning("Machine %s cannot be resumed: %s", self.vm_id, error)
        self._machines.watcher.reread_soon(self.vm_id)

    def _refusal(self, verb: str) -> VdsmError | None:
        return None if verb.startswith("VM.shutdown (") else SavingState(vm_id=self.vm_id, action="change")


class Hibernations:
    """Begins hibernations as tasks of the engine, which are not listed among the tasks of the host."""

    def __init__(self, machines: Machines) -> None:
        self._machines = machines
        self._volumes = SavedVolumes(machines.hooks)
        self._withdraw: Callable[[float], None] = lambda _grace: None

    def start(self) -> None:
        """Offer to continue the hibernations of an earlier daemon."""
        self._withdraw = self._machines.work.tasks.offer(VERB, self._resume)

    def stop(self, grace: float) -> None:
        """Leave the hibernations to libvirt, and to the next start."""
        self._withdraw(grace)

    def hibernate(self, vm_id: str, handle: str, context: Context) -> None:
        """Begin to save a machine."""
        Handle.read(handle, "hibernationVolHandle")
        machine = self._machines.inventory.get(vm_id)
        if machine.status == "Down":
            raise VMIsDown(vm_id=vm_id, action="hibernate")
        if machine.outgoing or machine.incoming:
            raise MigrationInProgress(vm_id=vm_id, action="hibernate")
        if machine.status not in _SAVABLE:
            raise HibernationFailed(vm_id=vm_id, reason=f"its status is '{machine.status}'")
        order = HibernationOrder(
            vm_id=vm_id, vm_name=machine.name, handle=handle, resumes=machine.status != "Paused"
        )
        hibernation = Hibernation(order, self._machines, self._volumes)
        arguments = msgspec.json.encode(order).decode()
        begin_task(self._machines.work, VERB, arguments, self._plan(hibernation), context)

    def _plan(self, hibernation: Hibernation) -> Plan:
        return hibernation.plan(lambda _record: hibernation.ended.set())

    def _resume(self, record: TaskRecord) -> Plan:
        """Plan a hibernation of an earlier daemon, which libvirt may have carried on."""
        order = msgspec.json.decode(record.arguments, type=HibernationOrder)
        return self._plan(Hibernation(order, self._machines, self._volumes, resumed=True))


def _is_off(machine: Machine | None) -> bool:
    return machine is None or not machine.active
