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
from vdsm_core.work.record import TaskAborted, TaskRecord, lock_of, stored_lock
from vdsm_core.work.references import Lock
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
_AGAIN: Final = "next look"


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
        #: The functions that plugins gave to `offer`, by verb.
        self._planners: dict[str, PlanOf] = {}
        self._opened = False
        self._started = False
        self._ready = False
        self._runs: dict[str, Run] = {}
        #: Called with the final record of each task, once its locks are released.
        self.on_end: Callable[[TaskRecord], None] | None = None
        #: Runs that a thread carries out now.
        self._busy: set[str] = set()
        self._stopping = False

    def open(self) -> None:
        """Read the stored tasks. None of them continues before `start`."""
        if not self._opened:
            self._opened = True
            self._table.open()

    def start(self, plan_of: PlanOf) -> None:
        """Read the stored tasks; continue those that the last daemon left unfinished.

        :param plan_of: gives the plan of a task; raises `VdsmError` if its verb does not take its arguments
            any more
        """
        self._plan_of = plan_of
        self.open()
        self._started = True
        unfinished = [record for record in self._table.all() if not record.done]
        # Those that had their locks have them again, before others ask.
        for record in sorted(unfinished, key=lambda each: not each.begun):
            self._resume(record)

    def plugins_changed(self) -> None:
        """Continue the tasks whose plugin was off and runs now. Before `start` there are none."""
        if not self._started:
            return
        for record in self._table.all():
            if not record.done and record.id not in self._runs:
                self._resume(record)

    def offer(self, verb: str, plan_of: PlanOf) -> Callable[[float], None]:
        """Plan tasks that a plugin submits by itself, under a verb that starts no task for its callers.

        Its stored tasks continue when the plugin is reported as running, or the daemon resumes tasks.

        :param verb: what `submit` is given
        :param plan_of: gives the plan of a task after a restart
        :returns: takes the offer back, when the plugin stops: leaves its tasks to the next start of the
            plugin, and waits for those that a thread carries out, at most the seconds given
        """
        self._planners[verb] = plan_of

        def withdraw(grace: float) -> None:
            with self._lock:
                if self._planners.get(verb) is plan_of:
                    del self._planners[verb]
                mine = [run for run in self._runs.values() if run.planner is plan_of]
            self._leave(mine, grace)
            for run in mine:
                self._forget_run(run.task_id)
            if verb in self._planners and not self._stopping:
                self.plugins_changed()

        return withdraw

    def wake(self, task_id: str) -> None:
        """End the wait of a task whose step returned `Again`; a task that does not wait is left alone."""
        with self._lock:
            run = self._runs.get(task_id)
            if run is None:
                return
            if self._scheduler.call_off(_AGAIN, TaskReference(task_id)):
                self._enqueue(run)
            else:
                run.woken = task_id in self._busy

    def stop(self, grace: float = 4.0) -> None:
        """End: running tasks are asked to stop and waited for, at most `grace` seconds.

        What can go on, or is to be undone step by step, is left to the next daemon. Another task ends as any
        task that is stopped, or, if it does not stop in time, fails at the next start.
        """
        with self._lock:
            self._stopping = True
            runs = list(self._runs.values())
        self._leave(runs, grace)

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
            locks=tuple(map(stored_lock, plan.locks)),
            listed=plan.listed,
            job=plan.job,
        )
        run = Run(record.id, plan, self._table)
        run.planner = self._planners.get(verb)
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

    def listed(self) -> list[TaskRecord]:
        """Return every task that is shown to clients, oldest first; see `Plan.listed`."""
        return [record for record in self._table.all() if record.listed]

    def get_listed(self, task_id: str) -> TaskRecord:
        """Return one task that is shown to clients.

        :raises NoSuchTask: there is none of this id
        """
        record = self._table.get(task_id)
        if not record.listed:
            raise NoSuchTask(task_id=task_id)
        return record

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
                run.ask_to_stop()
                self.wake(task_id)
            waits = run is None or (run.hold is not None and run.hold.granted_at is None)
            if waits and not before.begun and not before.step:
                # Nothing of it was done, and maybe nothing will for long. Else it undoes what was done first.
                self._end(record, TaskAborted(task_id=task_id), "recovered")
                self._forget_run(task_id)
        if run is not None and task_id not in self._runs:
            self._ended(run)

    def revert(self, task_id: str) -> None:
        """Roll back what a finished task did.

        :raises TaskStateError: it is not finished, or its verb cannot roll back
        """
        record = self.get(task_id)
        if record.state != "finished":
            raise self._state_error(record, "revert", "only a finished task can be reverted")
        try:
            plan = self._plan_of(record)
        except VdsmError as error:
            raise self._state_error(record, "revert", f"it cannot be planned again: {error}") from None
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
        locks = [lock_of(stored) for stored in record.locks]
        planner = self._planners.get(record.verb)
        try:
            plan = (planner or self._plan_of)(record)
        except VdsmError as error:
            self._end(record, TaskInterrupted(task_id=record.id, left=f"it cannot go on: {error}"), "failed")
            return
        if plan is None:
            log.warning("Task %s waits: no running plugin offers %s", record.id, record.verb)
            return
        run = Run(record.id, plan, self._table)
        run.planner = planner
        run.resume()
        if run.failed and run.advance() is Next.ENDED:
            self._ended(run)
            return
        log.info("Task %s (%s) goes on after an interruption", record.id, record.verb)
        with self._lock:
            self._runs[record.id] = run
            try:
                # A task that held its locks has them again, whatever others do beside it.
                self._ask(run, record, locks or plan.locks, held=record.begun or record.step > 0)
            except VdsmError as error:
                del self._runs[record.id]
                self._end(record, error, "failed")
        self._ended(run)  # if it was refused

    def _ask(
        self,
        run: Run,
        record: TaskRecord,
        locks: list[Lock] | tuple[Lock, ...],
        *,
        held: bool = False,
    ) -> None:
        others = msgspec.structs.replace(run.plan.others, cancel=lambda: self._cancel(record.id))
        run.hold = self._locks.request(
            locks,
            record.verb,
            long=others,
            preempts=run.plan.preempts,
            held=held,
            on_grant=lambda _: self._enqueue(run),
        )

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
            if self._stopping or run.leaving:
                return
            run.woken = False
            self._busy.add(run.task_id)
        following = Next.LEFT
        try:
            following = run.advance()
        finally:
            with self._lock:
                if following is Next.ENDED:
                    self._forget_run(run.task_id)
                self._busy.discard(run.task_id)
                if following is Next.WAIT:
                    self._wait(run)
        if following is Next.ENDED:
            self._ended(run)
        elif following is Next.AGAIN:
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
            self._scheduler.call_off(_AGAIN, TaskReference(task_id))
            self._give_back(run)

    def _wait(self, run: Run) -> None:
        if run.woken:
            self._enqueue(run)
            return
        self._scheduler.plan(
            _AGAIN,
            lambda: self._enqueue(run),
            of=TaskReference(run.task_id),
            after=run.after,
            second="replaces",
        )

    def _leave(self, runs: list[Run], grace: float) -> None:
        """Let tasks stop where the next daemon, or their plugin's next start, can go on with them."""
        for run in runs:
            run.leaving = True
            run.stop.set()
        mine = {run.task_id for run in runs}
        end = time.monotonic() + grace
        while self._busy & mine and time.monotonic() < end:
            time.sleep(_LOOK)
        for run in runs:
            if run.task_id not in self._busy and run.task_id in self._runs:
                run.leave()
        if busy := self._busy & mine:
            log.warning("%d tasks did not stop within %.1f s", len(busy), grace)

    def _ended(self, run: Run) -> None:
        """Call the functions that wait for the end of a task, if it has come to it."""
        try:
            record = self._table.get(run.task_id)
        except NoSuchTask:
            return
        if not record.done:
            return
        for ended in (run.plan.ended, self.on_end):
            if ended is None:
                continue
            try:
                ended(record)
            except Exception:
                # The task is over, whatever becomes of those who wait for it.
                log.exception("The end of task %s could not be reported", run.task_id)

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
