"""The C library's allocator, set up for a process with many threads that mostly wait.

Both functions do nothing with another C library than glibc, which has no such options.
"""

from __future__ import annotations

import ctypes
from typing import Final

#: Of glibc's malloc.h.
_M_ARENA_MAX: Final = -8


def share_one_arena() -> None:
    """Let all threads share one arena. To be called before threads are started.

    By default each gets an arena of its own, and what one of them has had once stays there. Small objects
    are served by Python's own allocator, and each thread has a cache: more arenas make nothing quicker.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)


def give_back() -> None:
    """Return to the system what is free at the moment, as after a start."""
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(ctypes.c_size_t(0))
