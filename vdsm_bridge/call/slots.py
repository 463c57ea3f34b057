"""A bounded number of slots of which no caller can take all."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from vdsm_bridge.call.context import Identity

#: The part of the slots that is kept for callers who hold few.
_RESERVED: Final = 4


class Slots:
    """Counts who holds how many slots.

    The last quarter is kept for callers who hold less than a quarter of all: one caller leaves room for
    others, whatever its role.

    :param limit: slots in all
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._reserved = limit // _RESERVED
        self._lock = threading.Lock()
        self._held: Counter[str] = Counter()
        self._taken = 0

    def take(self, identity: Identity) -> bool:
        """Take a slot for a caller. Return False if it may have none."""
        owner = f"{identity.how}:{identity.name}"
        with self._lock:
            if self._taken >= self.limit:
                return False
            if self._taken >= self.limit - self._reserved and self._held[owner] >= self._reserved:
                return False
            self._held[owner] += 1
            self._taken += 1
            return True

    def leave(self, identity: Identity) -> None:
        """Give a slot of a caller back."""
        owner = f"{identity.how}:{identity.name}"
        with self._lock:
            self._taken -= 1
            self._held[owner] -= 1
            if not self._held[owner]:
                del self._held[owner]

    @property
    def taken(self) -> int:
        """How many slots are held."""
        return self._taken
