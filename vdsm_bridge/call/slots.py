"""A limited number of slots of which no caller can take all."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from vdsm_bridge.call.context import Identity

#: 1 / this fraction of the slots is reserved for callers that hold few.
_RESERVED: Final = 4


class Slots:
    """Counts the slots of each caller.

    The last quarter is reserved for callers that hold less than a quarter of all: one caller leaves room for
    others, regardless of its role.

    :param limit: total number of slots
    :param each: maximum number of slots of one caller
    """

    def __init__(self, limit: int, each: int | None = None) -> None:
        self.limit = limit
        self.each = limit if each is None else each
        self._reserved = limit // _RESERVED
        self._lock = threading.Lock()
        self._held: Counter[str] = Counter()
        self._taken = 0

    def take(self, identity: Identity) -> bool:
        """Take a slot for a caller. Return False if none is available to it."""
        owner = identity.client
        with self._lock:
            if self._taken >= self.limit or self._held[owner] >= self.each:
                return False
            if self._taken >= self.limit - self._reserved and self._held[owner] >= self._reserved:
                return False
            self._held[owner] += 1
            self._taken += 1
            return True

    def leave(self, identity: Identity) -> None:
        """Release a slot of a caller."""
        owner = identity.client
        with self._lock:
            self._taken -= 1
            self._held[owner] -= 1
            if not self._held[owner]:
                del self._held[owner]

    def taken_by(self, identity: Identity) -> int:
        """Return how many slots a caller has."""
        return self._held[identity.client]

    @property
    def taken(self) -> int:
        """The number of slots that are taken."""
        return self._taken
