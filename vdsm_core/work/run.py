"""One task while it is not over: its steps done, or undone, one at a time."""

from __future__ import annotations

import enum
import logging
import threading
from typing import Any, Final, Literal

import msgspec

from vdsm_core.errors import HypervisorUnavailable, StateUnavailable, TaskInterrupted, VdsmError
from vdsm_core.incident import report_incident
from vdsm_core.work.locks import Hold
from vdsm_core.work.record import DONE, TaskAborted, TaskRecord
from vdsm_core.work.steps import Again, Plan, Progress, Step
from vdsm_core.work.table import TaskTable

log = logging.getLogger(__name__)

#: A request to stop that never comes: for steps that are undone.
_NEVER: Final = threading.Event()
#: Seconds until a step that has to be carried out is called again, after it met the hypervisor away.
_AWAY: Final = 1.0
EndsAs = Literal["failed", "recovered"]


class Next(enum.Enum):
    """What is to be done with a task after one of its steps."""

    AGAIN = enum.auto()  # its next step
    WAIT = enum.auto()  # the same step, after some time
    LATER = enum.auto()  # the same, once the state store takes its checkpoint
    ENDED = enum.auto()
    LEFT = enum.auto()  # nothing: the next daemon, or the next start of its plugin, goes on with it


class _NotStored(Exception):
    """A checkpoint cannot be written, so what depends on it must not be done."""


