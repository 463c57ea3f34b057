"""Small work on machines that nobody waits for, one after the other, in a thread of its own."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable

from vdsm_core.errors import VdsmError

log = logging.getLogger(__name__)

Job = Callable[[], None]


class Keeper:
    """Runs jobs in the order of their times. A job under a key that waits already is not added again.

    :param name: of its thread
    """

    def __init__(self, name: str = "vm-keeper") -> None:
        self._name = name
        self._changed = threading.Condition()
        self._waiting: list[tuple[float, int, str, Job]] = []
        self._keys: set[str] = set()
        self._numbers = itertools.count()
        self._stopping = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """End the thread after the job that runs; those that wait are dropped."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(timeout)

    def do(self, key: str, job: Job, after: float = 0.0) -> None:
        """Run a job.

        :param key: names it; only one of a key waits at a time
        :param after: seconds
        """
        with self._changed:
            if key in self._keys:
                return
            self._keys.add(key)
            heapq.heappush(self._waiting, (time.monotonic() + after, next(self._numbers), key, job))
            self._changed.notify_all()

    def _run(self) -> None:
        while (found := self._next()) is not None:
            key, job = found
            try:
                job()
            except VdsmError as error:
                log.info("%s: %s", key, error)
            except Exception:
                # One job that cannot be done must not end the others.
                log.exception("%s failed", key)

    def _next(self) -> tuple[str, Job] | None:
        with self._changed:
            while not self._stopping:
                if not self._waiting:
                    self._changed.wait()
                    continue
                due = self._waiting[0][0] - time.monotonic()
                if due > 0:
                    self._changed.wait(due)
                    continue
                _at, _number, key, job = heapq.heappop(self._waiting)
                self._keys.discard(key)
                return key, job
            return None
