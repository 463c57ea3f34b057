"""Tasks: long work with an id, progress, a result, and a memory that outlives the daemon.

A task is written to the state store before it starts. States and their spelling are VDSM's. After a crash
a task that had not begun starts, one whose verb is resumable starts again; any other ends as failed, and
says so.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, ClassVar, Final, Literal

import msgspec

from vdsm_core.errors import (
    NoSuchTask,
    ResourceExhausted,
    StateUnavailable,
    TaskInterrupted,
    TaskStateError,
    UnexpectedError,
    VdsmError,
)
from vdsm_core.events import EventBus, EventParams
from vdsm_core.state import StateStore

log = logging.getLogger(__name__)

State = Literal["queued", "running", "aborting", "finished", "failed", "recovered"]
#: Seconds between two events about the progress of one task; a change of its state is told at once.
PROGRESS_INTERVAL: Final = 0.2
#: VDSM's terminal states; everything else is on its way.
FINAL: Final = frozenset({"finished", "failed", "recovered"})
#: VDSM's end and start texts.
_STARTING: Final = "Task is initializing"
_DONE: Final = "1 jobs completed successfully"
_KEEP: Final = "INSERT OR REPLACE INTO tasks VALUES (?, ?)"


class TaskAborted(VdsmError):
    """The task was stopped on request. Facts: `task_id`."""

    slug = "task-aborted"
    code = 411
    template = "Task '{task_id}' was stopped on request"


class TaskRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One task. Times are Unix times in seconds, `ended` 0 while it runs; `result` is JSON text."""

    id: str
    verb: str
    owner: str
    state: State = "queued"
    progress: int = 0
    message: str = _STARTING
    code: int = 0
    slug: str = ""
    arguments: str = "{}"
    result: str = ""
    started: float = 0.0
    ended: float = 0.0

    @property
    def done(self) -> bool:
        """Whether it has come to its end."""
        return self.state in FINAL


class TaskStatusEvent(EventParams, frozen=True):
    """A task changed its state or made progress. `progress` is in percent."""

    component: ClassVar[str] = "task"
    operation: ClassVar[str] = "status"
    verb: str
    state: State
    progress: int
    message: str
    code: int


