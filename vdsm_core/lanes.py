"""Deprecated: the locks of `vdsm_core.work`, as earlier releases named them; gone with 0.3."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from vdsm_core.work.engine import Engine
from vdsm_core.work.locks import Hold, WaitingCall
from vdsm_core.work.references import Reference, exclusive


class Lanes:
    """Locks of one object at a time, named by texts: kind and id."""

    def __init__(self, work: Engine) -> None:
        self._work = work
        self._held: dict[str, Hold] = {}

    @contextmanager
    def turn(
        self, lane: str, label: str, *, deadline: float | None = None, overtake: bool = False
    ) -> Iterator[Hold]:
        """Wait for an object, hold it for the body; see `Locks.holding`."""
        kind, _, object_id = lane.partition(" ")
        lock = exclusive(Reference.stored(kind, object_id))
        with self._work.locks.holding([lock], label, deadline=deadline, preempts=overtake) as hold:
            self._held[lane] = hold
            try:
                yield hold
            finally:
                self._held.pop(lane, None)

    def continue_in_background(self, lane: str, label: str, work: Callable[[], None]) -> None:
        """Continue work with the object that is held; see `Engine.go_on`.

        :raises RuntimeError: it is not held, or the engine is stopping
        """
        hold = self._held.get(lane)
        if hold is None:
            raise RuntimeError(f"{lane} is not held here")
        self._work.go_on(hold, label, work)

    def snapshot(self) -> list[WaitingCall]:
        """Return every call that holds or waits for an object now."""
        return self._work.locks.snapshot()
