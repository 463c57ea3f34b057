"""Calls of hook implementations, each with a deadline and a slot.

The slots belong to one implementation: calls that do not return use up those, and no others.
"""

from __future__ import annotations

import contextvars
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vdsm_core.hooks.errors import HookDeadline, HookUnavailable
from vdsm_core.plugins.timeout import StartStopTimeout, run_with_timeout

log = logging.getLogger(__name__)


class Slots:
    """The calls of one implementation that run now, hung ones apart."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running = 0
        #: Thread of each call that has outlived its deadline -> when that call began.
        self._hung: dict[threading.Thread, float] = {}

    def acquire(self, limit: int, seconds: float) -> str:
        """Wait for a slot, at most `seconds`. Return an empty string, or the reason why there is none."""
        with self._changed:
            self._changed.wait_for(lambda: self._running < limit or self._oldest() is not None, seconds)
            if (hung := self.hung()) is not None:
                return f"an earlier call has not returned for {hung:.0f} s"
            if self._running >= limit:
                return f"its calls have reached their limit, {limit} at the same time"
            self._running += 1
            return ""

    def release(self) -> None:
        """Give back a slot: the call has returned."""
        with self._changed:
            self._running -= 1
            self._changed.notify()

    def abandon(self, thread: threading.Thread, began: float) -> None:
        """Release a slot: the call continues on its thread, beyond its deadline.

        :param began: when it began, by the monotonic clock
        """
        with self._changed:
            self._running -= 1
            self._hung[thread] = began
            self._changed.notify_all()

    def hung(self) -> float | None:
        """Seconds since the oldest hung call began; None if there is none."""
        with self._changed:
            oldest = self._oldest()
        return None if oldest is None else time.monotonic() - oldest

    def idle(self) -> bool:
        """Return whether no call runs or hangs."""
        with self._changed:
            return self._running == 0 and self._oldest() is None

    def _oldest(self) -> float | None:
        # Asking the threads cannot miss the end of a call, not even of one that was interrupted.
        self._hung = {thread: began for thread, began in self._hung.items() if thread.is_alive()}
        return min(self._hung.values(), default=None)


class Implementation:
    """One plugin's implementation of one hook.

    :param parameters: the names of those parameters of the hook that the function takes
    :param seconds: the deadline of one call, its wait for a slot included
    :param limit: the number of slots
    """

    def __init__(
        self,
        hook: str,
        plugin: str,
        function: Callable[..., Any],
        parameters: Sequence[str],
        slots: Slots,
        *,
        seconds: float,
        limit: int,
    ) -> None:
        self.hook = hook
        self.plugin = plugin
        self._function = function
        self._parameters = parameters
        self._slots = slots
        self._seconds = seconds
        self._limit = limit

    def __call__(self, arguments: Mapping[str, Any]) -> Any:
        """Call it, and return its result. The arguments are its own: a late call may still change them.

        :param arguments: those of the hook, by name
        :raises HookDeadline: it has not returned in time
        :raises HookUnavailable: it was not called, because earlier calls have not returned
        """
        began = time.monotonic()
        if reason := self._slots.acquire(self._limit, self._seconds):
            raise HookUnavailable(hook=self.hook, plugin=self.plugin, reason=reason)
        taken = [arguments[name] for name in self._parameters]
        # Run with the context of the call, as on the thread of the caller.
        context = contextvars.copy_context()
        try:
            result = run_with_timeout(
                f"hook {self.hook} of plugin '{self.plugin}'",
                lambda: context.run(self._function, *taken),
                max(0.0, began + self._seconds - time.monotonic()),
                on_late_error=self._late_error,
            )
        except StartStopTimeout as timeout:
            if timeout.thread is None:  # raised by the implementation itself
                self._slots.release()
                raise
            self._slots.abandon(timeout.thread, began)
            raise HookDeadline(hook=self.hook, plugin=self.plugin, seconds=self._seconds) from None
        except BaseException:
            self._slots.release()
            raise
        self._slots.release()
        return result

    def _late_error(self, error: Exception) -> None:
        log.warning("Hook %s of plugin %s failed after its deadline: %r", self.hook, self.plugin, error)
