"""How many migrations run at once."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Slots:
    """The migrations that run, and those that wait for one of them to end."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[str] = set()
        #: Functions that let a migration ask again, in order of arrival.
        self._waiting: dict[str, Callable[[], None]] = {}

    def take(self, vm_id: str, limit: int, wake: Callable[[], None]) -> bool:
        """Take a slot for the migration of a machine. Return whether there was one.

        :param limit: how many may run, this one included; 0 for any number
        :param wake: called when it is worth to ask again
        """
        with self._lock:
            if vm_id not in self._running and 0 < limit <= len(self._running):
                self._waiting[vm_id] = wake
                return False
            self._running.add(vm_id)
            self._waiting.pop(vm_id, None)
            return True

    def release(self, vm_id: str) -> None:
        """Give a slot back, or stop waiting for one."""
        with self._lock:
            self._running.discard(vm_id)
            self._waiting.pop(vm_id, None)
            waiting = list(self._waiting.values())
        for wake in waiting:
            wake()
