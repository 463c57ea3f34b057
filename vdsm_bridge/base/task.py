"""`Task`: VDSM's verbs about tasks, and the names of their states."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from vdsm_bridge.api.declare import Namespace, action, query
from vdsm_bridge.api.legacy import LegacyMethod
from vdsm_bridge.api.marks import Marks, object_path
from vdsm_bridge.api.registry import Registry
from vdsm_bridge.call.caller import owns
from vdsm_bridge.call.context import Context
from vdsm_core.errors import NoSuchTask, NotOwner
from vdsm_core.types import UUID, Record
from vdsm_core.work.record import TaskRecord
from vdsm_core.work.tasks import Tasks

TaskState = Literal["unknown", "init", "running", "finished", "aborting", "cleaning"]
TaskResult = Literal["", "success", "cleanSuccess", "cleanFailure"]
Progress = Annotated[int, Meta(ge=0, le=100, description="Percent of the work that is done.")]

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
    """The id and the verb of a task."""

    id: UUID
    verb: str


class TaskStatus(Record, frozen=True):
    """The status of a task. `code` and `message` are those of its error once it has failed.

    `result` is the result of its verb, once it has finished with success.
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
    """A long operation that runs in the background."""

    # Tasks belonged to VDSM's storage code, whose sentence of success was "OK".

    def __init__(self, tasks: Tasks, registry: Registry) -> None:
        self._tasks = tasks
        self._registry = registry

    def marks_of(self, object_id: str) -> Marks | None:
        """Return the object that a task is about as what the task is part of."""
        try:
            record = self._tasks.get_listed(object_id.lower())
        except NoSuchTask:
            return None
        verb = self._registry.verbs.get(record.verb)
        if verb is None or not verb.on_object:
            return Marks()
        arguments = msgspec.json.decode(record.arguments)
        ids = [str(arguments.get(key, "")) for key in verb.keys] if isinstance(arguments, dict) else []
        return Marks(parent=(verb.namespace.name, object_path(*ids))) if all(ids) and ids else Marks()

    @query(since="1.0", part="get", legacy=LegacyMethod("getTaskInfo", reply="TaskInfo", message="OK"))
    def get_info(self, task_id: UUID) -> TaskInfo:
        """Return id and verb of a task.

        :raises NoSuchTask: no task of this id is known
        """
        return info_of(self._tasks.get_listed(task_id))

    @query(since="1.0", legacy=LegacyMethod("getTaskStatus", reply="taskStatus", message="OK"))
    def get_status(self, task_id: UUID) -> TaskStatus:
        """Return state and progress of a task.

        :raises NoSuchTask: no task of this id is known
        """
        return status_of(self._tasks.get_listed(task_id))

    @action(since="1.0", legacy=LegacyMethod("stopTask", message="OK"))
    def stop(self, task_id: UUID, context: Context) -> None:
        """Request a task to stop and to clean up; it does so at its next step.

        :raises NoSuchTask: no task of this id is known
        :raises NotOwner: another caller began it, and this one is no admin
        :raises TaskStateError: it is over already
        """
        self._tasks.abort(self._owned(task_id, context))

    @action(since="1.0", legacy=LegacyMethod("revertTask", message="OK"))
    def revert(self, task_id: UUID, context: Context) -> None:
        """Roll back a finished task.

        :raises NoSuchTask: no task of this id is known
        :raises NotOwner: another caller began it, and this one is no admin
        :raises TaskStateError: it has not finished, or its verb offers no roll-back
        """
        self._tasks.revert(self._owned(task_id, context))

    @action(since="1.0", part="delete", legacy=LegacyMethod("clearTask", message="OK"))
    def clear(self, task_id: UUID, context: Context) -> None:
        """Forget a task that is over.

        :raises NoSuchTask: no task of this id is known
        :raises NotOwner: another caller began it, and this one is no admin
        :raises TaskStateError: it is not over yet
        """
        self._tasks.clear(self._owned(task_id, context))

    def _owned(self, task_id: str, context: Context) -> str:
        """Return the id of a task that a caller may change: its own one, or any as an admin.

        :raises NoSuchTask: no task of this id is known
        :raises NotOwner: it belongs to another caller
        """
        record, identity = self._tasks.get_listed(task_id), context.identity
        if identity.role != "admin" and not owns(identity, record):
            raise NotOwner(task_id=task_id, identity=identity.name)
        return record.id


def info_of(record: TaskRecord) -> TaskInfo:
    """Return VDSM's short form of a task."""
    return TaskInfo(id=record.id, verb=record.verb)


def status_of(record: TaskRecord) -> TaskStatus:
    """Return VDSM's status form of a task."""
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
    """Return VDSM's long form of a task."""
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
    """Return a result from its JSON; UNSET if there is none, because XML-RPC has no null."""
    value = msgspec.json.decode(text) if text else None
    return msgspec.UNSET if value is None else value
