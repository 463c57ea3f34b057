"""An exclusive lock on an open file, for which a holder that is about to let go is waited for."""

from __future__ import annotations

import fcntl
import time
from typing import Final

#: Seconds for which a lock that another process holds is tried again, and between two tries.
PATIENCE: Final = 0.5
STEP: Final = 0.02


def lock_exclusively(file: int, patience: float = PATIENCE) -> bool:
    """Lock a file for this process; the kernel frees the lock with the last descriptor of the file.

    :param file: descriptor
    :param patience: seconds
    :returns: False if another process still holds the lock after `patience` seconds
    :raises OSError: the file system has no locks
    """
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(STEP)
        else:
            return True
