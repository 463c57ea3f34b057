"""A limit for floods of one log line: the same line from the same place, many times in a short time."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from vdsm_core import audit

#: Lines of one kind that pass within a window, and the window in seconds.
MAX_LINES: Final = 100
WINDOW: Final = 60.0
#: Maximum number of kinds of lines that are counted at the same time; further kinds pass.
_MAX_KINDS: Final = 1000
#: The attribute of log records that this module makes.
_SUMMARY: Final = "vdsm_summary"

_Kind = tuple[str, int, int, str]


class _Count:
    __slots__ = ("began", "passed", "record", "suppressed")

    def __init__(self, began: float, record: logging.LogRecord) -> None:
        self.began = began
        self.record = record
        self.passed = 1
        self.suppressed = 0


class FloodFilter(logging.Filter):
    """Suppresses lines that repeat too often, and summarizes them when their window ends.

    A kind of line is the place in the source, the level and the template of the message; a line of another
    kind always passes. Warnings and errors are counted; lower levels have one line per request and are
    controlled by the log level. The audit log is never filtered.

    :param handler: writes the summaries
    :param clock: monotonic, in seconds
    """

    def __init__(
        self,
        handler: logging.Handler,
        *,
        limit: int = MAX_LINES,
        window: float = WINDOW,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._handler = handler
        self._limit = limit
        self._window = window
        self._clock = clock
        self._lock = threading.RLock()
        self._counts: dict[_Kind, _Count] = {}
        self._next_end = float("inf")

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a line is logged."""
        if hasattr(record, _SUMMARY) or record.name.startswith(audit.LOGGER):
            return True
        with self._lock:
            self.sum_up()
            if record.levelno < logging.WARNING:
                return True
            return self._count(record)

    def sum_up(self, *, all_kinds: bool = False) -> None:
        """Log a summary of each kind of line whose window has ended.

        :param all_kinds: also of those whose window has not
        """
        with self._lock:
            now = self._clock()
            if not all_kinds and now < self._next_end:
                return
            ended = [
                kind for kind, count in self._counts.items() if all_kinds or now >= count.began + self._window
            ]
            over = [self._counts.pop(kind) for kind in ended]
            ends = [count.began + self._window for count in self._counts.values()]
            self._next_end = min(ends, default=float("inf"))
        for count in over:
            if count.suppressed > 0:
                self._handler.handle(_summary(count, now - count.began))

    def _count(self, record: logging.LogRecord) -> bool:
        kind = (record.pathname, record.lineno, record.levelno, str(record.msg))
        count = self._counts.get(kind)
        if count is None:
            if len(self._counts) < _MAX_KINDS:
                now = self._clock()
                self._counts[kind] = _Count(now, record)
                self._next_end = min(self._next_end, now + self._window)
            return True
        if count.passed < self._limit:
            count.passed += 1
            return True
        count.suppressed += 1
        count.record = record
        return False


def _summary(count: _Count, seconds: float) -> logging.LogRecord:
    last = count.record
    summary = logging.LogRecord(
        last.name,
        last.levelno,
        last.pathname,
        last.lineno,
        "%s ... repeated %s times in %.0f s",
        (last.getMessage(), f"{count.suppressed:,}", seconds),
        None,
    )
    setattr(summary, _SUMMARY, True)
    return summary
