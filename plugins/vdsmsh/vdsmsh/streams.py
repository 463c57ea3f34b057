"""The standard streams of a command."""

from __future__ import annotations

import math
import os
import select
import stat
import sys
from dataclasses import dataclass, field
from typing import Final, TextIO

#: Seconds between two checks whether a pipe still has a reader.
_CHECK_INTERVAL: Final = 1.0


@dataclass(frozen=True)
class Streams:
    """Where a command reads and writes."""

    stdin: TextIO = field(default_factory=lambda: sys.stdin)
    stdout: TextIO = field(default_factory=lambda: sys.stdout)
    stderr: TextIO = field(default_factory=lambda: sys.stderr)

    def check_reader(self) -> float:
        """Check that standard output still has a reader: a command that waits does not find out by writing.

        :returns: seconds after which to check again
        :raises BrokenPipeError: the reader has closed the pipe
        """
        try:
            number = self.stdout.fileno()
        except (OSError, ValueError):
            return math.inf  # a text in memory
        poll = select.poll()
        poll.register(number, 0)  # errors are always reported, whatever is asked for
        if any(state & (select.POLLERR | select.POLLHUP) for _, state in poll.poll(0)):
            raise BrokenPipeError
        # A terminal that closes ends its programs by a signal, and a file never closes.
        return _CHECK_INTERVAL if stat.S_ISFIFO(os.fstat(number).st_mode) else math.inf
