"""A time limit that several steps share."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

#: The fraction of the remaining time that one step may take.
_SHARE: Final = 0.5


class Budget:
    """Seconds for consecutive steps: a hanging step leaves half of the remaining time to later ones.

    Steps that end at once take nothing from the others.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._end = clock() + seconds

    def share(self) -> float:
        """Return the seconds that the next step may take, never negative."""
        return max(0.0, self._end - self._clock()) * _SHARE
