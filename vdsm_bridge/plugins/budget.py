"""Time that several steps share."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

#: What one step may take of what is left.
_SHARE: Final = 0.5


class Budget:
    """Seconds for steps that follow each other: one that hangs leaves half of them to those that come after.

    Steps that end at once cost the others nothing.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._end = clock() + seconds

    def share(self) -> float:
        """The seconds that the next step may take, never negative."""
        return max(0.0, self._end - self._clock()) * _SHARE
