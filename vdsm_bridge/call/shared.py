"""Objects that several plugins of one daemon share without importing each other."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar, cast

T = TypeVar("T")


class Shared:
    """One object of each type, made at its first use; a library keeps the shared state of its users here.

    The HTTP bindings share one front this way: no plugin imports another, and no state is global to the
    process.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._objects: dict[Callable[[], Any], Any] = {}

    def get(self, make: Callable[[], T]) -> T:
        """Return the object that `make`, a class without arguments, made for this daemon."""
        with self._lock:
            if make not in self._objects:
                self._objects[make] = make()
            return cast("T", self._objects[make])

    def provide(self, type_: type[T], thing: T) -> None:
        """Let `get` return an object of the daemon's own from now on, instead of one with defaults."""
        with self._lock:
            self._objects[type_] = thing
