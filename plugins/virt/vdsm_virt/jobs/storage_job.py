"""Work on the disks of running machines that libvirt carries on: snapshots, merges, mirrors, backups.

Each is a task that holds its machine. The verb that begins it waits until libvirt has begun, so that its
caller gets libvirt's refusal; from then on the task follows libvirt, also in the daemons to come.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar

import msgspec

from vdsm_bridge.call.context import Context
from vdsm_bridge.work import Again, EveryVerbExcept, LongWork, Plan, Progress, Step, begin_task, exclusive
from vdsm_core.errors import (
    HypervisorError,
    HypervisorLost,
    HypervisorUnavailable,
    NoSuchTask,
    TaskStateError,
    VdsmError,
)
from vdsm_core.hypervisor import (
    BlockJob,
    DomainBlockJob,
    DomainJob,
    DomainJobCompleted,
    DomainLifecycle,
    HypervisorEvent,
    NoSuchDomain,
    OperationInvalid,
    Pending,
)
from vdsm_core.work.record import TaskRecord
from vdsm_core.work.tasks import Tasks
from vdsm_virt.errors import reason_of
from vdsm_virt.jobs.drives import Drives
from vdsm_virt.jobs.errors import JobExists, StorageBusy
from vdsm_virt.jobs.libvirt_job import LibvirtJob
from vdsm_virt.jobs.snapshots.filesystems import Filesystems
from vdsm_virt.jobs.volumes import Volumes
from vdsm_virt.machine.machines import Machines
from vdsm_virt.machine.references import Machine as MachineReference

log = logging.getLogger(__name__)

J = TypeVar("J", bound="StorageJob")

#: Verbs that libvirt cannot carry out beside its work on a machine's disks, and their action for messages.
_REFUSED: Final = {"VM.migrate": "migrate", "VM.hibernate": "hibernate"}
_NOT_BEGUN: Final = "the daemon ended before libvirt had begun"
#: Seconds that a verb waits at the most for the beginning, if its caller sets no deadline.
_PATIENCE: Final = 60.0


class StorageParts(msgspec.Struct, frozen=True):
    """What every such work needs.

    :ivar machines: the machines of this host
    :ivar drives: reads their disks
    :ivar volumes: storage's hooks
    :ivar filesystems: freezes and thaws guests
    :ivar changed: called with the id of a machine whose disks use other volumes now
    """

    machines: Machines
    drives: Drives
    volumes: Volumes
    filesystems: Filesystems
    changed: Callable[[str], None]


class StorageJob(LibvirtJob):
    """One piece of work on the disks of a machine, in one life of the daemon.

    :param vm_id: the machine
    :param work: what it is, for messages: "a backup"
    :param verb: full name of the verb that begins such work

    :ivar begun: set once libvirt has begun, or the task is over
    :ivar error: why the task failed; None while it has not
    :ivar memory: of the task: what its steps leave for each other, also in later daemons
    """

    #: Seconds between two looks at work that reports its end by an event.
    interval = 2.0

    def __init__(self, vm_id: str, work: str, verb: str, parts: StorageParts, *, resumed: bool) -> None:
        super().__init__(f"{work[0].upper()}{work[1:]} of machine {vm_id}", verb, resumed=resumed)
        self.vm_id = vm_id
        self.work = work
        self.verb = verb
        self.task_id = ""
        self.begun = threading.Event()
        self.error: VdsmError | None = None
        self.memory: dict[str, Any] = {}
        self.parts = parts
        self._not_begun = _NOT_BEGUN

    def start(self) -> Pending | None:
        """Give the work to libvirt; see `begin`."""
        raise NotImplementedError

    def is_done(self) -> bool:
        """Return whether libvirt's document of the machine shows that the work was done."""
        raise NotImplementedError

    def task_steps(self) -> tuple[Step, ...]:
        """Return the steps of the task."""
        raise NotImplementedError

    def arguments(self) -> str:
        """Return JSON from which the job can be made again after a restart."""
        raise NotImplementedError

    def refusal(self, verb: str) -> VdsmError | None:
        """Return the error of a verb that cannot run meanwhile; None: it waits."""
        if verb in _REFUSED:
            return StorageBusy(vm_id=self.vm_id, action=_REFUSED[verb], work=self.work)
        return None

    def beside(self) -> LongWork:
        """Return what may run meanwhile: everything but what moves the machine away."""
        return LongWork(beside=EveryVerbExcept(*_REFUSED), refuses=self.refusal)

    def plan(self, ended: Callable[[TaskRecord], None]) -> Plan:
        """Return the plan of the task."""
        return Plan(
            steps=self.task_steps(),
            locks=(exclusive(MachineReference(self.vm_id)),),
            others=self.beside(),
            ended=ended,
            listed=False,
            # The verb that waits for its beginning holds the machine.
            preempts=True,
        )

    def begin(self) -> Pending | Again | None:
        """Give the work to libvirt.

        A later daemon does not begin what the first one had not: its caller has got no reply, and may have
        called again.
        """
        if self.resumed:
            try:
                done = self.is_done()
            except HypervisorUnavailable as error:
                log.debug("%s waits for libvirt: %s", self._label, error)
                return Again(after=self.interval)
            if not done:
                raise self.failure(self._not_begun)
            return None
        try:
            pending = self.start()
        except HypervisorLost as error:
            # It may have begun: found out as after a crash of the daemon.
            self.resumed, self._not_begun = True, str(error)
            return Again(after=self.interval)
        except HypervisorError as error:
            # A refusal: what libvirt does on the disk is the work of others, and is not taken back.
            self.memory["over"] = True
            raise self.failure(reason_of(error)) from error
        self.begun.set()
        return pending

    def explained(self, do: Callable[[Progress], Any]) -> Callable[[Progress], Any]:
        """Keep the reason of a failure, and the memory of the task."""
        run = super().explained(do)

        def noted(progress: Progress) -> Any:
            self.memory = progress.memory
            try:
                result = run(progress)
            except VdsmError as error:
                self.error = self.error or error
                raise
            # A step that met libvirt away is carried out again.
            self.error = None
            return result

        return noted

    def freezing(self, *, required: bool) -> tuple[Step, Step]:
        """Return the steps that freeze the guest's file systems and thaw them.

        :param required: whether a guest that cannot be frozen ends the task
        """

        def freeze(progress: Progress) -> None:
            if required:
                self.parts.filesystems.freeze(self.vm_id)
            else:
                progress.memory["frozen"] = self.parts.filesystems.try_freeze(self.vm_id)

        def thaw(_progress: Progress) -> None:
            self.parts.filesystems.try_thaw(self.vm_id)

        return (
            Step(name="freeze the file systems", do=self.explained(freeze), undo=thaw, repeatable=True),
            Step(
                name="thaw the file systems", do=thaw, undo=_undo_nothing, repeatable=True, defers_stop=True
            ),
        )


