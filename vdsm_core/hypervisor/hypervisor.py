"""The hypervisor, as the rest of the project sees it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, Final

from vdsm_core.config import HypervisorOptions
from vdsm_core.hypervisor.connection.dispatcher import Dispatcher
from vdsm_core.hypervisor.connection.event_loop import EventLoop
from vdsm_core.hypervisor.connection.reconnect import Connection, open_libvirt
from vdsm_core.hypervisor.connection.workers import Calls
from vdsm_core.hypervisor.domains.migration import MigrationCalls
from vdsm_core.hypervisor.domains.sampler import Sampler
from vdsm_core.hypervisor.events import ConnectionBack, HypervisorEvent
from vdsm_core.hypervisor.models import ConnectionStatus, Sample, UnfinishedCall
from vdsm_core.hypervisor.node import HostCalls

log = logging.getLogger(__name__)

#: Seconds that `start` waits for the first attempt to connect.
FIRST_WAIT: Final = 2.0


class Hypervisor(MigrationCalls, HostCalls):
    """libvirt: domains, their migration, the host, events, bulk statistics.

    Every call has a deadline. A call that outlives it is left behind; it holds up further calls on its own
    domain only, and `destroy` overtakes it.

    :param connect: opens a connection; what it returns behaves like libvirt's `virConnect`
    """

    def __init__(self, options: HypervisorOptions, *, connect: Callable[[str], Any] = open_libvirt) -> None:
        self._loop = EventLoop()
        self._dispatcher = Dispatcher()
        calls = Calls()
        super().__init__(options, calls, Connection(options, connect, calls, self._announce))
        self._sampler = Sampler(options, calls, self._connection)

    @property
    def uri(self) -> str:
        """What it is connected to."""
        return self._options.uri

    @property
    def connected(self) -> bool:
        """Whether libvirt is reached, as far as is known."""
        return self._connection.up

    def status(self) -> ConnectionStatus:
        """Whether libvirt is reached, since when, and why not."""
        return self._connection.status

    def start(self) -> None:
        """Start to connect, and wait briefly for it. That it fails is no error: it is tried again."""
        self._loop.start()
        self._dispatcher.start()
        self._connection.start(FIRST_WAIT)
        self._sampler.start()

    def stop(self, grace: float) -> int:
        """Close everything within `grace` seconds.

        Return how many threads are left behind in calls to libvirt that do not return; they do not keep the
        process from ending.
        """
        end = time.monotonic() + grace

        def left() -> float:
            return max(0.05, end - time.monotonic())

        ended = [
            self._sampler.stop(left()),
            self._connection.stop(left()),
            self._dispatcher.stop(left()),
        ]
        stuck = self._calls.stop(left())
        ended.append(self._loop.stop(left()))
        if stuck or not all(ended):
            log.warning("%d calls to %s have not returned and are left behind", stuck, self.uri)
        return stuck

    def listen(self, callback: Callable[[HypervisorEvent], None]) -> Callable[[], None]:
        """Call `callback` with each event, in order, until the returned function is called.

        All listeners are called on one thread: a slow one delays the others, never libvirt. What one raises
        is logged.
        """
        return self._dispatcher.listen(callback)

    def sample(self) -> Sample:
        """The newest statistics of all domains. Returns at once, except before the first reading.

        :raises HypervisorUnavailable: nothing has been read yet, and libvirt is not reached
        :raises HypervisorDeadline: nothing has been read yet, and libvirt does not answer
        """
        sample = self._sampler.sample()
        return sample if sample.taken_at else self.refresh()

    def refresh(self, timeout: float | None = None) -> Sample:
        """Statistics read after this call was made.

        :param timeout: seconds; without it, the configured `call_deadline`
        :raises HypervisorDeadline: libvirt did not answer in time
        :raises HypervisorUnavailable: libvirt is not reached
        """
        return self._sampler.refresh(self._options.call_deadline if timeout is None else timeout)

    def calls(self) -> list[UnfinishedCall]:
        """Calls to libvirt that have outlived their deadline, the oldest first."""
        return self._calls.overdue()

    def _announce(self, event: HypervisorEvent) -> None:
        if isinstance(event, ConnectionBack):
            self._sampler.wake()
        self._dispatcher.announce(event)
