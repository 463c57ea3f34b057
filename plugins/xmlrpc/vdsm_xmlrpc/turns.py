"""Turns of the multicalls of one client, so that several take no more processor time than one."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

#: Seconds after which a call is made without its turn: the one before it waits for something.
_PATIENCE: Final = 5.0


class _Turn:
    """Of one client, while it has a multicall."""

    def __init__(self) -> None:
        self.lock = threading.Lock()


class Turns:
    """Makes the calls of a client's multicalls one at a time.

    Each multicall has a thread. Without the turns, those of one client would compute side by side, and every
    other thread would wait for the interpreter behind all of them.
    """

    def __init__(self, patience: float = _PATIENCE) -> None:
        self._patience = patience
        self._lock = threading.Lock()
        self._turns: weakref.WeakValueDictionary[str, _Turn] = weakref.WeakValueDictionary()

    def __len__(self) -> int:
        """Return the number of clients that have a multicall."""
        return len(self._turns)

    def of(self, client: str) -> _Turn:
        """Return the turn of a client. It exists as long as a multicall keeps it."""
        with self._lock:
            turn = self._turns.get(client)
            if turn is None:
                turn = self._turns[client] = _Turn()
            return turn

    @contextmanager
    def wait(self, turn: _Turn) -> Iterator[None]:
        """Wait for the turn, but not for long, and keep it meanwhile."""
        mine = turn.lock.acquire(timeout=self._patience)
        try:
            yield
        finally:
            if mine:
                turn.lock.release()
