"""The scheduler: names, second jobs, order, a clock that the tests move."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from vdsm_core.errors import Conflict
from vdsm_core.work.references import Reference
from vdsm_core.work.scheduler import Jobs, Scheduler


def _wait(event: threading.Event) -> bool:
    return event.wait(30)


class Machine(Reference):
    """A machine."""


class Table:
    """A scheduler without threads of its own: jobs that have begun run when the test releases them."""

    def __init__(self) -> None:
        self.now = 100.0
        self.begun: list[Callable[[], None]] = []
        self.done: list[str] = []
        self.scheduler = Scheduler(self.begun.append, lambda: self.now)

    def plan(self, what: str, **options: object) -> bool:
        return self.scheduler.plan(
            str(options.pop("purpose", what)),
            lambda: self.done.append(what),
            second=options.pop("second", "is a bug"),  # type: ignore[arg-type]
            **options,  # type: ignore[arg-type]
        )

    def go(self, seconds: float = 0.0) -> list[str]:
        """Let time go by, and run what has begun then."""
        self.now += seconds
        self.scheduler.look()
        begun, self.begun[:] = list(self.begun), []
        for run in begun:
            run()
        return self.done


def test_jobs_run_when_their_time_has_come() -> None:
    """In the order of their times, those at once first."""
    table = Table()
    table.plan("late", after=10.0)
    table.plan("soon", after=1.0)
    table.plan("now")
    assert table.go() == ["now"]
    assert table.go(1.0) == ["now", "soon"]
    assert table.go(8.9) == ["now", "soon"]
    assert table.go(0.1) == ["now", "soon", "late"]


def test_a_second_job() -> None:
    """It replaces the first, is not needed, or is a bug, depending on its plan; none is dropped silently."""
    table = Table()
    machine = Machine("1")
    assert table.plan("first", purpose="shutdown", of=machine, after=5.0)
    assert table.plan("second", purpose="shutdown", of=machine, after=9.0, second="replaces")
    assert not table.plan("third", purpose="shutdown", of=machine, second="not needed")
    with pytest.raises(RuntimeError, match="the job 'shutdown of machine 1' is planned already"):
        table.plan("fourth", purpose="shutdown", of=machine)
    assert table.plan("other machine", purpose="shutdown", of=Machine("2"), after=5.0)
    assert table.plan("other purpose", purpose="reservation", of=machine, after=5.0)
    assert table.go(5.0) == ["other machine", "other purpose"]
    assert table.go(4.0)[2:] == ["second"]
    assert table.plan("anew", purpose="shutdown", of=machine), "once it runs, the name is free"


def test_calling_off() -> None:
    """A job whose time has not come can be called off."""
    table = Table()
    table.plan("a", of=Machine("1"), after=1.0)
    assert table.scheduler.call_off("a", Machine("1"))
    assert not table.scheduler.call_off("a", Machine("1"))
    assert table.go(5.0) == []


def test_jobs_about_one_object_run_one_after_the_other() -> None:
    """Those about other objects run beside them; one that fails keeps none from running."""
    table = Table()

    def fail() -> None:
        table.done.append("failed")
        raise ValueError

    def refuse() -> None:
        raise Conflict(reason="no")

    machine = Machine("1")
    table.scheduler.plan("a", fail, of=machine, second="is a bug")
    table.scheduler.plan("b", refuse, of=machine, second="is a bug")
    table.plan("c", of=machine)
    table.plan("d", of=Machine("2"))
    table.scheduler.look()
    assert len(table.begun) == 2, "one of each machine"
    assert table.go() == ["failed", "c", "d"]
    table.plan("e", of=machine)
    assert table.go()[3:] == ["e"]


def test_its_thread() -> None:
    """With the real clock, a job runs after its time, one planned later but due earlier before it."""
    order: list[str] = []
    done = threading.Event()
    scheduler = Scheduler(lambda work: threading.Thread(target=work).start())
    scheduler.start()
    scheduler.plan("far", lambda: order.append("far"), after=60.0, second="is a bug")
    scheduler.plan("late", lambda: (order.append("late"), done.set()), after=0.1, second="is a bug")
    scheduler.plan("soon", lambda: order.append("soon"), after=0.01, second="is a bug")
    assert done.wait(10)
    scheduler.stop(5.0)
    assert order == ["soon", "late"]
    assert not scheduler.plan("more", lambda: None, second="is a bug"), "nothing is begun any more"


def test_the_jobs_of_one_part() -> None:
    """They end with it, whatever others have planned under the same names."""
    table = Table()
    mine, theirs = Jobs(table.scheduler, "virt"), Jobs(table.scheduler, "storage")
    machine = Machine("1")
    for jobs, name in ((mine, "mine"), (theirs, "theirs")):
        assert jobs.plan(
            "look", lambda name=name: table.done.append(name), of=machine, after=1.0, second="is a bug"
        )
    assert mine.plan("other", lambda: table.done.append("other"), second="is a bug")
    assert mine.call_off("other")
    table.scheduler.look()
    mine.end(1.0)
    assert not mine.plan("late", lambda: None, second="is a bug")
    assert table.go(2.0) == ["theirs"]


def test_the_end_waits_for_a_job_that_runs() -> None:
    """For as long as it may, and no longer."""
    begun, goes_on = threading.Event(), threading.Event()
    scheduler = Scheduler(lambda work: threading.Thread(target=work).start())
    scheduler.start()
    jobs = Jobs(scheduler, "virt")

    def work() -> None:
        begun.set()
        goes_on.wait(10)

    jobs.plan("work", work, second="is a bug")
    assert begun.wait(10)
    jobs.end(0.05)
    assert not goes_on.is_set()
    goes_on.set()
    jobs.end(10.0)
    scheduler.stop(5.0)


def test_a_job_that_hangs_blocks_no_later_part(caplog: pytest.LogCaptureFixture) -> None:
    """The end of a part waits no longer than its time, names the job, and frees its strand for the next part.

    The end of the abandoned job does not disturb the job that runs in the strand by then.
    """
    begun: list[threading.Thread] = []

    def run(work: Callable[[], None]) -> None:
        begun.append(threading.Thread(target=work))
        begun[-1].start()

    scheduler = Scheduler(run)
    hang, second, done = threading.Event(), threading.Event(), []
    first_part = Jobs(scheduler, "virt")
    first_part.plan("compare", lambda: _wait(hang), second="is a bug")
    scheduler.look()
    first_part.end(0.05)
    assert "Jobs of virt did not end within 0.1 s and are abandoned: compare" in caplog.text
    next_part = Jobs(scheduler, "virt")
    next_part.plan("compare", lambda: done.append("second") if _wait(second) else None, second="is a bug")
    scheduler.look()
    assert len(begun) == 2
    next_part.plan("compare", lambda: done.append("third"), second="is a bug")
    scheduler.look()
    hang.set()
    begun[0].join(10)
    assert (len(begun), done) == (2, [])
    second.set()
    begun[1].join(10)
    assert done == ["second", "third"]
    next_part.end(10)
