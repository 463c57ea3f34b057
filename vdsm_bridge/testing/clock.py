"""Time that a test moves, for what waits for time to pass."""

from __future__ import annotations

import threading


class Clock:
    """A monotonic clock that stands still until a test moves it. Calling it reads it, in seconds.

    It can stand in for `time.monotonic`, and for the module `time` where that is read and slept by only.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._now = 1_000.0

    def __call__(self) -> float:
        return self.monotonic()

    def monotonic(self) -> float:
        """Read it."""
        with self._lock:
            return self._now

    def move(self, seconds: float) -> None:
        """Let time pass."""
        with self._lock:
            self._now += seconds

    def sleep(self, seconds: float) -> None:
        """Move the clock, in place of `time.sleep`."""
        self.move(max(0.0, seconds))