def _undo_nothing(_progress: Progress) -> None:
    """Thawing is what undoing would do."""


class StorageJobs:
    """Begins such work, continues that of earlier daemons, and finds what is under way."""

    def __init__(self, machines: Machines) -> None:
        self._machines = machines
        self._known: dict[str, StorageJob] = {}
        self._lock = threading.Lock()
        self._planners: dict[str, Callable[[str], StorageJob]] = {}
        self._withdraw: list[Callable[[float], None]] = []

    def resume_with(self, verb: str, make: Callable[[str], StorageJob]) -> None:
        """Name the function that makes a job of an earlier daemon again; before `start`.

        :param make: receives what `StorageJob.arguments` returned
        """
        self._planners[verb] = make

    def start(self) -> None:
        """Offer to continue the work of an earlier daemon."""
        self._withdraw = [
            self._machines.work.tasks.offer(verb, self._resumer(make))
            for verb, make in self._planners.items()
        ]

    def stop(self, grace: float) -> None:
        """Leave the work to libvirt, and to the next start."""
        for withdraw in self._withdraw:
            withdraw(grace)
        self._withdraw = []

    def submit(self, job: StorageJob, context: Context) -> None:
        """Submit the task of a job.

        :raises JobExists: its id is that of another host job
        :raises VdsmError: other work on the machine refuses it, or it cannot be stored
        """
        plan = job.plan(lambda record: self._ended(job, record))
        if plan.job is not None:
            check_job_id(self._machines.work.tasks, plan.job.id)
        job.task_id = begin_task(self._machines.work, job.verb, job.arguments(), plan, context)
        with self._lock:
            if not job.ended.is_set():
                self._known[job.task_id] = job

    def begin(self, job: StorageJob, context: Context) -> None:
        """Submit the task of a job; return once libvirt has begun.

        :raises VdsmError: it did not begin, or was over with an error before that was seen
        """
        self.submit(job, context)
        tasks = self._machines.work.tasks
        if not job.begun.wait(context.remaining(_PATIENCE)):
            with contextlib.suppress(TaskStateError, NoSuchTask):  # it is over just now
                tasks.abort(job.task_id)
            raise job.failure("libvirt, or other work on the machine, did not let it begin in time")
        if job.error is not None:
            raise job.error

    def running(self, kind: type[J], vm_id: str = "") -> list[J]:
        """Return the work of one kind that is under way, on one machine or on all."""
        with self._lock:
            jobs = list(self._known.values())
        return [job for job in jobs if isinstance(job, kind) and vm_id in ("", job.vm_id)]

    def handle(self, event: HypervisorEvent) -> None:
        """Look at work at once of which libvirt reports that it may have ended."""
        if isinstance(event, DomainBlockJob | DomainJobCompleted) or (
            isinstance(event, DomainLifecycle) and event.event in ("stopped", "resumed")
        ):
            with self._lock:
                jobs = [job for job in self._known.values() if job.vm_id == event.uuid]
            for job in jobs:
                self._machines.work.tasks.wake(job.task_id)

    def _resumer(self, make: Callable[[str], StorageJob]) -> Callable[[TaskRecord], Plan]:
        def resume(record: TaskRecord) -> Plan:
            job = make(record.arguments)
            job.task_id = record.id
            job.memory = msgspec.json.decode(record.memory)
            job.begun.set()
            with self._lock:
                self._known[record.id] = job
            return job.plan(lambda ended: self._ended(job, ended))

        return resume

    def _ended(self, job: StorageJob, record: TaskRecord) -> None:
        with self._lock:
            self._known.pop(job.task_id, None)
            job.ended.set()
        if record.state != "finished" and job.error is None:
            job.error = job.failure(record.message)
        job.begun.set()


def check_job_id(tasks: Tasks, job_id: str) -> None:
    """Refuse the id of a host job that is remembered.

    :raises JobExists: there is one
    """
    if any(record.job is not None and record.job.id == job_id for record in tasks.all()):
        raise JobExists(job_id=job_id)


def as_domain_job(job: BlockJob) -> DomainJob:
    """Return a job on one disk as the job of its domain that `LibvirtJob` follows."""
    return DomainJob(
        state="running",
        operation=job.type,
        total=job.total,
        processed=job.done,
        remaining=max(0, job.total - job.done),
    )


def report_processed(job: DomainJob, progress: Progress) -> None:
    """Report the share that is processed; 100 % is reported by the end of the task only."""
    if job.total:
        progress.report(min(99, 100 * job.processed // job.total))


@contextlib.contextmanager
def domain_of(vm_id: str) -> Iterator[None]:
    """Raise `NoSuchDomain` for a machine that has ended, so that a job concludes how it ended."""
    try:
        yield
    except OperationInvalid:
        # libvirt's error for work on a domain that does not run any more.
        raise NoSuchDomain(uuid=vm_id) from None
