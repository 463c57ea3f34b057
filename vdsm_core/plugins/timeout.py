"""Running code of plugins with a time limit.

Python cannot end a thread. Work that still waits at its time limit is abandoned and keeps waiting. Work that
computes without end would keep slowing down all other threads: it is interrupted, if it does not catch that.
The processor time of the second half distinguishes the two: work that computes at first and then waits is no
loop.
"""

from __future__ import annotations

import ctypes
import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, InvalidStateError, wait
from pathlib import Path
from typing import Any, Final, TypeVar

from vdsm_core.errors import VdsmError

log = logging.getLogger(__name__)

#: Work that computes for more than this fraction of the time is a loop. A loop exceeds it on a busy machine,
#: too; work that polls every 10 ms stays below it.
_LOOPS: Final = 0.03
R = TypeVar("R")


class StartStopTimeout(VdsmError):
    """A plugin did not load, start or stop in time. Facts: `what`, `seconds`.

    `interrupted`: it computed without end, and an exception was raised in its thread.
    """

    slug = "plugin-timeout"
    template = "The {what} did not finish within {seconds:.1f} s"
    interrupted = False
    #: The thread that runs the work.
    thread: threading.Thread | None = None

    @property
    def hopeless(self) -> bool:
        """Whether the same work would fail again: it still runs, or computes without end."""
        return self.interrupted or (self.thread is not None and self.thread.is_alive())


class GivenUp(VdsmError):
    """The start of a plugin was abandoned because the daemon is shutting down. Facts: `what`."""

    slug = "plugin-given-up"
    template = "The {what} was abandoned: the daemon is shutting down"


class Interrupted(BaseException):
    """Raised in the thread of work that computes without end."""


def run_with_timeout(
    what: str,
    work: Callable[[], R],
    seconds: float,
    *,
    on_late_result: Callable[[R], None] = lambda _: None,
    on_late_error: Callable[[Exception], None] = lambda _: None,
    give_up: Future[None] | None = None,
) -> R:
    """Run `work` on a thread of its own, for at most `seconds`.

    :param on_late_result: called with the result of work that ends after its time limit
    :param on_late_error: called with the error of such work
    :param give_up: ends the wait once it is done
    :raises StartStopTimeout: the work did not finish in time
    :raises GivenUp: `give_up` was done before the work
    """
    outcome: Future[R] = Future()
    thread = threading.Thread(
        target=_run, args=(what, work, outcome, on_late_result, on_late_error), name=what, daemon=True
    )
    thread.start()
    ends: list[Future[Any]] = [outcome] if give_up is None else [outcome, give_up]
    computed = 0.0
    if not wait(ends, seconds / 2, return_when=FIRST_COMPLETED).done:
        computed = _computed(thread)
        wait(ends, seconds / 2, return_when=FIRST_COMPLETED)
    if outcome.cancel():
        if give_up is not None and give_up.done():
            raise GivenUp(what=what)
        error = StartStopTimeout(what=what, seconds=seconds)
        error.thread = thread
        if _computed(thread) - computed > _LOOPS * seconds / 2:
            error.interrupted = _interrupt(thread, what)
        raise error
    return outcome.result()


def _run(
    what: str,
    work: Callable[[], R],
    outcome: Future[R],
    on_late_result: Callable[[R], None],
    on_late_error: Callable[[Exception], None],
) -> None:
    try:
        result = work()
    except BaseException as error:  # noqa: BLE001 - passed to the caller; SystemExit and the like are wrapped
        failure = error if isinstance(error, Exception) else RuntimeError(f"{type(error).__name__}: {error}")
        try:
            outcome.set_exception(failure)
        except InvalidStateError:
            on_late_error(failure)
        return
    try:
        outcome.set_result(result)
    except InvalidStateError:
        log.warning("The %s finished after its time limit", what)
        on_late_result(result)


def _computed(thread: threading.Thread) -> float:
    """Return the seconds of processor time that a thread has used; 0 once it has ended."""
    task = Path(f"/proc/self/task/{thread.native_id}")
    try:
        # Documentation/scheduler/sched-stats.rst: the first number is nanoseconds on a processor.
        return int((task / "schedstat").read_text("ascii").split()[0]) / 1e9
    except (OSError, ValueError, IndexError):
        return _computed_in_ticks(task)


def _computed_in_ticks(task: Path) -> float:
    """Return the same on a kernel without scheduler statistics."""
    try:
        status = (task / "stat").read_text("ascii", "replace")
    except OSError:
        return 0.0
    # proc(5): the name, in parentheses, may hold anything; utime and stime are the 14th and 15th field.
    fields = status.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _interrupt(thread: threading.Thread, what: str) -> bool:
    ident = ctypes.c_ulong(thread.ident or 0)
    if not ctypes.pythonapi.PyThreadState_SetAsyncExc(ident, ctypes.py_object(Interrupted)):
        return False
    log.warning("The %s computed without end; it was interrupted", what)
    return True
