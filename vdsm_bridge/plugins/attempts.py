"""Starting a plugin over and over: what failed for a reason that can pass is tried again in the background.

The first attempt is waited for. Further ones follow after pauses that double up to `MAX_PAUSE`. An
attempt that does not come to its end in time goes on beside them, and its result counts when it comes.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError, wait
from contextlib import suppress
from typing import Final, Generic, TypeVar

from vdsm_core.bounded import GivenUp, StartStopTimeout, bounded
from vdsm_core.errors import DeadlineExceeded, Unavailable

R = TypeVar("R")

#: Seconds before the second attempt.
FIRST_PAUSE: Final = 1.0
#: Seconds between two attempts at the most.
MAX_PAUSE: Final = 60.0
#: Attempts that may hang at the same time; while so many do, no further one is begun.
MAX_HANGING: Final = 2
#: The system's refusals that depend on what else runs at the moment, or on another machine.
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
    """Return whether the same start may succeed later, though nobody changes anything.

    So it is with `Unavailable`, `DeadlineExceeded` and what is derived from them, with a start that did not
    come to its end, and with refusals of the system such as an address in use. An `OSError` in words of the
    plugin counts by the error that it was raised from.
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

    :param what: names it, in logs and errors
    :param work: one attempt
    :param seconds: how long one is waited for
    :param done: called with the result of an attempt that `first` did not return, on another thread; to
        undo it, too, if it is not wanted any more
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
        """Whether they have been ended: what comes of one that still hangs is not wanted."""
        return self._over.done()

    def first(self, hurry: Future[None]) -> R:
        """Make the first attempt, and return its result.

        :param hurry: once it is done, the attempt is not waited for
        :raises StartStopTimeout: the attempt has not come to its end, and goes on
        :raises GivenUp: it was not waited for
        """
        return self._bounded(hurry)

    def go_on(self) -> None:
        """Make further attempts in the background."""
        threading.Thread(target=self._run, name=f"further {self._what}", daemon=True).start()

    def end(self) -> None:
        """Begin no attempt any more. Ending twice is harmless."""
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
            result = self._bounded(self._over)
        except GivenUp:
            return
        except Exception as error:  # noqa: BLE001 - whatever a plugin raises
            self._failed(error)
            return
        self._done(result)

    def _bounded(self, hurry: Future[None]) -> R:
        try:
            return bounded(
                self._what, self._work, self._seconds, late=self._late, failed=self._failed_late, hurry=hurry
            )
        except StartStopTimeout:
            self._count(1)
            raise

    def _late(self, result: R) -> None:
        self._count(-1)
        self._done(result)

    def _failed_late(self, error: Exception) -> None:
        self._count(-1)
        self._failed(error)

    def _count(self, change: int) -> None:
        with self._counting:
            self._hanging += change
