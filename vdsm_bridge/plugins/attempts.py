"""Repeated attempts to start a plugin, in the background, after a failure that is temporary.

The first attempt is waited for. Further ones follow after pauses that double up to `MAX_PAUSE`. An attempt
that exceeds its time limit continues beside them, and its result counts when it ends.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError, wait
from contextlib import suppress
from typing import Final, Generic, TypeVar

from vdsm_core.errors import DeadlineExceeded, Unavailable
from vdsm_core.plugins.timeout import GivenUp, StartStopTimeout, run_with_timeout

R = TypeVar("R")

#: Seconds before the second attempt.
FIRST_PAUSE: Final = 1.0
#: Maximum number of seconds between two attempts.
MAX_PAUSE: Final = 60.0
#: Maximum number of hanging attempts; while so many hang, no further one is begun.
MAX_HANGING: Final = 2
#: Errors of the system that depend on other processes or machines, and may thus be temporary.
_PASSING: Final = frozenset(
    {
        errno.EADDRINUSE,
        errno.EADDRNOTAVAIL,
        errno.EAGAIN,
        errno.EBUSY,
        errno.ECONNABORTED,
        errno.ECONNREFUSED,
        errno.ECONNRESET,
        errno.EDQUOT,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.EMFILE,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.ENFILE,
        errno.ENOBUFS,
        errno.ENOMEM,
        errno.ENOSPC,
        errno.EPIPE,
        errno.ESTALE,
        errno.ETIMEDOUT,
    }
)


def can_pass(error: BaseException) -> bool:
    """Return whether the same start may succeed later, without any change.

    This applies to `Unavailable`, `DeadlineExceeded` and errors derived from them, to a start that exceeded
    its time limit, and to errors of the system such as an address in use. An `OSError` with a text of the
    plugin's own counts by the error that it was raised from.
    """
    if isinstance(error, StartStopTimeout):
        return not error.interrupted
    if isinstance(error, Unavailable | DeadlineExceeded | TimeoutError):
        return True
    if not isinstance(error, OSError):
        return False
    if error.errno is None:
        return error.__cause__ is not None and can_pass(error.__cause__)
    return error.errno in _PASSING


class Attempts(Generic[R]):
    """Attempts at one piece of work, until `end`.

    :param what: its name in logs and errors
    :param work: one attempt
    :param seconds: time limit of one attempt
    :param done: called with the result of an attempt that `first` did not return, on another thread; it also
        undoes a result that is not wanted any more
    :param failed: called with the error of an attempt that `first` did not raise, likewise
    """

    def __init__(
        self,
        what: str,
        work: Callable[[], R],
        seconds: float,
        *,
        done: Callable[[R], None],
        failed: Callable[[Exception], None],
    ) -> None:
        self._what = what
        self._work = work
        self._seconds = seconds
        self._done = done
        self._failed = failed
        self._over: Future[None] = Future()
        self._counting = threading.Lock()
        self._hanging = 0

    @property
    def over(self) -> bool:
        """Whether they have been ended: the result of one that still hangs is not wanted."""
        return self._over.done()

    def first(self, give_up: Future[None]) -> R:
        """Run the first attempt and return its result.

        :param give_up: ends the wait for the attempt once it is done
        :raises StartStopTimeout: the attempt exceeded its time limit, and continues
        :raises GivenUp: `give_up` was done first
        """
        return self._run_once(give_up)

    def go_on(self) -> None:
        """Run further attempts in the background."""
        threading.Thread(target=self._run, name=f"further {self._what}", daemon=True).start()

    def end(self) -> None:
        """Begin no further attempt. Ending twice is harmless."""
        with suppress(InvalidStateError):
            self._over.set_result(None)

    def _run(self) -> None:
        pause = FIRST_PAUSE
        while not wait([self._over], pause).done:
            pause = min(2 * pause, MAX_PAUSE)
            if self._hanging < MAX_HANGING:
                self._attempt()

    def _attempt(self) -> None:
        try:
            result = self._run_once(self._over)
        except GivenUp:
            return
        except Exception as error:  # noqa: BLE001 - a plugin may raise any error
            self._failed(error)
            return
        self._done(result)

    def _run_once(self, give_up: Future[None]) -> R:
        try:
            return run_with_timeout(
                self._what,
                self._work,
                self._seconds,
                on_late_result=self._late_result,
                on_late_error=self._late_error,
                give_up=give_up,
            )
        except StartStopTimeout:
            self._count(1)
            raise

    def _late_result(self, result: R) -> None:
        self._count(-1)
        self._done(result)

    def _late_error(self, error: Exception) -> None:
        self._count(-1)
        self._failed(error)

    def _count(self, change: int) -> None:
        with self._counting:
            self._hanging += change
