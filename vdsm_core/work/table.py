"""The records of all tasks: in memory, in the state store, and as events."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Final

import msgspec

from vdsm_core.errors import NoSuchTask, ResourceExhausted, StateUnavailable, TaskStateError
from vdsm_core.events import EventBus, EventParams
from vdsm_core.state import StateStore
from vdsm_core.work.record import TaskRecord, TaskStatusEvent, job_status_of, status_of
from vdsm_core.work.references import Reference
from vdsm_core.work.scheduler import Scheduler

log = logging.getLogger(__name__)

#: Seconds between two events about the progress of one task; a change of its state is reported at once.
PROGRESS_INTERVAL: Final = 0.2
#: A change of `TaskRecord` that an older release would misread adds a step here.
_TABLES: Final = ("CREATE TABLE tasks (id TEXT PRIMARY KEY, record BLOB NOT NULL)",)
_KEEP: Final = "INSERT OR REPLACE INTO tasks VALUES (?, ?)"
_REPORT: Final = "report of progress"
_NOTHING: Final = (0.0, None)
_STORE: Final = "store tasks"
#: Seconds until the store is tried again that refused a change.
_STORE_AGAIN: Final = 5.0


class TaskReference(Reference):
    """A task."""

    kind = "task"


class TaskTable:
    """Every task that is remembered.

    :param limit: tasks at most, unfinished ones included
    :param keep: seconds that a finished task is remembered
    :param clock: seconds, monotonic
    """

    def __init__(
        self,
        state: StateStore,
        events: EventBus,
        scheduler: Scheduler,
        *,
        limit: int,
        keep: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._state = state
        state.declare("tasks", _TABLES)
        self._events = events
        self._scheduler = scheduler
        self._limit = limit
        self._keep = keep
        self._clock = clock
        self._lock = threading.RLock()
        self._records: dict[str, TaskRecord] = {}
        #: The last event about a task, and when it was published.
        self._published: dict[str, tuple[float, TaskStatusEvent | None]] = {}
        #: Tasks whose last change is only in memory, since the store refused it.
        self._unstored: set[str] = set()

    @staticmethod
    def now() -> float:
        """Return the Unix time in seconds, at which tasks start and end for their readers."""
        return time.time()

    def open(self) -> list[TaskRecord]:
        """Read what the store knows. Return it, oldest first."""
        self._events.provide(TaskStatusEvent.component, [TaskStatusEvent.operation], self._statuses)
        self._state.migrate("tasks", _TABLES)
        for (blob,) in self._state.rows("SELECT record FROM tasks ORDER BY rowid"):
            try:
                record = msgspec.json.decode(blob, type=TaskRecord)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                log.error("A task in the state store cannot be read, and is left out: %s", error)  # noqa: TRY400
                continue
            self._records[record.id] = record
        return self.all()

    def get(self, task_id: str) -> TaskRecord:
        """Return one task.

        :raises NoSuchTask: there is none of this id
        """
        try:
            return self._records[task_id]
        except KeyError:
            raise NoSuchTask(task_id=task_id) from None

    def all(self) -> list[TaskRecord]:
        """Return every task that is remembered, oldest first."""
        return list(self._records.values())

    def add(self, record: TaskRecord) -> None:
        """Remember a new task.

        :raises ResourceExhausted: the limit of unfinished tasks is reached
        :raises StateUnavailable: it cannot be stored
        """
        with self._lock:
            self._make_room()
            self._state.write(_KEEP, record.id, msgspec.json.encode(record))
            self._records[record.id] = record
            self._publish(record)

    def checkpoint(self, task_id: str, **changes: Any) -> TaskRecord:
        """Change a task, durably, before anything that depends on it is done.

        :raises StateUnavailable: the store refuses; nothing is changed
        """
        with self._lock:
            before = self.get(task_id)
            if before.state == "aborting":
                changes.pop("state", None)  # its stop was requested just now
            record = msgspec.structs.replace(before, **changes)
            self._state.write(_KEEP, task_id, msgspec.json.encode(record))
            self._unstored.discard(task_id)
            self._records[task_id] = record
            if status_of(record) != status_of(before):
                self._publish(record)
            return record

    def update(self, task_id: str, **changes: Any) -> None:
        """Change a task; if the store refuses, the change is in memory until it takes one again."""
        with self._lock:
            if task_id not in self._records:  # cleared meanwhile
                return
            record = self._records[task_id] = msgspec.structs.replace(self._records[task_id], **changes)
            self._store(record)
            self._publish(record)

    def change_if(
        self,
        task_id: str,
        action: str,
        allowed: Callable[[TaskRecord], bool],
        reason: str,
        **changes: Any,
    ) -> TaskRecord:
        """Change a task if its state allows it, in one go.

        :raises TaskStateError: it does not
        """
        with self._lock:
            record = self.get(task_id)
            if not allowed(record):
                raise TaskStateError(task_id=task_id, state=record.state, action=action, reason=reason)
            self.update(task_id, **changes)
            return self._records[task_id]

    def note(self, task_id: str, **changes: Any) -> None:
        """Change what a crash may lose: between two steps, the next checkpoint stores it."""
        with self._lock:
            if task_id in self._records:
                self._records[task_id] = msgspec.structs.replace(self._records[task_id], **changes)

    def report(self, task_id: str, percent: int, message: str) -> None:
        """Note progress, and publish it, not too often."""
        with self._lock:
            if task_id not in self._records:
                return
            before = self._records[task_id]
            record = self._records[task_id] = msgspec.structs.replace(
                before, progress=percent, message=message or before.message
            )
            self._offer(record)

    def forget(self, task_id: str) -> None:
        """Forget a task that is over."""
        with self._lock:
            self._state.write("DELETE FROM tasks WHERE id = ?", task_id)
            self._records.pop(task_id, None)
            self._published.pop(task_id, None)
            self._unstored.discard(task_id)

    def clear(self, task_id: str) -> None:
        """Forget a task on request.

        :raises TaskStateError: it is not over yet
        """
        with self._lock:
            self.change_if(task_id, "clear", lambda record: record.done, "it is not over yet")
            self.forget(task_id)

    def _make_room(self) -> None:
        now = self.now()
        for record in [r for r in self._records.values() if r.done and r.ended + self._keep < now]:
            self.forget(record.id)
        while len(self._records) >= self._limit:
            # First those that no client sees.
            done = sorted((r for r in self._records.values() if r.done), key=lambda each: each.listed)
            oldest = next(iter(done), None)
            if oldest is None:
                raise ResourceExhausted(reason=f"{self._limit} tasks are unfinished")
            self.forget(oldest.id)

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
            if not self._unstored:
                log.warning("Changes of tasks are only in memory: %s", error)
            self._unstored.add(record.id)
            self._scheduler.plan(_STORE, self._store_late, after=_STORE_AGAIN, second="not needed")

    def _store_late(self) -> None:
        with self._lock:
            waiting = [self._records[task_id] for task_id in self._unstored if task_id in self._records]
            self._unstored.intersection_update(self._records)
            if waiting:
                self._store(waiting[0])  # and with it the others

    def _offer(self, record: TaskRecord) -> None:
        """Publish progress now or a little later, so that there is not too much of it."""
        early = self._published.get(record.id, _NOTHING)[0] + PROGRESS_INTERVAL - self._clock()
        if early <= 0:
            # Not worth to wait for the disk, but a crash shall not make the task say that it stood at 0 %.
            self._state.write_soon(_KEEP, record.id, msgspec.json.encode(record))
            self._publish(record)
            return
        self._scheduler.plan(
            _REPORT,
            lambda: self._offer_late(record.id),
            of=TaskReference(record.id),
            after=early,
            second="not needed",
        )

    def _offer_late(self, task_id: str) -> None:
        with self._lock:
            record = self._records.get(task_id)
            # Meanwhile it may have been published with something that came later.
            if record is not None and status_of(record) != self._published.get(task_id, _NOTHING)[1]:
                self._offer(record)

    def _publish(self, record: TaskRecord) -> None:
        self._scheduler.call_off(_REPORT, TaskReference(record.id))
        status = status_of(record)
        self._published[record.id] = self._clock(), status
        if record.listed:
            self._events.publish(status, record.id)
        if record.job is not None and record.done:
            self._events.publish(job_status_of(record, record.job), record.job.id)

    def _statuses(self, mark: Callable[[], None]) -> list[tuple[str, EventParams]]:
        """Return the tasks that are not over, as the events that would say so; see `EventBus.provide`."""
        with self._lock:
            mark()
            unfinished = [record for record in self._records.values() if record.listed and not record.done]
        return [(record.id, status_of(record)) for record in unfinished]
