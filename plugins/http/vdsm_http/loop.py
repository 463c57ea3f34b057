"""The loop: waits for all sockets of the front, keeps deadlines, and gives requests to the crew."""

from __future__ import annotations

import enum
import logging
import os
import select
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Final, Protocol

from vdsm_http.crew import Crew
from vdsm_http.messages import Request
from vdsm_http.site import Site
from vdsm_http.timers import Timers

log = logging.getLogger(__name__)

_EVENTS: Final = 256
#: Seconds in which the next request of a busy client arrives; sleeping and waking up would double them.
_SPIN: Final = 0.0001
READ: Final = select.EPOLLIN | select.EPOLLRDHUP
WRITE: Final = select.EPOLLOUT


class Watched(Protocol):
    """A descriptor that the loop waits for."""

    def ready(self, events: int) -> object:
        """Handle events on its descriptor."""


class Outcome(enum.Enum):
    """The outcome of running a request in the loop."""

    #: It is over, and the calling thread still leads.
    RAN = enum.auto()
    #: It is over, and another thread leads: the caller has to give the connection back.
    DEPOSED = enum.auto()
    #: A worker has it, or will have it, and its connection.
    GIVEN = enum.auto()
    #: Too many wait already.
    REFUSED = enum.auto()


class Phase(enum.Enum):
    """The state of a connection. The loop watches it, except in RUNNING, PAUSED and GONE."""

    OPEN = enum.auto()
    RUNNING = enum.auto()
    PAUSED = enum.auto()
    SENDING = enum.auto()
    ENDING = enum.auto()
    DRAINING = enum.auto()
    GONE = enum.auto()


class Runner(Protocol):
    """A connection with a request to run; the loop does not look at it meanwhile."""

    fd: int

    def perform(self, site: Site, request: Request) -> None:
        """Run the request and send its reply."""

    def work(self, site: Site, request: Request) -> None:
        """Do so in another thread than the loop's, and give the connection back."""

    def reject(self, site: Site, request: Request) -> None:
        """Reply that the request will not run. In the loop."""