class Run:
    """Carries out the plan of one task. One thread at a time calls `advance`.

    :ivar asked: set when a stop of the task was requested
    :ivar stop: set to end the present step: on request, or because the daemon or the plugin ends
    :ivar hold: its locks
    :ivar after: seconds until the step that returned `Again` is due
    :ivar woken: whether another call of the step was requested while a thread carried it out
    """

    def __init__(self, task_id: str, plan: Plan, table: TaskTable) -> None:
        self.task_id = task_id
        self.plan = plan
        self.asked = threading.Event()
        self.stop = threading.Event()
        self.hold: Hold | None = None
        #: Whether the daemon or the plugin ends: what can go on with the next one is left to it.
        self.leaving = False
        self.after = 0.0
        #: The function that gave the plan, if it was given to `Tasks.offer`.
        self.planner: object = None
        self.woken = False
        self._table = table
        #: How the task ends, from the moment that this is known until it is stored.
        self._failure: tuple[EndsAs, VdsmError] | None = None
        #: The step whose beginning was stored last, in this life.
        self._doing = -1
        #: The step whose undoing was stored last.
        self._undoing = -1

    def resume(self) -> None:
        """Decide how a task continues after the daemon that ran it has ended."""
        record = self._table.get(self.task_id)
        if record.phase == "undo" or (not record.begun and record.state != "aborting"):
            return
        if record.state == "running" and self._step(record).repeatable:
            return
        if record.state == "aborting" and self._step(record).defers_stop:
            self.ask_to_stop()
            return
        self._failure = "failed", TaskInterrupted(task_id=self.task_id, left=self._standing(record))

    def ask_to_stop(self) -> None:
        """End the task at its next report of progress; a step with `defers_stop` decides itself."""
        self.asked.set()
        self.stop.set()

    @property
    def failed(self) -> bool:
        """Whether the task will be rolled back, although the rollback has not begun."""
        return self._failure is not None

    def advance(self) -> Next:
        """Do or undo one step."""
        try:
            if self._failure is not None:
                return self._turn_back(*self._failure)
            record = self._table.get(self.task_id)
            return self._undo(record) if record.phase == "undo" else self._do(record)
        except _NotStored:
            return Next.LATER

    def leave(self) -> None:
        """Store the step with which the next daemon continues."""
        record = self._table.get(self.task_id)
        if record.phase == "before" and record.step:
            self._table.update(self.task_id)

    def _do(self, record: TaskRecord) -> Next:
        step = self._step(record)
        if self.stop.is_set() and (self.leaving or not step.defers_stop):
            return self._stopped(record)
        if self._doing != record.step:
            # Stored before the step begins: a crash finds out which one it may have met.
            record = self._checkpoint(state="running", phase="do")
            self._doing = record.step
        # The end of the daemon is no request to end what such a step watches.
        stop = self.asked if step.defers_stop else self.stop
        progress = self._progress(record, stop, defers_stop=step.defers_stop)
        try:
            result = step.do(progress)
        except Exception as error:  # noqa: BLE001 - logged as an incident
            if step.defers_stop and isinstance(error, HypervisorUnavailable):
                return self._wait_for_hypervisor(step, progress, error)
            self._remember(progress)
            return self._failed(record, error)
        if isinstance(result, Again):
            return self._wait(progress, result)
        memory = msgspec.json.encode(progress.memory).decode()
        if record.step + 1 == len(self.plan.steps):
            self._end("finished", DONE, progress=100, result=result or "null", memory=memory)
            return Next.ENDED
        self._table.note(self.task_id, step=record.step + 1, phase="before", memory=memory)
        return Next.AGAIN

    def _failed(self, record: TaskRecord, error: Exception) -> Next:
        if isinstance(error, TaskAborted):
            return self._stopped(self._table.get(self.task_id))
        if not isinstance(error, VdsmError):
            error = report_incident(log, record.verb, f"Task {self.task_id}")
        return self._turn_back("failed", error)

    def _wait(self, progress: Progress, again: Again) -> Next:
        self._remember(progress)
        self.after = again.after
        return Next.WAIT

    def _wait_for_hypervisor(self, step: Step, progress: Progress, error: VdsmError) -> Next:
        """Repeat a step without which something would be left, however long the hypervisor is away."""
        log.debug("Task %s waits in '%s': %s", self.task_id, step.name, error)
        return self._wait(progress, Again(after=_AWAY))

    def _remember(self, progress: Progress) -> None:
        """Keep what a step left in the memory of the task, although it is not over or has failed."""
        try:
            memory = msgspec.json.encode(progress.memory).decode()
        except TypeError:
            log.exception("The memory of task %s is not plain data, and is not kept", self.task_id)
            return
        self._table.note(self.task_id, memory=memory)

    def _stopped(self, record: TaskRecord) -> Next:
        """Deal with a request to stop, or with the end of the daemon or the plugin."""
        if self.leaving and (not record.begun or self._step(record).repeatable or len(self.plan.steps) > 1):
            return Next.LEFT
        return self._turn_back("recovered", TaskAborted(task_id=self.task_id))

    def _turn_back(self, ends_as: EndsAs, error: VdsmError) -> Next:
        """Begin to undo the steps that were done; the task ends with an error."""
        self._failure = ends_as, error
        record = self._table.get(self.task_id)
        facts = {"code": error.code, "slug": error.slug, "message": str(error)}
        last = record.step if record.begun else record.step - 1
        if all(step.undo is None for step in self.plan.steps[: last + 1]):
            left = [step.name for step in self.plan.steps[: last + 1]] if len(self.plan.steps) > 1 else []
            self._end(ends_as, _with_rest(str(error), left), code=error.code, slug=error.slug, left=left)
            return Next.ENDED
        self._checkpoint(state="aborting", phase="undo", step=last, ends_as=ends_as, **facts)
        self._undoing = last
        self._failure = None
        return Next.AGAIN

    def _undo(self, record: TaskRecord) -> Next:
        if self.leaving:
            return Next.LEFT
        step, left = self._step(record), record.left
        if self._undoing != record.step:
            record = self._checkpoint(phase="undo", step=record.step)
            self._undoing = record.step
        try:
            if step.undo is None:
                left = (*left, step.name)
            else:
                progress = self._progress(record, _NEVER)
                try:
                    result = step.undo(progress)
                except HypervisorUnavailable as error:
                    return self._wait_for_hypervisor(step, progress, error)
                if isinstance(result, Again):
                    return self._wait(progress, result)
        except Exception as error:
            log.log(
                logging.WARNING if isinstance(error, VdsmError) else logging.ERROR,
                "Task %s cannot undo '%s': %s",
                self.task_id,
                step.name,
                error,
                exc_info=None if isinstance(error, VdsmError) else error,
            )
            left = (*left, step.name)
        if record.step:
            self._table.note(self.task_id, step=record.step - 1, left=left)
            return Next.AGAIN
        self._end(record.ends_as or "failed", _with_rest(record.message, left), left=left)
        return Next.ENDED

    def _end(self, state: str, message: str, **changes: Any) -> None:
        changes["left"] = tuple(changes.get("left", ()))
        self._table.update(self.task_id, state=state, message=message, ended=self._table.now(), **changes)

    def _checkpoint(self, **changes: Any) -> TaskRecord:
        try:
            return self._table.checkpoint(self.task_id, **changes)
        except StateUnavailable as error:
            log.warning("Task %s waits until its state can be stored: %s", self.task_id, error)
            raise _NotStored from error

    def _progress(self, record: TaskRecord, stop: threading.Event, *, defers_stop: bool = False) -> Progress:
        return Progress(
            self.task_id,
            lambda percent, text: self._table.report(self.task_id, percent, text),
            stop,
            msgspec.json.decode(record.memory),
            defers_stop=defers_stop,
        )

    def _step(self, record: TaskRecord) -> Step:
        return self.plan.steps[min(record.step, len(self.plan.steps) - 1)]

    def _standing(self, record: TaskRecord) -> str:
        """Return how far an interrupted task had got, for its error."""
        steps = self.plan.steps
        if len(steps) == 1:
            rest = "" if steps[0].undo else ", and nothing was rolled back"
            return f"it stood at {record.progress} %{rest}"
        return f"it stood in '{self._step(record).name}', step {record.step + 1} of {len(steps)}"


def _with_rest(message: str, left: tuple[str, ...] | list[str]) -> str:
    if not left:
        return message
    names = ", ".join(f"'{name}'" for name in left)
    return f"{message}. Not undone: {names}"
