"""Tasks: long work with an id, progress, a result, and a memory that outlives the daemon.

A task is a plan of ordered steps. It is stored before it begins, and a checkpoint is stored before each step.
After a crash it goes on where it can: a step that had not begun begins, one that is repeatable is done again.
Otherwise what was done is undone, step by step, and the task ends saying exactly what was left.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import uuid
from collections.abc import Callable
from typing import Final

import msgspec

from vdsm_core.errors import NoSuchTask, TaskInterrupted, TaskStateError, VdsmError
from vdsm_core.work.locks import Locks
from vdsm_core.work.queues import Background
from vdsm_core.work.record import TaskAborted, TaskRecord
from vdsm_core.work.references import Lock, Reference
from vdsm_core.work.run import Next, Run
from vdsm_core.work.scheduler import Scheduler
from vdsm_core.work.steps import Plan
from vdsm_core.work.table import TaskReference, TaskTable

log = logging.getLogger(__name__)

#: Seconds until a checkpoint is tried again that the store refused.
_STORE_AGAIN: Final = 1.0
#: Seconds between two looks whether tasks that were asked to stop have ended.
_LOOK: Final = 0.005

#: Gives the plan of a stored task; None as long as the plugin of its verb is off.
PlanOf = Callable[[TaskRecord], Plan | None]


class Tasks:
    """All tasks of the host.

    :param table: their records
    :param locks: the locks that they hold
    :param background: the threads that they run on
    """

    def __init__(
        self, table: TaskTable, *, locks: Locks, background: Background, scheduler: Scheduler
    ) -> None:
        self._table = table
        self._locks = locks
        self._background = background
        self._scheduler = scheduler
        self._lock = threading.RLock()
        self._plan_of: PlanOf = lambda _record: None
        self._runs: dict[str, Run] = {}
        #: Runs that a thread carries out now.
        self._busy: set[str] = set()
        self._stopping = False

    def start(self, plan_of: PlanOf) -> None:
        """Read the stored tasks; continue those that the last daemon left unfinished.

        :param plan_of: gives the plan of a task; raises `VdsmError` if its verb does not take its arguments
            any more
        """
        self._plan_of = plan_of
        unfinished = [record for record in self._table.open() if not record.done]
        # Those that had their locks have them again, before others ask.
        for record in sorted(unfinished, key=lambda each: not each.begun):
            self._resume(record)

    def plugins_changed(self) -> None:
        """Continue the tasks whose plugin was off and runs now."""
        for record in self._table.all():
            if not record.done and record.id not in self._runs:
                self._resume(record)

    def stop(self, grace: float = 4.0) -> None:
        """End: running tasks are asked to stop and waited for, at most `grace` seconds.

        What can go on, or is to be undone step by step, is left to the next daemon. Another task ends as any
        task that is stopped, or, if it does not stop in time, fails at the next start.
        """
        with self._lock:
            self._stopping = True
            runs = list(self._runs.values())
        for run in runs:
            run.daemon_ends = True
            run.stop.set()
        end = time.monotonic() + grace
        while self._busy and time.monotonic() < end:
            time.sleep(_LOOK)
        for run in runs:
            if run.task_id not in self._busy and run.task_id in self._runs:
                run.leave()
        if self._busy:
            log.warning("%d tasks did not stop within %.1f s", len(self._busy), grace)

    def submit(self, verb: str, owner: str, arguments: str, plan: Plan, caller: str = "") -> str:
        """Remember a task and start it as soon as it has its locks and a thread is free. Return its id.

        :param arguments: JSON, to make its plan again after a restart
        :param caller: whatever the API needs to know of the caller then
        :raises ResourceExhausted: the limit of unfinished tasks is reached
        :raises StateUnavailable: the task cannot be stored; it does not begin
        :raises VdsmError: long work on an object refuses this verb
        """
        record = TaskRecord(
            id=str(uuid.uuid4()),
            verb=verb,
            owner=owner,
            arguments=arguments,
            started=self._table.now(),
            caller=caller,
            phase="before",
            locks=tuple((lock.of[0], lock.of[1], lock.exclusive) for lock in plan.locks),
        )
        run = Run(record.id, plan, self._table)
        with self._lock:
            self._ask(run, record, plan.locks)
            try:
                self._table.add(record)
            except BaseException:
                self._give_back(run)
                raise
            self._runs[record.id] = run
        return record.id

    def get(self, task_id: str) -> TaskRecord:
        """Return one task.

        :raises NoSuchTask: there is none of this id
        """
        return self._table.get(task_id)

    def all(self) -> list[TaskRecord]:
        """Return every task that is remembered, oldest first."""
        return self._table.all()

    def abort(self, task_id: str) -> None:
        """Ask a task to stop; it does so at its next report of progress, and undoes its steps.

        :raises TaskStateError: it is over
        """
        with self._lock:
            before = self.get(task_id)
            record = self._table.change_if(
                task_id, "stop", lambda each: not each.done, "it is over", state="aborting"
            )
            run = self._runs.get(task_id)
            if run is not None:
                run.stop.set()
            waits = run is None or (run.hold is not None and run.hold.granted_at is None)
            if waits and not before.begun and not before.step:
                # Nothing of it was done, and maybe nothing will for long. Else it undoes what was done first.
                self._forget_run(task_id)
                self._end(record, TaskAborted(task_id=task_id), "recovered")

    def revert(self, task_id: str) -> None:
        """Roll back what a finished task did.

        :raises TaskStateError: it is not finished, or its verb cannot roll back
        """
        record = self.get(task_id)
        if record.state != "finished":
            raise self._state_error(record, "revert", "only a finished task can be reverted")
        plan = self._plan_of(record)
        if plan is None or plan.revert is None:
            raise self._state_error(record, "revert", f"{record.verb} offers no roll-back")
        plan.revert()
        self._table.update(task_id, state="recovered", message="Task was reverted")

    def clear(self, task_id: str) -> None:
        """Forget a finished task.

        :raises TaskStateError: it is not over yet
        """
        self._table.clear(task_id)

    def _resume(self, record: TaskRecord) -> None:
        locks = [Lock(Reference.stored(kind, id_), alone) for kind, id_, alone in record.locks]
        try:
            plan = self._plan_of(record)
        except VdsmError as error:
            self._end(record, TaskInterrupted(task_id=record.id, left=f"it cannot go on: {error}"), "failed")
            return
        if plan is None:
            log.warning("Task %s waits: no running plugin offers %s", record.id, record.verb)
            return
        run = Run(record.id, plan, self._table)
        run.resume()
        if run.failed and run.advance() is Next.ENDED:
            return
        log.info("Task %s (%s) goes on after an interruption", record.id, record.verb)
        with self._lock:
            self._runs[record.id] = run
            self._ask(run, record, locks or plan.locks)

    def _ask(self, run: Run, record: TaskRecord, locks: list[Lock] | tuple[Lock, ...]) -> None:
        others = msgspec.structs.replace(run.plan.others, cancel=lambda: self._cancel(record.id))
        run.hold = self._locks.request(locks, record.verb, long=others, on_grant=lambda _: self._enqueue(run))

    def _cancel(self, task_id: str) -> None:
        with contextlib.suppress(TaskStateError, NoSuchTask):  # it is over just now
            self.abort(task_id)

    def _enqueue(self, run: Run) -> None:
        try:
            self._background.submit(run.plan.queue, lambda: self._carry_on(run))
        except RuntimeError:
            log.debug("Task %s is left to the next daemon", run.task_id)

    def _carry_on(self, run: Run) -> None:
        with self._lock:
            if self._runs.get(run.task_id) is not run or run.task_id in self._busy:
                return
            if self._stopping:
                return
            self._busy.add(run.task_id)
        following = Next.LEFT
        try:
            following = run.advance()
        finally:
            with self._lock:
                if following is Next.ENDED:
                    self._forget_run(run.task_id)
                self._busy.discard(run.task_id)
        if following is Next.AGAIN:
            self._enqueue(run)
        elif following is Next.LATER:
            self._scheduler.plan(
                "checkpoint",
                lambda: self._enqueue(run),
                of=TaskReference(run.task_id),
                after=_STORE_AGAIN,
                second="not needed",
            )

    def _forget_run(self, task_id: str) -> None:
        run = self._runs.pop(task_id, None)
        if run is not None:
            self._give_back(run)

    def _give_back(self, run: Run) -> None:
        if run.hold is not None:
            self._locks.release(run.hold)

    def _end(self, record: TaskRecord, error: VdsmError, state: str) -> None:
        self._table.update(
            record.id,
            state=state,
            code=error.code,
            slug=error.slug,
            message=str(error),
            ended=self._table.now(),
        )

    @staticmethod
    def _state_error(record: TaskRecord, action: str, reason: str) -> TaskStateError:
        return TaskStateError(task_id=record.id, state=record.state, action=action, reason=reason)
