"""One migration away from this host: what a task of the engine does at each of its steps."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final, Literal

import msgspec

from vdsm_core.errors import OperationFailed, VdsmError
from vdsm_core.hypervisor import (
    DomainJob,
    Migration,
    NoSuchDomain,
    OperationInvalid,
    OperationUnsupported,
    Pending,
)
from vdsm_core.work.locks import LongWork
from vdsm_core.work.record import TaskRecord
from vdsm_core.work.references import Lock
from vdsm_core.work.steps import Again, Plan, Progress, Step
from vdsm_virt.api.events import VmMigrationFailed, VmMigrationStatus
from vdsm_virt.api.migration import ConvergenceAction, ConvergenceSchedule, InitialAction
from vdsm_virt.api.scalars import whole
from vdsm_virt.errors import DestinationRefused, MigrationCanceled, MigrationFailed, MigrationStepFailed
from vdsm_virt.jobs.libvirt_job import LOOK, ON_REQUEST, LibvirtJob
from vdsm_virt.jobs.migration.convergence import Convergence
from vdsm_virt.jobs.migration.peers import Peers
from vdsm_virt.jobs.migration.place import Place
from vdsm_virt.jobs.migration.placement import Placement
from vdsm_virt.jobs.migration.slots import Slots
from vdsm_virt.jobs.migration.source_hooks import SourceHooks
from vdsm_virt.machine import transitions
from vdsm_virt.machine.machine import MIGRATED, Machine
from vdsm_virt.machine.machines import Machines

log = logging.getLogger(__name__)

#: Seconds for libvirt's events of what a call has just done; after that the state is read instead.
_EVENT: Final = 2.0
VERB: Final = "VM.migrate"
_NO_JOB: Final = DomainJob(state="none", operation="unknown")

State = Literal["waiting", "running", "done", "failed"]


class MigrationOrder(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a migration is about, as its task keeps it.

    :ivar ours: whether this daemon defined the machine
    :ivar how: None if another client of libvirt began it
    :ivar placement: where the parts of the machine run on the destination
    :ivar peer: the destination whose API is called; empty: the caller of `VM.migrate` has called it
    :ivar incoming_limit: of `VM.migrationCreate`; 0: as configured there
    :ivar limit: how many migrations may run, this one included; 0 for any number
    :ivar patience: seconds without progress after which it is cancelled
    :ivar timeout: seconds that it may take in all
    """

    vm_id: str
    vm_name: str
    ours: bool = False
    how: Migration | None = None
    schedule: ConvergenceSchedule = ConvergenceSchedule()
    placement: Placement = Placement()
    peer: str = ""
    incoming_limit: int = 0
    enable_guest_events: bool = False
    limit: int = 0
    patience: float
    timeout: float


class MigrationParts(msgspec.Struct, frozen=True):
    """What every migration works with."""

    machines: Machines
    slots: Slots
    peers: Peers


