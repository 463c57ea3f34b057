"""Calls that wait for something to happen: each holds a thread of its binding, so they are bounded."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from vdsm_core.errors import ResourceExhausted


class Waiting:
    """The waiting calls of one binding, which hands it to them in their `Context`.

    :param most: how many there may be; the rest of the binding's threads is left to other calls
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._wakers: dict[object, Callable[[], None]] = {}
        self._over = False

    @contextmanager
    def place(self, wake: Callable[[], None]) -> Iterator[None]:
        """Wait within this block.

        :param wake: lets the call see that it is `over`
        :raises ResourceExhausted: too many wait already
        """
        ticket = object()
        with self._lock:
            if len(self._wakers) >= self._most:
                raise ResourceExhausted(reason=f"{self._most} calls wait for events on this binding already")
            self._wakers[ticket] = wake
        try:
            yield
        finally:
            with self._lock:
                del self._wakers[ticket]

    @property
    def count(self) -> int:
        """How many wait now."""
        return len(self._wakers)

    def over(self) -> bool:
        """Whether nobody is to wait any longer."""
        return self._over

    def end(self) -> None:
        """Let all of them return what they have, at once; the binding stops."""
        with self._lock:
            self._over = True
            wakers = list(self._wakers.values())
        for wake in wakers:
            wake()
