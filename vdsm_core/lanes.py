"""Lanes: actions on one object run one after the other, different objects in parallel.

A call takes a *turn* in the lane of its object. Turns are granted in order of arrival. A turn that
overtakes (destroy) waits for nobody, and nobody gets the lane until it is over. There is no lock timeout: a
call waits until its own deadline, and then learns its place in the queue and who holds the lane.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager

import msgspec

from vdsm_core.errors import QueueDeadline

log = logging.getLogger(__name__)


class WaitingCall(msgspec.Struct, frozen=True, rename="camel"):
    """One call in a lane. `place` 0 runs now, 1 is next. `seconds` since it came (place 0: since it runs)."""

    lane: str
    call: str
    place: int
    seconds: float


class Turn:
    """The right to act on an object; given back when the call is over."""

    __slots__ = ("arrived", "granted", "handed_over", "label", "lane", "ready", "thread")

    def __init__(self, lane: str, label: str, ready: threading.Event) -> None:
        self.lane = lane
        self.label = label
        self.ready = ready
        self.arrived = time.monotonic()
        self.granted = 0.0
        self.thread = threading.get_ident()
        self.handed_over = False


class _Lane:
    __slots__ = ("holders", "waiting")

    def __init__(self) -> None:
        self.holders: list[Turn] = []
        self.waiting: list[Turn] = []


class Lanes:
    """The lanes of all objects. A lane exists only while a call is in it.

    :param workers: threads for calls that go on in the background after their reply
    """

    def __init__(self, workers: int = 8) -> None:
        self._lock = threading.Lock()
        self._lanes: dict[str, _Lane] = {}
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="lane")
        self._background: set[Future[None]] = set()

    @contextmanager
    def turn(
        self, lane: str, label: str, *, deadline: float | None = None, overtake: bool = False
    ) -> Iterator[Turn]:
        """Wait for the turn in `lane`, hold it for the body.

        :param deadline: on `time.monotonic`'s clock; None waits for ever
        :raises QueueDeadline: the deadline passed first
        """
        turn = self._enter(lane, label, overtake=overtake)
        if not turn.granted:
            self._wait(turn, deadline)
        try:
            yield turn
        finally:
            if not turn.handed_over:
                self._leave(turn)

    def continue_in_background(self, lane: str, label: str, work: Callable[[], None]) -> None:
        """Let `work` inherit the turn that this thread holds in `lane`, and run it on a thread of the pool.

        Calls that already wait, and those that come later, wait for the end of `work`.

        :raises RuntimeError: this thread holds no turn there
        """
        with self._lock:
            turn = self._held_here(lane)
            turn.handed_over = True
            turn.label = label
        try:
            future = self._pool.submit(self._run, turn, work)
        except RuntimeError:
            turn.handed_over = False
            raise
        self._background.add(future)
        future.add_done_callback(self._background.discard)

    def snapshot(self) -> list[WaitingCall]:
        """Every call that runs or waits in a lane now."""
        now = time.monotonic()
        with self._lock:
            return [
                call
                for name, lane in self._lanes.items()
                for call in (
                    *(WaitingCall(name, t.label, 0, now - t.granted) for t in lane.holders),
                    *(WaitingCall(name, t.label, i, now - t.arrived) for i, t in enumerate(lane.waiting, 1)),
                )
            ]

    def close(self, grace: float = 4.0) -> None:
        """Take no more background work; wait for what runs, at most `grace` seconds."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            running = list(self._background)
        if wait(running, grace).not_done:
            log.warning("Left running in the background: %s", ", ".join(c.call for c in self.snapshot()))

    def _enter(self, name: str, label: str, *, overtake: bool) -> Turn:
        with self._lock:
            lane = self._lanes.get(name)
            if lane is None:
                lane = self._lanes[name] = _Lane()
            turn = Turn(name, label, _NO_EVENT)
            if overtake or not (lane.holders or lane.waiting):
                turn.granted = turn.arrived
                lane.holders.append(turn)
            else:
                turn.ready = threading.Event()
                lane.waiting.append(turn)
            return turn

    def _wait(self, turn: Turn, deadline: float | None) -> None:
        timeout = None if deadline is None else max(0.0, deadline - time.monotonic())
        if turn.ready.wait(timeout):
            return
        with self._lock:
            lane = self._lanes[turn.lane]
            if turn.granted:  # granted between the timeout and this lock
                return
            place = lane.waiting.index(turn) + 1
            holder = lane.holders[0].label
            lane.waiting.remove(turn)
        raise QueueDeadline(
            lane=turn.lane, place=place, waited=time.monotonic() - turn.arrived, holder=holder
        )

    def _leave(self, turn: Turn) -> None:
        with self._lock:
            lane = self._lanes[turn.lane]
            lane.holders.remove(turn)
            if lane.holders:
                return
            if not lane.waiting:
                del self._lanes[turn.lane]
                return
            following = lane.waiting.pop(0)
            following.granted = time.monotonic()
            lane.holders.append(following)
            following.ready.set()

    def _run(self, turn: Turn, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception:
            # Nobody waits for this result any more; the log is the only place left to say it.
            log.exception("%s failed in the background of %s", turn.label, turn.lane)
        finally:
            self._leave(turn)

    def _held_here(self, name: str) -> Turn:
        me = threading.get_ident()
        lane = self._lanes.get(name)
        for turn in lane.holders if lane is not None else ():
            if turn.thread == me and not turn.handed_over:
                return turn
        raise RuntimeError(f"this thread holds no turn in lane {name}")


#: Placeholder of turns that never wait: an Event is a lock and a list, and most calls need none.
_NO_EVENT = threading.Event()
