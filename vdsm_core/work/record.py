"""What is kept of a task, and the events that say how it stands. States and their spelling are VDSM's."""

from __future__ import annotations

from typing import ClassVar, Final, Literal

import msgspec

from vdsm_core.errors import VdsmError
from vdsm_core.events import EventParams

State = Literal["queued", "running", "aborting", "finished", "failed", "recovered"]
#: Where a task stands in its present step: not begun, within it, or undoing it. Empty in records of before.
Phase = Literal["", "before", "do", "undo"]
#: VDSM's terminal states; everything else is on its way.
FINAL: Final = frozenset({"finished", "failed", "recovered"})
#: VDSM's start and end texts.
STARTING: Final = "Task is initializing"
DONE: Final = "1 jobs completed successfully"


class TaskAborted(VdsmError):
    """The task was stopped on request. Facts: `task_id`."""

    slug = "task-aborted"
    code = 411
    template = "Task '{task_id}' was stopped on request"


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
    :ivar locks: kind, id and exclusiveness of each object that it holds
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
    locks: tuple[tuple[str, str, bool], ...] = ()

    @property
    def done(self) -> bool:
        """Whether it has come to its end."""
        return self.state in FINAL

    @property
    def begun(self) -> bool:
        """Whether its present step may have had an effect. Releases before steps stored no phase."""
        return self.phase in ("do", "undo") or (not self.phase and self.state != "queued")


class TaskStatusEvent(EventParams, frozen=True):
    """A task changed its state or made progress. `progress` is in percent."""

    component: ClassVar[str] = "task"
    operation: ClassVar[str] = "status"
    verb: str
    state: State
    progress: int
    message: str
    code: int


def status_of(record: TaskRecord) -> TaskStatusEvent:
    """Return the event that says how a task stands."""
    return TaskStatusEvent(
        verb=record.verb,
        state=record.state,
        progress=record.progress,
        message=record.message,
        code=record.code,
    )