class Outgoing(LibvirtJob):
    """The migration of one machine, in one life of the daemon.

    :param resumed: whether an earlier daemon began it

    :ivar state: where it stands, for the verbs
    :ivar reason: why it failed
    :ivar progress: percent
    :ivar downtime: milliseconds that the guest was paused; None while that is not known
    :ivar job: what libvirt reported last
    :ivar postcopy: the guest continues on the destination, or was asked to
    :ivar error: what a migration that failed ended with
    """

    def __init__(self, order: MigrationOrder, parts: MigrationParts, *, resumed: bool = False) -> None:
        super().__init__(f"The migration of machine {order.vm_id}", VERB, resumed=resumed)
        self.order = order
        self.vm_id = order.vm_id
        self.task_id = ""
        self.state: State = "waiting"
        self.reason = ""
        self.job = _NO_JOB
        self.progress = 0
        self.downtime: int | None = None
        self._machines = parts.machines
        self.postcopy = False
        self.error: VdsmError | None = None
        self._slots = parts.slots
        self._place = Place(parts.peers, self._machines, order.vm_id, order.peer) if order.peer else None
        self._hooks = SourceHooks(self._machines.machine_hooks, order.vm_id)
        self._convergence = Convergence(order.schedule, order.patience)
        self._started: float | None = None
        self._reported = threading.Event()

    @property
    def destination(self) -> str:
        """The URI of the other host's libvirt; empty if it is not known."""
        return self.order.how.uri if self.order.how is not None else ""

    @property
    def active(self) -> bool:
        """Whether it has not ended."""
        return self.state in ("waiting", "running")

    def plan(self, *, locks: tuple[Lock, ...], others: LongWork, ended: Callable[[TaskRecord], None]) -> Plan:
        """Return the plan of the task; see `Plan`."""
        prepare = Step(name="prepare", do=self.explained(self._prepare), undo=self._stay, repeatable=True)
        return Plan(
            steps=self.steps(prepare, self._settle),
            locks=locks,
            others=others,
            ended=ended,
            listed=False,
            # What another client of libvirt has begun waits for no verb.
            preempts=self.order.how is None,
        )

    def report(self, downtime: int | None) -> None:
        """Note that libvirt has reported the end of the migration.

        :param downtime: milliseconds that the guest was paused
        """
        self.downtime = downtime
        self._reported.set()

    # The steps.

    def _prepare(self, progress: Progress) -> Again | None:
        """Wait for a slot, and prepare the machine."""
        progress.check()
        self.task_id = progress.task_id
        limit = self.order.limit if self.order.how is not None else 0
        wake = lambda: self._machines.work.tasks.wake(progress.task_id)  # noqa: E731 - short, and used twice
        if self._place is not None and (wait := self._place.pause):
            return Again(after=wait)
        if not self._slots.take(self.vm_id, limit, wake):
            return Again(after=LOOK)
        self._mark()
        self._hooks.before(progress.memory, begun=self.order.how is None)
        if self._place is not None:
            again = self._reserve(self._place, progress, wake)
            if again is not None:
                return again
        for action in self.order.schedule.init if self.order.how is not None else ():
            self._set_downtime(action)
        return None

    def _reserve(self, place: Place, progress: Progress, wake: Callable[[], None]) -> Again | None:
        """Have the destination keep a place, before libvirt begins."""
        if place.begin(progress.memory, progress.task_id, self.order, wake):
            return Again(after=LOOK)
        try:
            held = place.result(progress.memory)
        except DestinationRefused as error:
            progress.memory["refused"] = dict(error.facts)
            raise
        if not held:
            # As many machines as the destination allows are on their way to it: let another one try its own.
            self._slots.release(self.vm_id)
            self._hooks.again()
            return Again(after=place.pause)
        return None

    def begin(self) -> Pending | None:
        """Let libvirt migrate the machine."""
        self.state = "running"
        how = self.order.how
        if how is None:
            return None
        if self.order.placement:
            xml = self._machines.hypervisor.definitions.xml(self.vm_id, secure=True, migratable=True)
            try:
                how = msgspec.structs.replace(how, destination_xml=self.order.placement.applied(xml))
            except ValueError as error:
                raise OperationFailed(reason=f"its document cannot be read: {error}") from None
        return self._machines.hypervisor.migrations.begin(self.vm_id, how)

    def read(self) -> DomainJob | None:
        """Return the job if libvirt is migrating the machine away."""
        self.state = "running"
        machine = self._machines.inventory.find(self.vm_id)
        if machine is None and self._machines.inventory.is_complete and not self.resumed:
            return None
        job = self._machines.hypervisor.jobs.get(self.vm_id)
        return job if is_migration(job) else None

    def cancel(self, reason: str) -> None:
        """Have the migration end, unless it is in post-copy: then neither host has a whole machine."""
        if not self.postcopy:
            super().cancel(reason)

    def abort(self) -> None:
        """Abort libvirt's job, which is the migration."""
        self._machines.hypervisor.jobs.abort(self.vm_id)

    def observe(self, job: DomainJob, progress: Progress) -> None:
        """Note how far it is, and act on a lack of progress."""
        # A daemon that resumes the task holds the slot, too, beyond the limit if need be.
        self._slots.take(self.vm_id, 0, lambda: None)
        now = time.monotonic()
        if self._started is None:
            self._started = now - job.elapsed / 1000 if self.resumed else now
        self._mark()
        self.postcopy = self.postcopy or bool(progress.memory.get("postcopy"))
        self._note(job, progress)
        if self.postcopy:
            return
        self._convergence.keep_in(progress.memory)
        try:
            for action in self._convergence.look(job, now):
                self._act(action, progress)
            self._judge(now, self._started)
        except VdsmError as error:
            log.warning("Cannot change the migration of machine %s: %s", self.vm_id, error)

    def conclude(self, unexplained: str) -> Again | None:
        """Find out from the machine how a migration ended whose end was not reported."""
        inventory = self._machines.inventory
        if not inventory.is_complete:
            return Again(after=LOOK)
        machine = inventory.find(self.vm_id)
        if machine is None:
            if not self.resumed:
                raise self.failure("the machine ended")
            # It moved while no daemon ran: libvirt forgets the definition only then.
            return None
        # The events of its end may still be under way.
        inventory.wait(self.vm_id, _is_off, _EVENT)
        machine = inventory.find(self.vm_id)
        if machine is not None and machine.active:
            raise self.failure(unexplained)
        if machine is None or machine.exit != MIGRATED:
            raise self.failure("the machine ended")
        return None

    def failure(self, reason: str) -> VdsmError:
        """Return the error of a migration that failed."""
        return self._error(MigrationFailed, reason)

    def _error(self, kind: type[MigrationFailed], reason: str, **facts: object) -> MigrationFailed:
        destination = self.destination or "another host"
        return kind(**{**facts, "vm_id": self.vm_id, "destination": destination, "reason": reason})

    def _settle(self, progress: Progress) -> str:
        """Show the machine as one that has moved."""
        inventory, order = self._machines.inventory, self.order
        if inventory.find(self.vm_id) is None and order.ours and self.resumed:
            inventory.add(transitions.moved_unseen(order.vm_id, order.vm_name))
        if not inventory.wait(self.vm_id, _is_off, _EVENT):
            inventory.update(self.vm_id, transitions.moved)
        if not self.resumed:
            self._reported.wait(_EVENT)
        self.progress = 100
        self.state = "done"
        progress.report(100)
        log.info(
            "Machine %s (%s) has moved to %s", self.vm_id, order.vm_name, self.destination or "another host"
        )
        self._hooks.after(progress.memory)
        return msgspec.json.encode({"downtime": self.downtime}).decode()

    def _stay(self, progress: Progress) -> None:
        """Undo the preparation: the machine has not moved."""
        memory = progress.memory
        reason = memory.get("reason") or ON_REQUEST
        self.postcopy = self.postcopy or bool(memory.get("postcopy"))
        cancelled = not memory.get("reason") or memory["cancelled"]
        if self._place is not None:
            self._place.give_up(memory)
        if refused := memory.get("refused"):
            self.error = DestinationRefused(**refused)
        elif cancelled:
            self.error = self._error(MigrationCanceled, reason)
        elif memory.get("by_libvirt"):
            self.error = self._error(MigrationStepFailed, reason)
        self.settle_failure(reason, cancelled=cancelled)

    def settle_failure(self, reason: str, *, cancelled: bool) -> None:
        """Show the machine as one that has not moved."""
        if self.state == "failed":
            return
        self.reason = reason
        if self.error is None:
            self.error = self._error(MigrationCanceled if cancelled else MigrationFailed, reason)
        log.warning("Machine %s (%s) has not moved: %s", self.vm_id, self.order.vm_name, reason)
        failed = VmMigrationFailed(
            vm_id=self.vm_id,
            vm_name=self.order.vm_name,
            destination=self.destination,
            reason=reason,
            cancelled=cancelled,
        )
        self._machines.events.publish(failed, self.vm_id)
        self._machines.inventory.update(self.vm_id, lambda machine: transitions.stays(machine, reason))
        # Another client may resume the post-copy of its own migration.
        ends = self.postcopy and self.order.how is not None
        if not (ends and self._machines.watcher.end_postcopy(self.vm_id)):
            self._read_state()
        # Last: a caller that reads it finds the machine in its new state.
        self.state = "failed"

    def _mark(self) -> None:
        self._machines.inventory.update(self.vm_id, transitions.leaving)

    def _judge(self, now: float, started: float) -> None:
        if self.cancelled:
            return
        if seconds := self._convergence.stuck_for(now):
            self.cancel(f"it did not get on for {seconds:.0f} s")
        elif now > started + self.order.timeout:
            self.cancel(f"it was not done within {self.order.timeout:.0f} s")
        if self.cancelled:
            self._abort()

    def _act(self, action: ConvergenceAction, progress: Progress) -> None:
        if self.postcopy or self.cancelled:
            return
        if action.name == "abort":
            self.cancel("the guest writes faster than its memory is sent")
            self._abort()
        elif action.name == "postcopy":
            log.info("Machine %s continues on the destination, its memory follows", self.vm_id)
            # Before the call, whose outcome may be in doubt: a failure then needs a look at the domain.
            self.postcopy = progress.memory["postcopy"] = True
            try:
                self._machines.hypervisor.migrations.start_postcopy(self.vm_id)
            except (OperationInvalid, OperationUnsupported):
                self.postcopy = progress.memory["postcopy"] = False
                raise
        else:
            self._set_downtime(action)

    def _set_downtime(self, action: ConvergenceAction | InitialAction) -> None:
        milliseconds = whole(action.params[0], "convergenceSchedule", 0) if action.params else 0
        log.info("Machine %s may be paused for %d ms when it moves", self.vm_id, milliseconds)
        self._machines.hypervisor.migrations.set_downtime(self.vm_id, milliseconds)

    def _note(self, job: DomainJob, progress: Progress) -> None:
        self.job = job
        if job.total:
            # The guest writes on, so what remains grows at times; the progress does not decrease.
            self.progress = max(self.progress, min(99, 100 - 100 * job.remaining // job.total))
        progress.report(self.progress)
        self._machines.inventory.update(
            self.vm_id, lambda machine: transitions.advanced(machine, self.progress)
        )
        status = VmMigrationStatus(
            vm_id=self.vm_id, vm_name=self.order.vm_name, progress=self.progress, postcopy=self.postcopy
        )
        self._machines.events.publish(status, self.vm_id)

    def _read_state(self) -> None:
        """Show the machine as libvirt has it; later if it does not answer, when all machines are compared."""
        try:
            self._machines.watcher.settle(self.vm_id)
        except NoSuchDomain:
            self._machines.inventory.update(self.vm_id, transitions.moved)
        except VdsmError as error:
            log.warning("Cannot read what became of machine %s: %s", self.vm_id, error)


def is_migration(job: DomainJob) -> bool:
    """Return whether libvirt is busy with moving the domain away."""
    return job.state == "running" and job.operation == "migration-out"


def _is_off(machine: Machine | None) -> bool:
    return machine is None or not machine.active
