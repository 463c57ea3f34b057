"""A limit for calls that wait for events: each occupies a thread of its binding."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

from vdsm_bridge.call.slots import Slots
from vdsm_core.deprecated import warn_of_attribute
from vdsm_core.errors import ResourceExhausted

if TYPE_CHECKING:
    from vdsm_bridge.call.context import Identity


class WaitSlots:
    """The waiting calls of one binding, which passes this object to them in their `Context`.

    :param limit: maximum number of waiting calls, shared among callers as by `Slots`; the rest of the
        binding's threads is left to other calls
    """

    def __init__(self, limit: int) -> None:
        self._slots = Slots(limit)
        self._lock = threading.Lock()
        self._wakers: dict[object, Callable[[], None]] = {}
        self._over = False

    @contextmanager
    def taken(self, wake: Callable[[], None], identity: Identity) -> Iterator[None]:
        """Take a slot for a wait within this block.

        :param wake: called by `end`; makes the wait check `over`
        :raises ResourceExhausted: too many calls wait already, or too many of this caller
        """
        if not self._slots.take(identity):
            raise ResourceExhausted(
                reason=f"{self._slots.taken} calls wait for events on this binding already, "
                f"of at most {self._slots.limit}"
            )
        ticket = object()
        with self._lock:
            self._wakers[ticket] = wake
        try:
            yield
        finally:
            with self._lock:
                del self._wakers[ticket]
            self._slots.leave(identity)

    def place(self, wake: Callable[[], None], identity: Identity) -> AbstractContextManager[None]:
        """Deprecated: `taken`, as earlier releases named it."""
        warn_of_attribute("WaitSlots.place")
        return self.taken(wake, identity)

    @property
    def count(self) -> int:
        """The number of waiting calls."""
        return len(self._wakers)

    def over(self) -> bool:
        """Return whether `end` was called."""
        return self._over

    def end(self) -> None:
        """End all waits at once: the binding stops."""
        with self._lock:
            self._over = True
            wakers = list(self._wakers.values())
        for wake in wakers:
            wake()