class Loop:
    """One thread at a time runs it: the leader of the crew."""

    def __init__(self) -> None:
        self.crew = Crew(self._lead, self._deposed)
        self.timers = Timers()
        self._epoll = select.epoll()
        self._watched: dict[int, Watched] = {}
        self._ready: deque[tuple[Watched, int]] = deque()
        #: Whether the last events arrived so soon that polling for the next ones without sleeping pays.
        self._busy = False
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._commands: deque[Callable[[], None]] = deque()
        #: The connection whose handler the leader runs.
        self._current: Runner | None = None
        self.watch(self._wake, _Commands(self))

    def start(self) -> None:
        """Start the threads."""
        self.crew.start()

    def stop(self, timeout: float) -> int:
        """End all threads within `timeout` seconds. Return how many are left behind in a handler."""
        self.crew.stop()
        self._notify()
        left = self.crew.join(timeout)
        self._epoll.close()
        with self.crew.lock:
            wake, self._wake = self._wake, -1
        os.close(wake)
        return left

    def watch(self, fd: int, what: Watched, events: int = READ) -> None:
        """Wait for events of a descriptor, until `forget`. Any thread may call this."""
        if not self._epoll.closed:
            self._watched[fd] = what
            self._epoll.register(fd, events)

    def change(self, fd: int, events: int) -> None:
        """Wait for other events of a descriptor."""
        self._epoll.modify(fd, events)

    def forget(self, fd: int) -> None:
        """Stop waiting for a descriptor. To be called before it is closed: its number may be used again."""
        if self._watched.pop(fd, None) is not None and not self._epoll.closed:
            self._epoll.unregister(fd)

    def soon(self, command: Callable[[], None]) -> None:
        """Run a command in the loop."""
        self._commands.append(command)
        self._notify()

    def call(self, command: Callable[[], Any], timeout: float = 5.0) -> Any:
        """Run a command in the loop; return what it returns.

        :raises TimeoutError: the loop did not run it in time
        """
        if self.crew.leads() and not self.crew.in_handler:
            return command()
        done: Future[Any] = Future()

        def run() -> None:
            try:
                done.set_result(command())
            except Exception as error:  # noqa: BLE001 - it is raised in the calling thread
                done.set_exception(error)

        self.soon(run)
        return done.result(timeout)

    def again(self, what: Watched) -> None:
        """Continue with a connection after the other pending ones. In the loop."""
        if (what, 0) not in self._ready:
            self._ready.append((what, 0))

    def run_commands(self) -> None:
        """Run the commands of other threads. In the loop."""
        with suppress(BlockingIOError):
            os.eventfd_read(self._wake)
        while self._commands and self.crew.leads():
            self._commands.popleft()()
        if self._commands:
            self._notify()  # one of them ran a request that took long: another thread leads now

    def run(self, site: Site, runner: Runner, request: Request) -> Outcome:
        """Run a request of a site: here, in a worker, or once others have ended."""
        crew, now = self.crew, time.monotonic()
        if not crew.may_run(now) or site.running >= site.limits.max_threads:
            return self._give(site, runner, request)
        with crew.lock:
            site.running += 1
        self._current = runner
        crew.enter(now)
        try:
            runner.perform(site, request)
        finally:
            leads = crew.leave()
            self._finished(site)
        if leads:
            self._current = None
        return Outcome.RAN if leads else Outcome.DEPOSED

    def reject(self, site: Site) -> None:
        """Refuse the queued requests of a site. In the loop."""
        with self.crew.lock:
            waiting = list(site.waiting)
            site.waiting.clear()
        for runner, request in waiting:
            runner.reject(site, request)

    def _give(self, site: Site, runner: Runner, request: Request) -> Outcome:
        with self.crew.lock:
            full = site.running >= site.limits.max_threads
            if full and len(site.waiting) >= site.limits.backlog:
                return Outcome.REFUSED
            self.forget(runner.fd)
            if full:
                site.waiting.append((runner, request))
            else:
                site.running += 1
        if not full:
            self.crew.give(lambda: self._work(site, runner, request))
        return Outcome.GIVEN

    def _work(self, site: Site, runner: Runner, request: Request) -> None:
        try:
            runner.work(site, request)
        finally:
            self._finished(site)

    def _finished(self, site: Site) -> None:
        """Let the next request of a site run."""
        with self.crew.lock:
            if not site.waiting:
                site.running -= 1
                return
            runner, request = site.waiting.popleft()
        self.crew.give(lambda: self._work(site, runner, request))

    def _deposed(self) -> None:
        """Leave the connection whose handler runs to the thread that runs it. With the crew's lock held."""
        current, self._current = self._current, None
        if current is not None:
            self.forget(current.fd)

    def _lead(self) -> None:
        leads, ready = self.crew.leads, self._ready
        while leads():
            # Connections added to `ready` meanwhile are handled after the events of the next poll.
            for _ in range(len(ready)):
                if not leads():
                    return
                watched, events = ready.popleft()
                try:
                    watched.ready(events)
                except Exception:
                    # An error of one connection must not end the loop.
                    log.exception("A connection of the HTTP front failed")
            if leads():
                self._poll()

    def _poll(self) -> None:
        now = time.monotonic()
        self.timers.run(now)
        try:
            events = self._wait(now)
        except (OSError, ValueError):
            return  # closed
        watched = self._watched
        for fd, happened in events:
            what = watched.get(fd)
            if what is not None:
                self._ready.append((what, happened))

    def _wait(self, now: float) -> list[tuple[int, int]]:
        if self._ready:
            return self._epoll.poll(0, _EVENTS)
        if self._busy and (events := self._spin(now)):
            return events
        events = self._epoll.poll(self.timers.wait(now), _EVENTS)
        self._busy = time.monotonic() - now < _SPIN
        return events

    def _spin(self, now: float) -> list[tuple[int, int]]:
        """Poll for events without sleeping, for a moment: waking up takes longer than the next request."""
        end = now + _SPIN
        poll = self._epoll.poll
        while True:
            events = poll(0, _EVENTS)
            if events:
                return events
            if time.monotonic() > end:
                self._busy = False
                return []

    def _notify(self) -> None:
        with suppress(OSError):
            os.eventfd_write(self._wake, 1)


class _Commands:
    """Commands of other threads for the loop."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop

    def ready(self, _events: int) -> None:
        """Run all commands."""
        self._loop.run_commands()
