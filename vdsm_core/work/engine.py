"""The engine for work: locks, queues of threads, the scheduler and tasks, put together."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable

from vdsm_core.errors import VdsmError
from vdsm_core.events import EventBus
from vdsm_core.state import StateStore
from vdsm_core.work.locks import Hold, Locks
from vdsm_core.work.queues import Queue, Queues
from vdsm_core.work.references import Lock
from vdsm_core.work.scheduler import Jobs, Scheduler
from vdsm_core.work.table import TaskTable
from vdsm_core.work.tasks import PlanOf, Tasks

log = logging.getLogger(__name__)


class Engine:
    """Everything that does work on objects of the host.

    :param short: threads at most for work of seconds
    :param long: threads at most for work that may take hours
    :param limit: tasks at most, unfinished ones included
    :param keep: seconds that a finished task is remembered
    :param clock: seconds, monotonic
    """

    def __init__(
        self,
        state: StateStore,
        events: EventBus,
        *,
        short: int = 32,
        long: int = 10,
        limit: int = 500,
        keep: float = 604_800.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.locks = Locks(clock)
        self._queues = Queues(short=short, long=long)
        self.scheduler = Scheduler(lambda work: self._queues.submit("short", work), clock)
        table = TaskTable(state, events, self.scheduler, limit=limit, keep=keep, clock=clock)
        self.tasks = Tasks(table, locks=self.locks, background=self._queues, scheduler=self.scheduler)

    def start(self) -> None:
        """Read the stored tasks, and begin to watch the time: jobs run from now on."""
        self.tasks.open()
        self.scheduler.start()

    def resume(self, plan_of: PlanOf) -> None:
        """Go on with the tasks of the last daemon, once the verbs are there; see `Tasks.start`."""
        self.tasks.start(plan_of)

    def stop(self, grace: float) -> None:
        """Begin nothing any more, and wait for what runs, at most `grace` seconds."""
        end = time.monotonic() + grace
        self.scheduler.stop(grace)
        self.tasks.stop(max(0.0, end - time.monotonic()))
        if self._queues.close(max(0.0, end - time.monotonic())):
            left = ", ".join(sorted({call.call for call in self.locks.snapshot() if not call.place}))
            log.warning("Left running in the background: %s", left or "work without locks")

    def jobs(self, owner: str) -> Jobs:
        """Return the jobs of one part of the daemon, which ends them when it ends."""
        return Jobs(self.scheduler, owner)

    def when_free(self, locks: Iterable[Lock], label: str, work: Callable[[], None]) -> None:
        """Let work run in the background once it can have its locks; return at once.

        :param label: what others see as the holder
        :raises VdsmError: long work on one of the objects refuses it
        """

        def granted(hold: Hold) -> None:
            try:
                self._queues.submit("short", lambda: self._finish(hold, work))
            except RuntimeError:
                log.debug("%s is not begun any more", label)

        self.locks.request(locks, label, on_grant=granted)

    def go_on(self, hold: Hold, label: str, work: Callable[[], None], queue: Queue = "short") -> None:
        """Let work go on in the background with the locks of a call, which may return.

        Calls that wait already, and those that come later, wait for the end of the work.

        :param label: what they see as the holder
        :raises RuntimeError: nothing is begun any more; the call keeps its locks
        """
        before, hold.label, hold.kept = hold.label, label, True
        try:
            self._queues.submit(queue, lambda: self._finish(hold, work))
        except RuntimeError:
            hold.label, hold.kept = before, False
            raise

    def _finish(self, hold: Hold, work: Callable[[], None]) -> None:
        try:
            work()
        except VdsmError as error:
            log.warning("%s of %s: %s", hold.label, hold, error)
        except Exception:
            # No caller waits for this result any more: report the error in the log.
            log.exception("%s failed in the background of %s", hold.label, hold)
        finally:
            self.locks.release(hold)
