"""Listeners, and the thread that calls them."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from typing import Final

from vdsm_core.hypervisor.events import EventsLost, HypervisorEvent

log = logging.getLogger(__name__)
Listener = Callable[[HypervisorEvent], None]

#: Events that wait for slow listeners at the most. Thousands of machines that stop at once fit.
MAX_WAITING: Final = 20_000


class Dispatcher:
    """Hands events to listeners, in order, on a thread of its own, so that libvirt's loop never waits."""

    def __init__(self, max_waiting: int = MAX_WAITING) -> None:
        self._max_waiting = max_waiting
        self._waiting: queue.SimpleQueue[tuple[HypervisorEvent, tuple[Listener, ...]] | None] = (
            queue.SimpleQueue()
        )
        self._lock = threading.Lock()
        self._lost = 0
        self._listeners: tuple[Listener, ...] = ()
        self._thread: threading.Thread | None = None

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` with each event from now on, until the returned function is called."""
        entry = _Entry(listener)
        with self._lock:
            self._listeners = (*self._listeners, entry)

        def stop_listening() -> None:
            with self._lock:
                self._listeners = tuple(other for other in self._listeners if other is not entry)

        return stop_listening

    def announce(self, event: HypervisorEvent) -> None:
        """Queue an event. Never blocks."""
        if self._lost or self.waiting() >= self._max_waiting:
            with self._lock:
                self._lost += 1
            return
        # The present listeners: a later one reads the state that this event led to.
        self._waiting.put((event, self._listeners))

    def waiting(self) -> int:
        """Return how many events wait for the listeners."""
        return self._waiting.qsize()

    def start(self) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._run, name="libvirt-dispatcher", daemon=True)
        self._thread.start()

    def stop(self, timeout: float) -> bool:
        """End the thread after what is queued. Return whether it ended within `timeout` seconds."""
        if self._thread is None:
            return True
        self._waiting.put(None)
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (entry := self._waiting.get()) is not None:
            self._notify(*entry)
            if self._lost and self._waiting.empty():
                with self._lock:
                    lost, self._lost = self._lost, 0
                log.error("Listeners are too slow: %d events of the hypervisor were dropped", lost)
                self._notify(EventsLost(lost), self._listeners)

    def _notify(self, event: HypervisorEvent, listeners: tuple[Listener, ...]) -> None:
        for listener in listeners:
            if listener not in self._listeners:
                continue
            try:
                listener(event)
            except Exception:
                log.exception("A listener failed at %r", event)


class Events:
    """The events of the hypervisor, for listeners."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher

    def listen(self, callback: Listener) -> Callable[[], None]:
        """Call `callback` with each event, in order, until the returned function is called.

        All listeners are called on one thread: a slow one delays the others, never libvirt. What one raises
        is logged.
        """
        return self._dispatcher.listen(callback)


class _Entry:
    """Makes each registration distinct, the same function registered twice included."""

    __slots__ = ("_listener",)

    def __init__(self, listener: Listener) -> None:
        self._listener = listener

    def __call__(self, event: HypervisorEvent) -> None:
        self._listener(event)
