"""Later and periodic work, named by object and purpose.

A job is what is to be done about an object for one purpose: "overdue shutdown" of a machine. There is at most
one that waits under a name; what becomes of a second one is declared where it is planned, so that none is
dropped silently. Jobs about one object run one after the other, those about different objects side by side.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable
from typing import Final, Literal, NamedTuple

from vdsm_core.errors import VdsmError
from vdsm_core.work.references import Reference

log = logging.getLogger(__name__)

Work = Callable[[], None]
#: What a new job means for one of the same name that still waits: it replaces it, is not needed because the
#: other one does the same, or is a bug.
Second = Literal["replaces", "not needed", "is a bug"]
#: Seconds that the thread sleeps where no job waits.
_NEVER: Final = 3_600.0


class Name(NamedTuple):
    """The name of a job: what for, and about which object, if it is about one."""

    purpose: str
    of: Reference | None = None
    owner: str = ""

    def __str__(self) -> str:
        return f"{self.purpose} of {self.of}" if self.of is not None else self.purpose

    @property
    def strand(self) -> Hashable:
        """The key that jobs share which run one after the other."""
        return self.owner, self.of if self.of is not None else self.purpose


class _Job(NamedTuple):
    due: float
    number: int
    name: Name
    work: Work


class _Strand:
    """The job of a strand that runs, and those that are due after it."""

    __slots__ = ("running", "waiting")

    def __init__(self, running: _Job) -> None:
        self.running = running
        self.waiting: deque[_Job] = deque()


class Agenda:
    """Which job is due when, and which may run; without threads, and without a clock of its own."""

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self._waiting: dict[Name, _Job] = {}
        #: By time. A job that was replaced or called off is still here, and left out when its time comes.
        self._times: list[_Job] = []
        #: The strands of which a job runs.
        self._strands: dict[Hashable, _Strand] = {}

    def plan(self, name: Name, work: Work, due: float, second: Second) -> bool:
        """Plan a job. Return whether it was taken: not if it is not needed.

        :raises RuntimeError: there is one of this name, and a second one is a bug
        """
        if name in self._waiting:
            if second == "not needed":
                return False
            if second == "is a bug":
                raise RuntimeError(f"the job '{name}' is planned already")
        job = _Job(due, next(self._numbers), name, work)
        self._waiting[name] = job
        heapq.heappush(self._times, job)
        return True

    def call_off(self, name: Name) -> bool:
        """Call off a job that still waits. Return whether there was one."""
        return self._waiting.pop(name, None) is not None

    def next_time(self) -> float | None:
        """Return when the next job is due; None if none waits."""
        while self._times and self._waiting.get(self._times[0].name) is not self._times[0]:
            heapq.heappop(self._times)
        return self._times[0].due if self._times else None

    def take(self, now: float) -> list[_Job]:
        """Take the jobs that are due and may run; `ended` is to be called for each."""
        taken = []
        while (due := self.next_time()) is not None and due <= now:
            job = heapq.heappop(self._times)
            del self._waiting[job.name]
            strand = self._strands.get(job.name.strand)
            if strand is None:
                self._strands[job.name.strand] = _Strand(job)
                taken.append(job)
            else:
                strand.waiting.append(job)
        return taken

    def ended(self, job: _Job) -> _Job | None:
        """Note the end of a job that was taken. Return the next one of its strand, which is taken now."""
        strand = self._strands.get(job.name.strand)
        if strand is None or strand.running is not job:
            return None  # abandoned
        if not strand.waiting:
            del self._strands[job.name.strand]
            return None
        strand.running = strand.waiting.popleft()
        return strand.running

    def abandon(self, owner: str) -> list[Name]:
        """Free the strands of an owner: jobs that run there block no later ones. Return their names."""
        abandoned = [
            strand.running.name for strand in self._strands.values() if strand.running.name.owner == owner
        ]
        for name in abandoned:
            del self._strands[name.strand]
        return abandoned

    @property
    def names(self) -> list[Name]:
        """The names of the jobs that wait for their time."""
        return list(self._waiting)


class Scheduler:
    """Runs jobs at their times, on the threads that `run` provides.

    :param run: runs a function on another thread, and returns at once
    :param clock: seconds, monotonic
    """

    def __init__(self, run: Callable[[Work], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._run = run
        self._clock = clock
        self._agenda = Agenda()
        self._changed = threading.Condition()
        self._stopping = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread that watches the time."""
        self._thread = threading.Thread(target=self._watch, name="scheduler", daemon=True)
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """Begin no further job. Those that wait are dropped: each is about a daemon that runs."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(timeout)

    def plan(
        self,
        purpose: str,
        work: Work,
        *,
        of: Reference | None = None,
        owner: str = "",
        after: float = 0.0,
        second: Second,
    ) -> bool:
        """Plan a job. Return whether it was taken: not if it is not needed, or nothing is begun any more.

        :param purpose: what for; with `of` and `owner`, the name of the job
        :param of: the object that it is about
        :param owner: the part of the daemon that plans it
        :param after: seconds from now
        :param second: what this job is to one of the same name that still waits
        """
        with self._changed:
            if self._stopping:
                return False
            taken = self._agenda.plan(Name(purpose, of, owner), work, self._clock() + after, second)
            self._changed.notify_all()
            return taken

    def call_off(self, purpose: str, of: Reference | None = None, owner: str = "") -> bool:
        """Call off a job whose time has not come. Return whether there was one."""
        with self._changed:
            return self._agenda.call_off(Name(purpose, of, owner))

    def call_off_all(self, owner: str) -> None:
        """Call off what a part of the daemon has planned."""
        with self._changed:
            for name in self._agenda.names:
                if name.owner == owner:
                    self._agenda.call_off(name)

    def abandon(self, owner: str) -> list[str]:
        """Let the running jobs of a part of the daemon block no later ones. Return their names."""
        with self._changed:
            return [str(name) for name in self._agenda.abandon(owner)]

    def look(self) -> None:
        """Begin the jobs that are due."""
        with self._changed:
            due = [] if self._stopping else self._agenda.take(self._clock())
        for job in due:
            self._begin(job)

    def _begin(self, job: _Job) -> None:
        try:
            self._run(lambda: self._carry_out(job))
        except RuntimeError:
            # The threads have ended, and nothing is begun any more.
            with self._changed:
                self._agenda.ended(job)

    def _carry_out(self, job: _Job) -> None:
        following: _Job | None = job
        while following is not None:
            job = following
            try:
                job.work()
            except VdsmError as error:
                log.info("%s: %s", job.name, error)
            except Exception:
                # One job that fails must not end the others.
                log.exception("%s failed", job.name)
            with self._changed:
                following = self._agenda.ended(job)
                if self._stopping:
                    return

    def _watch(self) -> None:
        while not self._stopping:
            self.look()
            with self._changed:
                following = self._agenda.next_time()
                wait = _NEVER if following is None else following - self._clock()
                if wait > 0 and not self._stopping:
                    self._changed.wait(wait)


class Jobs:
    """The jobs of one part of the daemon: they end with it.

    :param owner: names the part; jobs of different parts may have the same purposes
    """

    def __init__(self, scheduler: Scheduler, owner: str) -> None:
        self._scheduler = scheduler
        self._owner = owner
        self._changed = threading.Condition()
        self._running = 0
        self._ended = False

    def plan(
        self, purpose: str, work: Work, *, of: Reference | None = None, after: float = 0.0, second: Second
    ) -> bool:
        """Plan a job; see `Scheduler.plan`."""
        if self._ended:
            return False
        return self._scheduler.plan(
            purpose, lambda: self._run(work), of=of, owner=self._owner, after=after, second=second
        )

    def call_off(self, purpose: str, of: Reference | None = None) -> bool:
        """Call off a job whose time has not come. Return whether there was one."""
        return self._scheduler.call_off(purpose, of, self._owner)

    def end(self, timeout: float) -> None:
        """Call all jobs off, and wait for those that run, at most `timeout` seconds.

        Jobs that still run then are abandoned: they block no job of a later part of the name, such as the
        same plugin after it was switched off and on.
        """
        with self._changed:
            self._ended = True
        self._scheduler.call_off_all(self._owner)
        with self._changed:
            ended = self._changed.wait_for(lambda: not self._running, timeout)
        if not ended and (abandoned := self._scheduler.abandon(self._owner)):
            log.warning(
                "Jobs of %s did not end within %.1f s and are abandoned: %s",
                self._owner,
                timeout,
                ", ".join(abandoned),
            )

    def _run(self, work: Work) -> None:
        with self._changed:
            if self._ended:
                return
            self._running += 1
        try:
            work()
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()
