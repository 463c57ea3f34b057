"""A bounded number of threads for a bounded number of jobs."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Final

log = logging.getLogger(__name__)

Job = Callable[[], None]
#: Seconds without work after which a thread ends.
_IDLE: Final = 10.0


#: The part of the queue, and of the threads, that one client can have.
_SHARE: Final = 0.75


class Workers:
    """Threads that are started on demand and end when they are idle.

    Jobs of one client run in their order; clients take turns. One of them gets at most three quarters of
    the queue and of the threads, so that it cannot shut out the others.

    :param max_threads: threads at most
    :param queue: jobs that may wait
    """

    def __init__(self, name: str, max_threads: int, queue: int) -> None:
        self._name = name
        self._max_threads = max_threads
        self._limit = queue
        self._changed = threading.Condition()
        #: Jobs that wait, by client; the first client is next.
        self._jobs: dict[str, deque[Job]] = {}
        self._waiting = 0
        #: Jobs that run, by client.
        self._running: Counter[str] = Counter()
        self._threads: set[threading.Thread] = set()
        self._idle = 0
        self._closed = False

    def submit(self, job: Job, client: str = "") -> bool:
        """Run a job as soon as a thread is free.

        :param client: whose share it counts for; empty: no client's
        :returns: whether it was taken: False if too many jobs are waiting, or after `stop`
        """
        with self._changed:
            if self._closed or self._waiting >= self._limit:
                return False
            if client and len(self._jobs.get(client, ())) >= _share(self._limit):
                return False
            self._jobs.setdefault(client, deque()).append(job)
            self._waiting += 1
            if self._waiting > self._idle and len(self._threads) < self._max_threads:
                thread = threading.Thread(target=self._work, name=self._name, daemon=True)
                self._threads.add(thread)
                thread.start()
            self._changed.notify()
            return True

    def stop(self, grace: float) -> None:
        """Refuse further jobs; wait up to `grace` seconds for those that run or wait."""
        deadline = time.monotonic() + grace
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            threads = list(self._threads)
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        with self._changed:
            self._jobs.clear()
            self._waiting = 0

    def _work(self) -> None:
        while (taken := self._next()) is not None:
            client, job = taken
            try:
                job()
            except Exception:
                # A bug in one job must not cost the others their thread.
                log.exception("A job of %s failed", self._name)
            self._ended(client)

    def _ended(self, client: str) -> None:
        with self._changed:
            self._running[client] -= 1
            if not self._running[client]:
                del self._running[client]
            # A job of this client may run now that had to wait, though threads were idle.
            self._changed.notify()

    def _next(self) -> tuple[str, Job] | None:
        with self._changed:
            self._idle += 1
            self._changed.wait_for(lambda: self._ready() is not None or self._over, _IDLE)
            self._idle -= 1
            client = self._ready()
            if client is None:
                self._threads.discard(threading.current_thread())
                return None
            queue = self._jobs.pop(client)
            job = queue.popleft()
            if queue:
                self._jobs[client] = queue  # behind the others
            self._waiting -= 1
            self._running[client] += 1
            return client, job

    @property
    def _over(self) -> bool:
        """Whether no job comes any more."""
        return self._closed and not self._waiting

    def _ready(self) -> str | None:
        """Return the client whose job is next; None: no job may run."""
        most = _share(self._max_threads)
        return next((client for client in self._jobs if not client or self._running[client] < most), None)


def _share(whole: int) -> int:
    return max(1, int(whole * _SHARE))