class Progress:
    """What a running task's function is given: report progress, ask whether it shall stop."""

    def __init__(self, task_id: str, report: Callable[[int, str], None], stop: threading.Event) -> None:
        self.task_id = task_id
        self._report = report
        self._stop = stop

    def report(self, percent: int, message: str = "") -> None:
        """Tell how far the work is.

        :param percent: 0 to 100
        :raises TaskAborted: somebody asked to stop the task
        """
        self.check()
        self._report(min(100, max(0, percent)), message)

    def check(self) -> None:
        """Raise `TaskAborted` if somebody asked to stop the task."""
        if self._stop.is_set():
            raise TaskAborted(task_id=self.task_id)

    def sleep(self, seconds: float) -> None:
        """Wait, but not beyond a request to stop."""
        self._stop.wait(seconds)
        self.check()


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What a task does: `run(progress)` returns the JSON text of its result; `revert()` rolls it back."""

    run: Callable[[Progress], str]
    revert: Callable[[], None] | None = None
    resumable: bool = False


def _status(record: TaskRecord) -> TaskStatusEvent:
    return TaskStatusEvent(
        verb=record.verb,
        state=record.state,
        progress=record.progress,
        message=record.message,
        code=record.code,
    )


def _may_start(record: TaskRecord, job: Job) -> bool:
    """Whether a task that the end of the daemon met may start (again) with the next one."""
    return record.state == "queued" or (record.state == "running" and job.resumable)


class Tasks:
    """All tasks of the host.

    :param workers: tasks that run at the same time; others are queued
    :param limit: tasks kept at the most, unfinished ones included
    :param keep: seconds that a finished task is remembered
    """

    def __init__(
        self,
        state: StateStore,
        events: EventBus,
        *,
        workers: int = 10,
        limit: int = 500,
        keep: float = 604_800,
    ) -> None:
        self._state = state
        self._events = events
        self._limit = limit
        self._keep = keep
        self._lock = threading.Lock()
        self._records: dict[str, TaskRecord] = {}
        self._jobs: dict[str, tuple[Job, threading.Event]] = {}
        self._told: dict[str, float] = {}
        #: Progress that is told a little later, so that there is not too much of it.
        self._late: dict[str, threading.Timer] = {}
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="task")
        self._running: set[Future[None]] = set()
        self._stopping = False
        #: Tasks whose last change is only in memory, since the store refused it.
        self._unstored: set[str] = set()

    def start(self, job_of: Callable[[str, str], Job | None]) -> None:
        """Read what the store knows; deal with tasks that a crash interrupted.

        :param job_of: gives the job for a verb's name and its arguments (JSON), None if the verb is gone
        """
        self._events.provide(TaskStatusEvent.component, [TaskStatusEvent.operation], self._statuses)
        self._state.migrate("tasks", ["CREATE TABLE tasks (id TEXT PRIMARY KEY, record BLOB NOT NULL)"])
        for (blob,) in self._state.rows("SELECT record FROM tasks ORDER BY rowid"):
            try:
                record = msgspec.json.decode(blob, type=TaskRecord)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                log.error("A task in the state store cannot be read, and is left out: %s", error)  # noqa: TRY400
                continue
            self._records[record.id] = record
        for record in list(self._records.values()):
            job = job_of(record.verb, record.arguments)
            if job is not None:
                self._jobs[record.id] = (job, threading.Event())
            if record.done:
                continue
            if job is not None and _may_start(record, job):
                log.info("Task %s (%s) starts again after an interruption", record.id, record.verb)
                self._launch(record.id)
            else:
                left = f"it stood at {record.progress} %, and nothing was rolled back"
                self._end(record.id, "failed", TaskInterrupted(task_id=record.id, left=left))

    def stop(self, grace: float = 4.0) -> None:
        """End: running tasks are asked to stop and waited for, at most `grace` seconds.

        A task that is resumable goes on at the next start; so does one that was queued. Another one ends as
        any task that is stopped, or, if it does not stop in time, fails at the next start.
        """
        self._stopping = True
        for _, stop in list(self._jobs.values()):
            stop.set()
        self._pool.shutdown(wait=False, cancel_futures=True)
        for timer in list(self._late.values()):
            timer.cancel()
        if left := wait(list(self._running), grace).not_done:
            log.warning("%d tasks did not stop within %.1f s", len(left), grace)

    def submit(self, verb: str, owner: str, arguments: str, job: Job) -> str:
        """Remember a task and start it as soon as a worker is free; its id.

        :param arguments: JSON, to start it again after a crash
        :raises ResourceExhausted: the limit of unfinished tasks is reached
        :raises StateUnavailable: the task cannot be stored; it does not begin
        """
        record = TaskRecord(
            id=str(uuid.uuid4()), verb=verb, owner=owner, arguments=arguments, started=time.time()
        )
        with self._lock:
            self._make_room()
            self._state.write(_KEEP, record.id, msgspec.json.encode(record))
            self._records[record.id] = record
            self._jobs[record.id] = (job, threading.Event())
            self._tell(record)
        self._launch(record.id)
        return record.id

    def get(self, task_id: str) -> TaskRecord:
        """One task.

        :raises NoSuchTask: there is none of this id
        """
        try:
            return self._records[task_id]
        except KeyError:
            raise NoSuchTask(task_id=task_id) from None

    def all(self) -> list[TaskRecord]:
        """Every task that is remembered, oldest first."""
        return list(self._records.values())

    def abort(self, task_id: str) -> None:
        """Ask a task to stop; it does so at its next report of progress.

        :raises TaskStateError: it is over
        """
        record = self._change(task_id, "stop", lambda r: not r.done, "it is over", state="aborting")
        self._jobs[record.id][1].set()

    def revert(self, task_id: str) -> None:
        """Roll back what a finished task did.

        :raises TaskStateError: it is not finished, or its verb cannot roll back
        """
        record = self.get(task_id)
        job = self._jobs.get(task_id)
        if record.state != "finished":
            raise self._state_error(record, "revert", "only a finished task can be reverted")
        if job is None or job[0].revert is None:
            raise self._state_error(record, "revert", f"{record.verb} offers no roll-back")
        job[0].revert()
        self._update(task_id, state="recovered", message="Task was reverted")

    def clear(self, task_id: str) -> None:
        """Forget a finished task.

        :raises TaskStateError: it is not over yet
        """
        with self._lock:
            record = self.get(task_id)
            if not record.done:
                raise self._state_error(record, "clear", "it is not over yet")
            self._forget(task_id)

    def _launch(self, task_id: str) -> None:
        future = self._pool.submit(self._run, task_id)
        self._running.add(future)
        future.add_done_callback(self._running.discard)

    def _make_room(self) -> None:
        now = time.time()
        for record in [r for r in self._records.values() if r.done and r.ended + self._keep < now]:
            self._forget(record.id)
        while len(self._records) >= self._limit:
            oldest = next((r for r in self._records.values() if r.done), None)
            if oldest is None:
                raise ResourceExhausted(reason=f"{self._limit} tasks are unfinished")
            self._forget(oldest.id)

    def _forget(self, task_id: str) -> None:
        self._state.write("DELETE FROM tasks WHERE id = ?", task_id)
        self._records.pop(task_id, None)
        self._jobs.pop(task_id, None)
        self._told.pop(task_id, None)
        if (timer := self._late.pop(task_id, None)) is not None:
            timer.cancel()

    def _run(self, task_id: str) -> None:
        job, stop = self._jobs[task_id]
        progress = Progress(
            task_id, lambda percent, text: self._update(task_id, progress=percent, message=text), stop
        )
        try:
            progress.check()
            self._update(task_id, state="running")
            result = job.run(progress)
        except TaskAborted as error:
            if not (self._stopping and _may_start(self._records[task_id], job)):
                self._end(task_id, "recovered", error)
        except VdsmError as error:
            self._end(task_id, "failed", error)
        except Exception:
            incident = uuid.uuid4().hex[:12]
            log.exception("Task %s failed unexpectedly, incident %s", task_id, incident)
            self._end(task_id, "failed", UnexpectedError(verb=self._records[task_id].verb, incident=incident))
        else:
            self._update(
                task_id, state="finished", progress=100, message=_DONE, result=result, ended=time.time()
            )

    def _end(self, task_id: str, state: State, error: VdsmError) -> None:
        self._update(
            task_id, state=state, code=error.code, slug=error.slug, message=str(error), ended=time.time()
        )

    def _change(
        self, task_id: str, action: str, allowed: Callable[[TaskRecord], bool], reason: str, **changes: Any
    ) -> TaskRecord:
        with self._lock:
            record = self.get(task_id)
            if not allowed(record):
                raise self._state_error(record, action, reason)
            record = msgspec.structs.replace(record, **changes)
            self._records[task_id] = record
            self._store(record)
        return record

    def _update(self, task_id: str, **changes: Any) -> None:
        with self._lock:
            if task_id not in self._records:  # cleared meanwhile
                return
            if changes.get("message") == "":
                del changes["message"]
            record = self._records[task_id] = msgspec.structs.replace(self._records[task_id], **changes)
            if "state" in changes:
                self._store(record)
            elif (early := self._told.get(task_id, 0.0) + PROGRESS_INTERVAL - time.monotonic()) <= 0:
                self._tell_progress(record)
            elif task_id not in self._late and not self._stopping:
                timer = threading.Timer(early, lambda: self._tell_late(task_id, timer))
                self._late[task_id] = timer
                timer.start()

    def _store(self, record: TaskRecord) -> None:
        # Under the lock, so that the store and the subscribers see every change in its order.
        try:
            self._state.write(_KEEP, record.id, msgspec.json.encode(record))
            self._unstored.discard(record.id)
            for task_id in list(self._unstored):
                if (late := self._records.get(task_id)) is not None:
                    self._state.write(_KEEP, task_id, msgspec.json.encode(late))
                self._unstored.discard(task_id)
        except StateUnavailable as error:
            # The work goes on all the same; only a crash before the next change would show the state before.
            if not self._unstored:
                log.warning("Changes of tasks are only in memory: %s", error)
            self._unstored.add(record.id)
        self._tell(record)

    def _tell_progress(self, record: TaskRecord) -> None:
        # Not worth to wait for the disk, but a crash shall not make the task say that it stood at 0 %.
        self._state.write_soon(_KEEP, record.id, msgspec.json.encode(record))
        self._tell(record)

    def _tell_late(self, task_id: str, timer: threading.Timer) -> None:
        with self._lock:
            if self._late.get(task_id) is not timer:
                return  # while it waited for the lock, the progress was told, and maybe another timer set
            del self._late[task_id]
            if not self._stopping and task_id in self._records:
                self._tell_progress(self._records[task_id])

    def _tell(self, record: TaskRecord) -> None:
        if (timer := self._late.pop(record.id, None)) is not None:
            timer.cancel()
        self._told[record.id] = time.monotonic()
        self._events.publish(_status(record), record.id)

    def _statuses(self, mark: Callable[[], None]) -> list[tuple[str, EventParams]]:
        """The tasks that are not over yet, as the events that would say so; see `EventBus.provide`."""
        with self._lock:
            mark()
            return [(record.id, _status(record)) for record in self._records.values() if not record.done]

    @staticmethod
    def _state_error(record: TaskRecord, action: str, reason: str) -> TaskStateError:
        return TaskStateError(task_id=record.id, state=record.state, action=action, reason=reason)
