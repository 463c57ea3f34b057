"""Events about the connection to the hypervisor."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import ClassVar, Literal

from vdsm_core.events import EventBus, EventParams
from vdsm_core.hypervisor import ConnectionBack, ConnectionLost, HypervisorEvent


class HypervisorConnection(EventParams, frozen=True):
    """The connection to the hypervisor was lost, or is back."""

    component: ClassVar[str] = "host"
    operation: ClassVar[str] = "hypervisor"
    state: Literal["lost", "back"]
    reason: str


class Connection:
    """Publishes each change, and provides the present state.

    :param events: the bus that events are published on
    """

    def __init__(self, events: EventBus) -> None:
        self._events = events
        self._lock = threading.Lock()
        self._state: HypervisorConnection | None = None

    def found(self, *, up: bool, reason: str) -> None:
        """Set the initial state, unless an event has been received already."""
        with self._lock:
            if self._state is None:
                self._state = HypervisorConnection(state="back" if up else "lost", reason=reason)

    def handle(self, event: HypervisorEvent) -> None:
        """Handle one event of the hypervisor."""
        if isinstance(event, ConnectionLost):
            self._set(HypervisorConnection(state="lost", reason=event.reason))
        elif isinstance(event, ConnectionBack):
            self._set(HypervisorConnection(state="back", reason=""))

    def states(self, barrier: Callable[[], None]) -> list[tuple[str, EventParams]]:
        """Return the present state as an event; see `EventBus.provide`."""
        with self._lock:
            barrier()
            return [] if self._state is None else [("", self._state)]

    def _set(self, state: HypervisorConnection) -> None:
        with self._lock:
            self._state = state
            self._events.publish(state)
