"""Other people's code, run for so long and no longer.

Python cannot end a thread. Work that waits longer than it may is left to itself, and waits on. Work that
computes without an end would go on to take its part of the one interpreter from everybody else: that is
interrupted, as far as it lets itself be. Which of the two it does shows in the second half of its time: what
computes at first, and then waits, is no loop.
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

#: Who computes for more than this part of the time does not wait for anything. A loop gets more than this on
#: a busy machine, too; what asks for something every hundredth of a second takes less.
_LOOPS: Final = 0.05
R = TypeVar("R")


class StartStopTimeout(VdsmError):
    """A plugin did not load, start or stop in time. Facts: `what`, `seconds`.

    `interrupted`: it computed without an end, and was stopped in the middle of that.
    """

    slug = "plugin-timeout"
    template = "The {what} did not come to its end within {seconds:.1f} s"
    interrupted = False
    #: What does the work.
    thread: threading.Thread | None = None

    @property
    def hopeless(self) -> bool:
        """Whether the same work would fail again: it still goes on, or computes without an end."""
        return self.interrupted or (self.thread is not None and self.thread.is_alive())


class GivenUp(VdsmError):
    """A plugin that was about to start was not waited for, because the daemon stops. Facts: `what`."""

    slug = "plugin-given-up"
    template = "The {what} was not waited for: the daemon stops"


class Interrupted(BaseException):
    """Raised in the middle of work that computes without an end."""


def bounded(
    what: str,
    work: Callable[[], R],
    seconds: float,
    *,
    late: Callable[[R], None] = lambda _: None,
    failed: Callable[[Exception], None] = lambda _: None,
    hurry: Future[None] | None = None,
) -> R:
    """Run `work` on a thread of its own, for at most `seconds`.

    :param late: called with the result of work that ends when nobody waits for it any more
    :param failed: called with the error of such work
    :param hurry: once it is done, nobody waits either
    :raises StartStopTimeout: the work has not come to its end
    :raises GivenUp: the waiting was ended before the time was up
    """
    outcome: Future[R] = Future()
    thread = threading.Thread(target=_run, args=(what, work, outcome, late, failed), name=what, daemon=True)
    thread.start()
    ends: list[Future[Any]] = [outcome] if hurry is None else [outcome, hurry]
    computed = 0.0
    if not wait(ends, seconds / 2, return_when=FIRST_COMPLETED).done:
        computed = _computed(thread)
        wait(ends, seconds / 2, return_when=FIRST_COMPLETED)
    if outcome.cancel():
        if hurry is not None and hurry.done():
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
    late: Callable[[R], None],
    failed: Callable[[Exception], None],
) -> None:
    try:
        result = work()
    except BaseException as error:  # noqa: BLE001 - handed to the caller; what would end the daemon, wrapped
        failure = error if isinstance(error, Exception) else RuntimeError(f"{type(error).__name__}: {error}")
        try:
            outcome.set_exception(failure)
        except InvalidStateError:
            failed(failure)
        return
    try:
        outcome.set_result(result)
    except InvalidStateError:
        log.warning("The %s came to its end too late", what)
        late(result)


def _computed(thread: threading.Thread) -> float:
    """Seconds of processor time that a thread has used; 0 once it has ended."""
    task = Path(f"/proc/self/task/{thread.native_id}")
    try:
        # Documentation/scheduler/sched-stats.rst: the first number is nanoseconds on a processor.
        return int((task / "schedstat").read_text("ascii").split()[0]) / 1e9
    except (OSError, ValueError, IndexError):
        return _computed_in_ticks(task)


def _computed_in_ticks(task: Path) -> float:
    """The same from a kernel that keeps no statistics of its scheduler."""
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
    log.warning("The %s computed without an end; it was interrupted", what)
    return True
