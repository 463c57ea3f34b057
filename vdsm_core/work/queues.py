"""Threads for work in the background: some for short work, others for what may take hours."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final, Literal, Protocol

log = logging.getLogger(__name__)

#: Which threads run a piece of work: hours-long work never delays work of seconds.
Queue = Literal["short", "long"]
#: Seconds that a thread waits for work before it ends.
_IDLE: Final = 10.0

Work = Callable[[], None]


class Background(Protocol):
    """Runs functions on other threads."""

    def submit(self, queue: Queue, work: Work) -> None:
        """Run a function as soon as a thread of that queue is free; return at once.

        :raises RuntimeError: nothing is begun any more
        """


class Queues:
    """The threads of the daemon for background work. They are started when needed, and end when idle.

    :param short: threads at most for work of seconds
    :param long: threads at most for work that may take hours
    """

    def __init__(self, *, short: int, long: int) -> None:
        self._pools = {"short": _Pool("work-short", short), "long": _Pool("work-long", long)}

    def submit(self, queue: Queue, work: Work) -> None:
        """Run a function as soon as a thread of that queue is free; see `Background`."""
        self._pools[queue].submit(work)

    def close(self, grace: float) -> int:
        """Begin nothing any more; wait for what runs, at most `grace` seconds. Return how much is left."""
        end = time.monotonic() + grace
        for pool in self._pools.values():
            pool.close()
        return sum(pool.wait(end) for pool in self._pools.values())


class _Pool:
    """The threads of one queue. Those of `concurrent.futures` never end: one burst would leave them all."""

    def __init__(self, name: str, limit: int) -> None:
        self._name = name
        self._limit = limit
        self._changed = threading.Condition()
        self._waiting: deque[Work] = deque()
        self._threads: set[threading.Thread] = set()
        self._idle = 0
        self._running = 0
        self._closed = False

    def submit(self, work: Work) -> None:
        with self._changed:
            if self._closed:
                raise RuntimeError("nothing is begun any more")
            self._waiting.append(work)
            if self._idle >= len(self._waiting):
                self._changed.notify()
            elif len(self._threads) < self._limit:
                # A piece of work that never returns must not keep the process from ending.
                thread = threading.Thread(target=self._work, name=self._name, daemon=True)
                self._threads.add(thread)
                thread.start()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._changed.notify_all()

    def wait(self, end: float) -> int:
        """Wait for what runs. Return how much does still."""
        with self._changed:
            self._changed.wait_for(lambda: not self._running, max(0.0, end - time.monotonic()))
            running, idle = self._running, [] if self._running else list(self._threads)
        for thread in idle:
            if thread is not threading.current_thread():
                thread.join(max(0.1, end - time.monotonic()))
        return running

    def _work(self) -> None:
        while (work := self._next()) is not None:
            try:
                work()
            except Exception:
                # No caller waits for this result: report the error in the log.
                log.exception("Work in the background failed")
            with self._changed:
                self._running -= 1
                if self._closed:
                    self._changed.notify_all()

    def _next(self) -> Work | None:
        with self._changed:
            self._idle += 1
            found = self._changed.wait_for(lambda: self._waiting or self._closed, _IDLE)
            self._idle -= 1
            if not found or self._closed:
                self._threads.discard(threading.current_thread())
                return None
            self._running += 1
            return self._waiting.popleft()
