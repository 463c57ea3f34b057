"""The threads of the front, after the leader/followers pattern: one leads, one stands by, others work.

The leading thread waits for connections, reads requests and runs their handlers itself: this is fastest,
because no other thread has to be woken and no two threads compete for the interpreter. A handler that blocks
must not stop other requests, so a second thread stands by: while requests arrive, it checks every two
milliseconds whether the leader is still in the same handler, and if so, takes over as leader. The deposed
thread finishes its request and becomes an ordinary worker. If handlers have blocked recently, requests are
given to workers at once.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from typing import Any, Final

log = logging.getLogger(__name__)

#: Seconds that the leader may be in one handler.
_CHECK_INTERVAL: Final = 0.002
#: Checks without a request after which the standby thread sleeps until it is needed.
_QUIET_LOOKS: Final = 10
#: Seconds after a handler has blocked in which requests are given to workers at once.
_CAUTION: Final = 0.1
#: Seconds that a worker waits for work before it ends.
_IDLE: Final = 10.0

Job = Callable[[], None]
#: What a thread does until it returns what it does next; None: it ends.
_Role = Callable[[], Any]


class Crew:
    """Threads, and which of them leads.

    :param lead: waits for and serves connections until `leads()` is no longer true
    :param deposed: called by the new leader, with `lock` held: the old one keeps what it works on
    """

    def __init__(self, lead: Callable[[], None], deposed: Callable[[], None]) -> None:
        self._lead = lead
        self._deposed = deposed
        self.lock = threading.Lock()
        self._leader = 0
        self._leader_clock = 0
        self._closed = False
        self._threads: set[threading.Thread] = set()
        self._jobs: queue.SimpleQueue[Job | _Role | None] = queue.SimpleQueue()
        #: Workers without a job; below zero, jobs without a worker.
        self._free = 0
        #: When the leader entered the handler that it runs, on the monotonic clock; 0: it runs none.
        self._since = 0.0
        self._runs = 0
        self._cautious_until = 0.0
        self._armed = False
        self._alarm = threading.Semaphore(0)

    def start(self) -> None:
        """Start the leader and the thread that stands by."""
        with self.lock:
            self._spawn(self._leading)
            self._spawn(self._standing_by)

    def stop(self) -> None:
        """Let all threads end, workers once their jobs are done. The caller has to wake the leader."""
        with self.lock:
            self._closed = True
            self._leader = 0
            # A thread that ends meanwhile leaves the set.
            for _ in list(self._threads):
                self._jobs.put(None)
        self._alarm.release()

    def join(self, timeout: float) -> int:
        """Wait for the threads to end, in seconds. Return how many have not."""
        deadline = time.monotonic() + timeout
        threads = [thread for thread in list(self._threads) if thread is not threading.current_thread()]
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return sum(thread.is_alive() for thread in threads)

    def leads(self) -> bool:
        """Return whether the calling thread leads."""
        return self._leader == threading.get_ident()

    def may_run(self, now: float) -> bool:
        """Return whether the leader may run a handler itself."""
        return now >= self._cautious_until

    @property
    def in_handler(self) -> bool:
        """Whether the leader runs a handler."""
        return self._since != 0.0

    def enter(self, now: float) -> None:
        """Note that the leader runs a handler from now on."""
        self._runs += 1
        self._since = now
        if not self._armed:
            self._armed = True
            self._alarm.release()

    def leave(self) -> bool:
        """Note that the handler is over. Return whether the calling thread still leads."""
        with self.lock:
            if self._leader == threading.get_ident():
                self._since = 0.0
                return True
        return False

    def give(self, job: Job) -> None:
        """Run a job in a worker."""
        with self.lock:
            self._free -= 1
            if self._free < 0 and not self._closed:
                self._free += 1
                self._spawn(self._working)
        self._jobs.put(job)

    def _spawn(self, role: _Role) -> None:
        # A handler that never returns must not keep the process from ending.
        thread = threading.Thread(target=self._run, args=(role,), name="http", daemon=True)
        self._threads.add(thread)
        thread.start()

    def _run(self, role: _Role | None) -> None:
        try:
            while role is not None:
                role = role()
        finally:
            self._threads.discard(threading.current_thread())

    def _leading(self) -> _Role | None:
        with self.lock:
            if not self._closed and self._leader != threading.get_ident():
                self._make_leader()
        threading.current_thread().name = "http-leader"
        self._lead()
        with self.lock:
            self._free += 1
        return None if self._closed else self._working

    def _make_leader(self) -> None:
        self._leader = threading.get_ident()
        self._leader_clock = time.pthread_getcpuclockid(self._leader)
        self._since = 0.0

    def _working(self) -> _Role | None:
        threading.current_thread().name = "http-worker"
        while True:
            try:
                job = self._jobs.get(timeout=_IDLE)
            except queue.Empty:
                if self._may_end():
                    return None
                continue
            if job is None or job == self._standing_by:
                return job
            try:
                job()
            except BaseException:
                # An error of a job must not end the thread.
                log.exception("A job of the HTTP front failed")
            with self.lock:
                self._free += 1

    def _may_end(self) -> bool:
        with self.lock:
            if self._free <= 0:
                return False
            self._free -= 1
            return True

    def _standing_by(self) -> _Role | None:
        threading.current_thread().name = "http-standby"
        while True:
            self._alarm.acquire()
            if self._closed:
                return None
            if self._watch():
                return self._leading

    def _watch(self) -> bool:
        """Look after the leader as long as requests arrive. Return whether this thread leads now."""
        quiet = runs = 0
        seen = used = 0.0
        while not self._closed:
            time.sleep(_CHECK_INTERVAL)
            since = self._since
            if since:
                before, used = used, self._leader_time()
                if since == seen and self._take_over(since, blocked=used - before < _CHECK_INTERVAL / 2):
                    return True
                seen = since
            quiet = quiet + 1 if runs == self._runs and not since else 0
            runs = self._runs
            if quiet > _QUIET_LOOKS:
                self._armed = False
                # The leader may have looked at `_armed` just before, and have entered a handler since.
                if not self._since:
                    return False
                self._armed = True
                quiet = 0
        return False

    def _leader_time(self) -> float:
        """Return the seconds of processor time that the leader has used."""
        try:
            return time.clock_gettime(self._leader_clock)
        except OSError:
            return 0.0  # that thread has ended

    def _take_over(self, since: float, *, blocked: bool) -> bool:
        with self.lock:
            if self._closed or self._since != since:
                return False
            if blocked:
                # A long computation is no reason to use more threads: they would compete with it.
                self._cautious_until = time.monotonic() + _CAUTION
            self._deposed()
            self._make_leader()
            self._armed = False
            if self._free > 0:
                self._free -= 1
                self._jobs.put(self._standing_by)
            else:
                self._spawn(self._standing_by)
        return True
