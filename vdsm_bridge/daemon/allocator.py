"""Settings of the C library's allocator for a process with many threads that mostly wait.

Both functions do nothing with another C library than glibc, which has no such options.
"""

from __future__ import annotations

import ctypes
from typing import Final

#: Of glibc's malloc.h.
_M_ARENA_MAX: Final = -8


def share_one_arena() -> None:
    """Let all threads share one arena. Call this before starting threads.

    By default each thread has an arena of its own, which keeps freed memory. More arenas bring no speed:
    Python's own allocator serves small objects, and each thread has a cache.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)


def give_back() -> None:
    """Return free memory to the system, as after a start."""
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(ctypes.c_size_t(0))
