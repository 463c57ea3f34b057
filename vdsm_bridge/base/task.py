"""`Task`: VDSM's verbs on long work, and how its states are spelled on the wire."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from vdsm_bridge.api.declare import Namespace, action, query
from vdsm_core.types import UUID, Record
from vdsm_core.work.record import TaskRecord
from vdsm_core.work.tasks import Tasks

TaskState = Literal["unknown", "init", "running", "finished", "aborting", "cleaning"]
TaskResult = Literal["", "success", "cleanSuccess", "cleanFailure"]
Progress = Annotated[int, Meta(ge=0, le=100, description="Per cent of the work that is done.")]

#: Internal state -> VDSM's taskState and taskResult. `finished` alone does not mean success.
_WIRE: dict[str, tuple[TaskState, TaskResult]] = {
    "queued": ("running", ""),
    "running": ("running", ""),
    "aborting": ("aborting", ""),
    "finished": ("finished", "success"),
    "recovered": ("finished", "cleanSuccess"),
    "failed": ("finished", "cleanFailure"),
}


class TaskInfo(Record, frozen=True):
    """What a task is."""

    id: UUID
    verb: str


class TaskStatus(Record, frozen=True):
    """How far a task is. `code` and `message` are those of its error once it has failed.

    `result` is what its verb returned, once it has finished with success.
    """

    task_id: UUID = msgspec.field(name="taskID")
    task_state: TaskState
    task_result: TaskResult
    code: int
    message: str
    progress: Progress
    result: Any = msgspec.UNSET


class TaskDetails(Record, frozen=True):
    """A task in full. Times are Unix times in seconds; `ended` is 0 while it runs."""

    id: UUID
    verb: str
    state: str
    task_result: TaskResult
    code: int
    message: str
    tag: str
    progress: Progress
    owner: str
    started: float
    ended: float


class Task(Namespace, key="taskID", listed_by="Host.getAllTasks"):
    """Long work in the background."""

    def __init__(self, tasks: Tasks) -> None:
        self._tasks = tasks

    @query(since="1.0", part="get")
    def get_info(self, task_id: UUID) -> TaskInfo:
        """What a task is.

        :raises NoSuchTask: no task of this id is known
        """
        return info_of(self._tasks.get(task_id))

    @query(since="1.0")
    def get_status(self, task_id: UUID) -> TaskStatus:
        """How far a task is.

        :raises NoSuchTask: no task of this id is known
        """
        return status_of(self._tasks.get(task_id))

    @action(since="1.0")
    def stop(self, task_id: UUID) -> None:
        """Ask a task to stop and to clean up; it does so at its next step.

        :raises NoSuchTask: no task of this id is known
        :raises TaskStateError: it is over already
        """
        self._tasks.abort(task_id)

    @action(since="1.0")
    def revert(self, task_id: UUID) -> None:
        """Roll back what a finished task did.

        :raises NoSuchTask: no task of this id is known
        :raises TaskStateError: it has not finished, or its verb offers no roll-back
        """
        self._tasks.revert(task_id)

    @action(since="1.0", part="delete")
    def clear(self, task_id: UUID) -> None:
        """Forget a task that is over.

        :raises NoSuchTask: no task of this id is known
        :raises TaskStateError: it is not over yet
        """
        self._tasks.clear(task_id)


def info_of(record: TaskRecord) -> TaskInfo:
    """VDSM's short form of a task."""
    return TaskInfo(id=record.id, verb=record.verb)


def status_of(record: TaskRecord) -> TaskStatus:
    """VDSM's status form of a task."""
    state, result = _WIRE[record.state]
    return TaskStatus(
        task_id=record.id,
        task_state=state,
        task_result=result,
        code=record.code,
        message=record.message,
        progress=record.progress,
        result=_value(record.result),
    )


def details_of(record: TaskRecord) -> TaskDetails:
    """VDSM's long form of a task."""
    return TaskDetails(
        id=record.id,
        verb=record.verb,
        state=record.state,
        task_result=_WIRE[record.state][1],
        code=record.code,
        message=record.message,
        tag="",
        progress=record.progress,
        owner=record.owner,
        started=record.started,
        ended=record.ended,
    )


def _value(text: str) -> Any:
    """A result from its JSON; a task without one leaves the member out, for there is no null in XML-RPC."""
    value = msgspec.json.decode(text) if text else None
    return msgspec.UNSET if value is None else value
