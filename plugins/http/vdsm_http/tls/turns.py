"""The queue of handshakes: a few steps between two polls, round robin over the addresses of callers.

A handshake takes as long as ten requests. Without the queue, many at once would delay all other connections,
and those of one caller the handshakes of all others.
"""

from __future__ import annotations

from collections import deque
from typing import Final, Protocol

from vdsm_http.loop import Loop
from vdsm_http.pace import Delay, Pace, Paced

#: Steps of handshakes between two polls: about two milliseconds.
_AT_ONCE: Final = 4


class Waiting(Paced, Protocol):
    """A handshake whose next step can run.

    `begun`: its first step has run, which takes most of the time.
    """

    @property
    def begun(self) -> bool:
        """Whether its first step has run."""

    def take_turn(self) -> None:
        """Run the next step. It runs no handler, so the calling thread still leads afterwards."""


class Turns:
    """The handshakes of one listener that wait for their turn. Only the loop uses it.

    :param pace: how often a party may begin one
    """

    def __init__(self, loop: Loop, pace: Pace) -> None:
        self._loop = loop
        #: Handshakes that may not begin yet.
        self._early: Delay[Waiting] = Delay(loop.timers, pace, self._queue)
        #: By party; the first one is next.
        self._waiting: dict[str, deque[Waiting]] = {}

    def add(self, handshake: Waiting) -> None:
        """Queue a handshake for its next step."""
        if handshake.begun:
            self._queue(handshake)
        else:
            self._early.add(handshake)

    def _queue(self, handshake: Waiting) -> None:
        if handshake.closed:
            return
        if not self._waiting:
            self._loop.again(self)
        self._waiting.setdefault(handshake.party, deque()).append(handshake)

    def ready(self, _events: int) -> None:
        """Run the next few steps."""
        try:
            for _ in range(_AT_ONCE):
                if self._waiting:
                    self._next().take_turn()
        finally:
            if self._waiting:
                self._loop.again(self)

    def _next(self) -> Waiting:
        party = next(iter(self._waiting))
        queue = self._waiting.pop(party)
        handshake = queue.popleft()
        if queue:
            self._waiting[party] = queue  # behind the others
        return handshake
