"""What libvirt's events say of the present run of a machine, and its statistics show."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

import msgspec

from vdsm_core.hypervisor import (
    DomainGraphics,
    DomainLifecycle,
    DomainRtcChange,
    DomainWatchdog,
    HypervisorEvent,
)
from vdsm_virt.api.stats import WatchdogEvent

#: libvirt's word for what a watchdog does, in VDSM's.
_ACTIONS: Final = {"none": "ignore", "poweroff": "destroy", "debug": "log"}


class Moments(msgspec.Struct, frozen=True, kw_only=True):
    """What happened to a machine since it was started.

    :ivar watchdog: what its watchdog did last
    :ivar clock_offset: seconds between its clock and UTC, as the guest set it
    :ivar viewers: the addresses of the viewers that are connected, the newest last
    :ivar viewed: whether there was a viewer
    """

    watchdog: WatchdogEvent | None = None
    clock_offset: int | None = None
    viewers: tuple[str, ...] = ()
    viewed: bool = False


_NOTHING: Final = Moments()


class Chronicle:
    """The moments of all machines. A run of a machine begins without any."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._moments: dict[str, Moments] = {}
        #: Grows with each change.
        self.version = 0

    def of(self, vm_id: str) -> Moments:
        """Return what happened to a machine."""
        return self._moments.get(vm_id, _NOTHING)

    def handle(self, event: HypervisorEvent) -> None:
        """Follow one event of the hypervisor."""
        if isinstance(event, DomainLifecycle):
            # A guest that wakes from its memory goes on with its run.
            if event.event in ("started", "stopped", "undefined") and event.detail != "wakeup":
                with self._lock:
                    self._moments.pop(event.uuid, None)
                    self.version += 1
        elif isinstance(event, DomainWatchdog):
            action = _ACTIONS.get(event.action, event.action)
            fired = WatchdogEvent(time=time.time(), action=action)
            self._change(event.uuid, lambda known: msgspec.structs.replace(known, watchdog=fired))
        elif isinstance(event, DomainRtcChange):
            offset = event.offset
            self._change(event.uuid, lambda known: msgspec.structs.replace(known, clock_offset=offset))
        elif isinstance(event, DomainGraphics):
            self._viewer(event)

    def _viewer(self, event: DomainGraphics) -> None:
        address = event.remote.node or event.remote.service

        def change(known: Moments) -> Moments:
            others = list(known.viewers)
            if address in others and event.phase == "disconnect":
                others.remove(address)
            if event.phase == "initialize":
                others.append(address)
            return msgspec.structs.replace(known, viewers=tuple(others), viewed=True)

        if event.phase in ("initialize", "disconnect"):
            self._change(event.uuid, change)

    def _change(self, vm_id: str, change: Callable[[Moments], Moments]) -> None:
        with self._lock:
            self._moments[vm_id] = change(self._moments.get(vm_id, _NOTHING))
            self.version += 1
