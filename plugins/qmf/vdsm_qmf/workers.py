"""A bounded number of threads for a bounded number of jobs."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

log = logging.getLogger(__name__)

Job = Callable[[], None]
#: Seconds without work after which a thread ends.
_IDLE: Final = 10.0


class Workers:
    """Threads come with the work and go without it.

    :param most: threads
    :param queue: jobs that may wait
    """

    def __init__(self, name: str, most: int, queue: int) -> None:
        self._name = name
        self._most = most
        self._limit = queue
        self._changed = threading.Condition()
        self._jobs: deque[Job] = deque()
        self._threads: set[threading.Thread] = set()
        self._idle = 0
        self._closed = False

    def submit(self, job: Job) -> bool:
        """Do it as soon as a thread is free. False: too many jobs wait already."""
        with self._changed:
            if self._closed or len(self._jobs) >= self._limit:
                return False
            self._jobs.append(job)
            if len(self._jobs) > self._idle and len(self._threads) < self._most:
                thread = threading.Thread(target=self._work, name=self._name, daemon=True)
                self._threads.add(thread)
                thread.start()
            self._changed.notify()
            return True

    def stop(self, grace: float) -> None:
        """Take no more jobs; wait up to `grace` seconds for those that run or wait."""
        deadline = time.monotonic() + grace
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            threads = list(self._threads)
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        with self._changed:
            self._jobs.clear()

    def _work(self) -> None:
        while (job := self._next()) is not None:
            try:
                job()
            except Exception:
                # A bug in one job must not cost the others their thread.
                log.exception("A job of %s failed", self._name)

    def _next(self) -> Job | None:
        with self._changed:
            self._idle += 1
            self._changed.wait_for(lambda: self._jobs or self._closed, _IDLE)
            self._idle -= 1
            if self._jobs:
                return self._jobs.popleft()
            self._threads.discard(threading.current_thread())
            return None
