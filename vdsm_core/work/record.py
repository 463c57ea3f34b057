"""What is kept of a task, and the events that say how it stands. States and their spelling are VDSM's."""

from __future__ import annotations

from typing import ClassVar, Final, Literal

import msgspec

from vdsm_core.errors import VdsmError
from vdsm_core.events import EventParams
from vdsm_core.work.references import Lock, Reference

State = Literal["queued", "running", "aborting", "finished", "failed", "recovered"]
#: VDSM's states of host jobs.
JobState = Literal["pending", "running", "done", "aborting", "aborted", "failed"]
#: The phase of a task's present step: not begun, within it, or undoing it. Empty in records of earlier
#: releases.
Phase = Literal["", "before", "do", "undo"]
#: VDSM's terminal states; everything else is on its way.
FINAL: Final = frozenset({"finished", "failed", "recovered"})
#: VDSM's start and end texts.
STARTING: Final = "Task is initializing"
DONE: Final = "1 jobs completed successfully"


#: A lock as it is stored. One id is a text by itself, as it was before objects had several.
StoredLock = tuple[str, str | tuple[str, ...], bool]


class TaskAborted(VdsmError):
    """The task was stopped on request. Facts: `task_id`."""

    slug = "task-aborted"
    code = 411
    template = "Task '{task_id}' was stopped on request"


class HostJob(msgspec.Struct, frozen=True, kw_only=True):
    """The public face of a task that VDSM's clients see as a host job, under an id of their own.

    :ivar id: the job's id, a UUID that the client has chosen
    :ivar type: VDSM's word for the part of the host that works on it: "virt", "storage"
    :ivar description: VDSM's words for the work, such as "snapshot_vm"
    """

    id: str
    type: str
    description: str


class TaskRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One task.

    :ivar owner: name of the caller who began it
    :ivar caller: JSON text of whatever else the API needs to know of that caller
    :ivar progress: percent
    :ivar code: VDSM's number of the error that it ends with
    :ivar slug: the error's stable name
    :ivar arguments: JSON text, by wire name
    :ivar result: JSON text
    :ivar started: Unix time in seconds
    :ivar ended: Unix time in seconds, 0 while it runs
    :ivar step: number of the present step, from 0
    :ivar memory: JSON text of what its steps left for each other
    :ivar ends_as: the final state once everything is undone, while it is
    :ivar left: names of the steps whose effects stay
    :ivar locks: kind, id and exclusiveness of each object that it holds; several ids are a list
    :ivar listed: whether clients see it as a task; see `Plan.listed`
    :ivar job: how clients see it as a host job; None if they do not
    """

    id: str
    verb: str
    owner: str
    state: State = "queued"
    progress: int = 0
    message: str = STARTING
    code: int = 0
    slug: str = ""
    arguments: str = "{}"
    result: str = ""
    started: float = 0.0
    ended: float = 0.0
    caller: str = ""
    step: int = 0
    phase: Phase = ""
    memory: str = "{}"
    ends_as: Literal["", "failed", "recovered"] = ""
    left: tuple[str, ...] = ()
    locks: tuple[StoredLock, ...] = ()
    listed: bool = True
    job: HostJob | None = None

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return self.state in FINAL

    @property
    def begun(self) -> bool:
        """Whether its present step may have had an effect. Releases before steps stored no phase."""
        return self.phase in ("do", "undo") or (not self.phase and self.state != "queued")


class TaskStatusEvent(EventParams, frozen=True):
    """A task changed its state or made progress. `progress` is in percent."""

    component: ClassVar[str] = "task"
    operation: ClassVar[str] = "status"
    about: ClassVar[str] = "task"
    verb: str
    state: State
    progress: int
    message: str
    code: int


#: States in VDSM's words for host jobs.
JOB_STATES: Final[dict[State, JobState]] = {
    "queued": "pending",
    "running": "running",
    "aborting": "aborting",
    "finished": "done",
    "failed": "failed",
    "recovered": "aborted",
}


class JobError(msgspec.Struct, frozen=True):
    """Why a job failed: VDSM's number of the error, and its message."""

    code: int
    message: str


class JobStatusEvent(EventParams, frozen=True):
    """A host job has ended. `progress` is in percent; `error` is there for a job that failed."""

    component: ClassVar[str] = "jobs"
    operation: ClassVar[str] = "status"
    about: ClassVar[str] = "job"
    id: str
    status: JobState
    description: str
    job_type: str = msgspec.field(name="job_type")
    progress: int
    error: JobError | msgspec.UnsetType = msgspec.UNSET


def job_status_of(record: TaskRecord, job: HostJob) -> JobStatusEvent:
    """Return how a task stands, as the host job that it is."""
    failed = record.state == "failed"
    return JobStatusEvent(
        id=job.id,
        status=JOB_STATES[record.state],
        description=job.description,
        job_type=job.type,
        progress=record.progress,
        error=JobError(record.code, record.message) if failed else msgspec.UNSET,
    )


def stored_lock(lock: Lock) -> StoredLock:
    """Return a lock as it is stored."""
    kind, *ids = lock.of
    return kind, ids[0] if len(ids) == 1 else tuple(ids), lock.exclusive


def lock_of(stored: StoredLock) -> Lock:
    """Return a lock that was stored."""
    kind, ids, alone = stored
    return Lock(Reference.stored(kind, *((ids,) if isinstance(ids, str) else ids)), alone)


def status_of(record: TaskRecord) -> TaskStatusEvent:
    """Return the event that says how a task stands."""
    return TaskStatusEvent(
        verb=record.verb,
        state=record.state,
        progress=record.progress,
        message=record.message,
        code=record.code,
    )
