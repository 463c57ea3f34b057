"""A thread that waits for sockets and timers.

Proton's own reactor waits with select(2), which knows no descriptor above 1023; a daemon with many clients
has such. One loop serves any number of connections.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import os
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final

log = logging.getLogger(__name__)

READ: Final = selectors.EVENT_READ
WRITE: Final = selectors.EVENT_WRITE

Work = Callable[[], None]
OnReady = Callable[[int], None]


#: Cancelled timers that may stay among the others until their time has come.
_SLACK: Final = 1_000


class Timer:
    """Work that is to be done later, unless it is cancelled."""

    __slots__ = ("at", "work")

    def __init__(self, at: float, work: Work) -> None:
        self.at = at
        self.work: Work | None = work

    def cancel(self) -> None:
        """Do not do it."""
        self.work = None


class Loop:
    """All callbacks run on its thread; everything but `call_soon` and `stop` is called from there only."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._selector: selectors.BaseSelector | None = None
        self._wake = -1
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._soon: deque[Work] = deque()
        self._awake = False
        self._ending = False
        self._timers: list[tuple[float, int, Timer]] = []
        self._tidy_at = _SLACK
        self._count = itertools.count()

    def start(self) -> None:
        """Start the thread."""
        self._selector = selectors.DefaultSelector()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._selector.register(self._wake, READ, self._woken)
        self._ending = False
        with self._lock:
            self._awake = True
            os.eventfd_write(self._wake, 1)
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread; what was to be done later is not done."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self.call_soon(self._end)
        if thread is not threading.current_thread():
            thread.join()

    def call_soon(self, work: Work) -> None:
        """Do some work on the thread, in order of arrival. From any thread; never blocks."""
        with self._lock:
            self._soon.append(work)
            if self._awake or self._wake < 0:
                return
            self._awake = True
            os.eventfd_write(self._wake, 1)

    def call_later(self, delay: float, work: Work) -> Timer:
        """Do some work after `delay` seconds."""
        timer = Timer(time.monotonic() + delay, work)
        if len(self._timers) > self._tidy_at:
            self._tidy()
        heapq.heappush(self._timers, (timer.at, next(self._count), timer))
        return timer

    def _tidy(self) -> None:
        """Take the cancelled timers out: a call that was answered leaves one that is due in a minute."""
        self._timers = [entry for entry in self._timers if entry[2].work is not None]
        heapq.heapify(self._timers)
        self._tidy_at = 2 * len(self._timers) + _SLACK

    def watch(self, sock: socket.socket, events: int, ready: OnReady) -> None:
        """Call `ready` with READ, WRITE or both whenever a socket is; zero `events`: no longer."""
        assert self._selector is not None
        known = sock in self._selector.get_map()
        if not events:
            if known:
                self._selector.unregister(sock)
        elif known:
            self._selector.modify(sock, events, ready)
        else:
            self._selector.register(sock, events, ready)

    def _run(self) -> None:
        assert self._selector is not None
        try:
            while not self._ending:
                for key, events in self._selector.select(self._patience()):
                    self._guard(partial(key.data, events))
                self._do_timers()
                self._do_soon()
        finally:
            with self._lock:
                os.close(self._wake)
                self._wake = -1
                self._soon.clear()
            self._selector.close()
            self._timers.clear()

    def _patience(self) -> float | None:
        while self._timers and self._timers[0][2].work is None:
            heapq.heappop(self._timers)
        return max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else None

    def _do_timers(self) -> None:
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            work = heapq.heappop(self._timers)[2].work
            if work is not None:
                self._guard(work)

    def _do_soon(self) -> None:
        # What comes meanwhile has its turn after the sockets.
        with self._lock:
            batch, self._soon = self._soon, deque()
        for work in batch:
            self._guard(work)

    @staticmethod
    def _guard(work: Work) -> None:
        try:
            work()
        except Exception:
            # One connection's trouble must not end the others'.
            log.exception("A callback of the message bus failed")

    def _woken(self, _events: int) -> None:
        with self._lock:
            os.eventfd_read(self._wake)
            self._awake = False

    def _end(self) -> None:
        self._ending = True
