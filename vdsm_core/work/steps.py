"""What a task does: steps in order, each of which can be undone, repeated or neither."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import msgspec

from vdsm_core.work.locks import LongWork
from vdsm_core.work.queues import Queue
from vdsm_core.work.record import HostJob, TaskAborted, TaskRecord
from vdsm_core.work.references import Lock


class Progress:
    """What the function of a step is given: report progress, ask whether to stop, remember something.

    `memory` is kept with the task: what one step puts there, later ones find, also after a crash. Its values
    are plain data.
    """

    def __init__(
        self,
        task_id: str,
        report: Callable[[int, str], None],
        stop: threading.Event,
        memory: dict[str, Any] | None = None,
        *,
        defers_stop: bool = False,
    ) -> None:
        self.task_id = task_id
        self.memory = {} if memory is None else memory
        self._report = report
        self._stop = stop
        self._defers_stop = defers_stop

    @property
    def stopping(self) -> bool:
        """Whether a stop of the task was requested. A step with `defers_stop` checks this."""
        return self._stop.is_set()

    def report(self, percent: int, message: str = "") -> None:
        """Say how far the work is.

        :param percent: 0 to 100
        :raises TaskAborted: a stop of the task was requested
        """
        self.check()
        self._report(min(100, max(0, percent)), message)

    def check(self) -> None:
        """Raise `TaskAborted` if a stop of the task was requested, unless the step has `defers_stop`."""
        if self._stop.is_set() and not self._defers_stop:
            raise TaskAborted(task_id=self.task_id)

    def sleep(self, seconds: float) -> None:
        """Wait, but not beyond a request to stop."""
        self._stop.wait(seconds)
        self.check()


class Again(msgspec.Struct, frozen=True):
    """What `do` or `undo` returns to be called again. No thread is occupied meanwhile.

    :ivar after: seconds; `Tasks.wake` ends the wait
    """

    after: float


def nothing(_progress: Progress) -> None:
    """Undo a step that leaves nothing to undo."""


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One part of a task.

    :ivar name: for people who read what was left
    :ivar do: does it; what the last step of a task returns is the JSON text of the task's result. Returns
        `Again` to be called again: a step that waits, or that watches what others do
    :ivar undo: takes back what `do` did, or the part of it that was done before an error or a crash; it may
        be called again if a crash meets it, and is called again for as long as it raises
        `HypervisorUnavailable`. None: what was done stays, and is named when the task ends. Use
        `nothing` where there is nothing to take back
    :ivar repeatable: after a crash within `do`, it may simply be done again
    :ivar defers_stop: a request to stop does not end the step. `do` is called as before, also after a crash,
        finds `Progress.stopping` set, and decides itself: it raises `TaskAborted`, or completes the step.
        Such a step has to be repeatable. It is called again for as long as it raises `HypervisorUnavailable`
    """

    name: str
    do: Callable[[Progress], Any]
    undo: Callable[[Progress], Again | None] | None = None
    repeatable: bool = False
    defers_stop: bool = False

    def __post_init__(self) -> None:
        """Refuse a declaration that contradicts itself."""
        if self.defers_stop and not self.repeatable:
            raise ValueError(f"step '{self.name}' defers a stop and is not repeatable")


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """All that a task does. After a restart it is made anew from the arguments: it depends on nothing else.

    :ivar steps: at least one
    :ivar locks: what it holds from its start to its end
    :ivar others: which verbs go on beside it, and which are refused
    :ivar queue: the threads that it runs on
    :ivar revert: takes back what the finished task did, if that is more than undoing its steps
    :ivar listed: whether the task is shown to clients as a task. One that has another public face, as a
        migration has its own verbs and events, is not
    :ivar job: the host job that clients see the task as; its end is an event
    :ivar preempts: the work is under way already: the task gets its locks at once, beside their holders
    :ivar ended: called with the final record once the task is over and its locks are released
    """

    steps: tuple[Step, ...]
    locks: tuple[Lock, ...] = ()
    others: LongWork = LongWork()
    queue: Queue = "short"
    revert: Callable[[], None] | None = None
    listed: bool = True
    job: HostJob | None = None
    preempts: bool = False
    ended: Callable[[TaskRecord], None] | None = None
