"""The thread that runs libvirt's event loop."""

from __future__ import annotations

import logging
import threading
from typing import Any

import libvirt

log = logging.getLogger(__name__)


def _ignore(*_: Any) -> None:
    """Do nothing: errors are raised as exceptions, and the timer only wakes the loop."""


class EventLoop:
    """Runs libvirt's default event loop.

    libvirt has one event implementation for the whole process, and it cannot be taken back. Several runners
    share it: each iteration is run by whichever thread has it, so any callback may run in any of them.
    """

    def __init__(self) -> None:
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread. Connections opened before the first call receive no events."""
        # Otherwise libvirt prints each error on stderr.
        libvirt.registerErrorHandler(_ignore, None)
        libvirt.virEventRegisterDefaultImpl()
        self._thread = threading.Thread(target=self._run, name="libvirt-events", daemon=True)
        self._thread.start()

    def stop(self, timeout: float) -> bool:
        """End the thread. Return whether it ended within `timeout` seconds."""
        if self._thread is None:
            return True
        self._stopping.set()
        # Fires in every iteration until removed: another runner of this process may take the first ones.
        timer = libvirt.virEventAddTimeout(0, _ignore, None)
        self._thread.join(timeout)
        libvirt.virEventRemoveTimeout(timer)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                libvirt.virEventRunDefaultImpl()
            except libvirt.libvirtError:
                log.exception("libvirt's event loop failed")
                self._stopping.wait(0.1)
