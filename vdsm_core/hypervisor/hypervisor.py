"""The hypervisor: the interface of this package for the rest of the project."""

from __future__ import annotations

import logging
import operator
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from vdsm_core.config import HypervisorOptions
from vdsm_core.deprecated import HYPERVISOR_CALLS, warn_of_attribute
from vdsm_core.hypervisor.connection.caller import Caller
from vdsm_core.hypervisor.connection.dispatcher import Dispatcher, Events
from vdsm_core.hypervisor.connection.event_loop import EventLoop
from vdsm_core.hypervisor.connection.reconnect import Connection, open_libvirt
from vdsm_core.hypervisor.connection.workers import Workers
from vdsm_core.hypervisor.domains.agent import GuestAgents
from vdsm_core.hypervisor.domains.backup import Backups, Checkpoints
from vdsm_core.hypervisor.domains.block_jobs import BlockJobs
from vdsm_core.hypervisor.domains.channel import Channels
from vdsm_core.hypervisor.domains.definition import Definitions
from vdsm_core.hypervisor.domains.devices import Devices
from vdsm_core.hypervisor.domains.disks import Disks
from vdsm_core.hypervisor.domains.events import register
from vdsm_core.hypervisor.domains.jobs import Jobs
from vdsm_core.hypervisor.domains.lifecycle import Domains
from vdsm_core.hypervisor.domains.migration import Migrations
from vdsm_core.hypervisor.domains.sampler import Sampler
from vdsm_core.hypervisor.domains.saved import SavedStates
from vdsm_core.hypervisor.domains.screen import Screens
from vdsm_core.hypervisor.domains.snapshots import Snapshots
from vdsm_core.hypervisor.domains.stats import Stats
from vdsm_core.hypervisor.domains.tuning import Tuning
from vdsm_core.hypervisor.events import ConnectionBack, HypervisorEvent
from vdsm_core.hypervisor.external import External
from vdsm_core.hypervisor.models import ConnectionStatus, UnfinishedCall
from vdsm_core.hypervisor.networks import Networks
from vdsm_core.hypervisor.node import Node
from vdsm_core.hypervisor.node_devices import NodeDevices
from vdsm_core.hypervisor.secrets import Secrets

log = logging.getLogger(__name__)

#: Seconds that `start` waits for the first attempt to connect.
FIRST_WAIT: Final = 2.0


class Hypervisor:
    """libvirt, a part for each subject; here is the connection as a whole.

    Every call has a deadline. A call that outlives it is left behind; it holds up further calls on its own
    domain only, and `domains.destroy` and `jobs.abort` preempt it.

    :param connect: opens a connection; what it returns behaves like libvirt's `virConnect`
    """

    def __init__(self, options: HypervisorOptions, *, connect: Callable[[str], Any] = open_libvirt) -> None:
        self._options = options
        self._loop = EventLoop()
        self._dispatcher = Dispatcher()
        self._workers = Workers()
        self._connection = Connection(options, connect, self._workers, self._announce, register)
        caller = Caller(options, self._workers, self._connection)
        self._sampler = Sampler(options, caller, self._workers, self._connection)
        self.domains: Final = Domains(caller)
        self.definitions: Final = Definitions(caller)
        self.agents: Final = GuestAgents(caller, options.uri)
        self.channels: Final = Channels(caller, self._connection.channels, options.uri)
        self.tuning: Final = Tuning(caller)
        self.screens: Final = Screens(caller)
        self.jobs: Final = Jobs(caller)
        self.migrations: Final = Migrations(caller)
        self.saved_states: Final = SavedStates(caller)
        self.snapshots: Final = Snapshots(caller)
        self.block_jobs: Final = BlockJobs(caller)
        self.backups: Final = Backups(caller)
        self.checkpoints: Final = Checkpoints(caller)
        self.stats: Final = Stats(options, self._sampler)
        self.node: Final = Node(caller)
        self.secrets: Final = Secrets(caller)
        self.external: Final = External(self._workers)
        self.node_devices: Final = NodeDevices(caller)
        self.networks: Final = Networks(caller)
        self.events: Final = Events(self._dispatcher)
        self.devices: Final = Devices(caller, self.events)
        self.disks: Final = Disks(caller)

    @property
    def uri(self) -> str:
        """The URI of the hypervisor."""
        return self._options.uri

    @property
    def connected(self) -> bool:
        """Whether libvirt is connected, according to the last call or keepalive."""
        return self._connection.up

    def status(self) -> ConnectionStatus:
        """Return whether libvirt is connected, since when, and otherwise the reason."""
        return self._connection.status

    def overdue_calls(self) -> list[UnfinishedCall]:
        """Return the calls to libvirt that have outlived their deadline, the oldest first."""
        return self._workers.overdue()

    def start(self) -> None:
        """Begin connecting, and wait briefly for it. A failed attempt is no error: another one follows."""
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
        stuck = self._workers.stop(left())
        ended.append(self._loop.stop(left()))
        if stuck or not all(ended):
            log.warning("%d calls to %s have not returned and are left behind", stuck, self.uri)
        return stuck

    def _announce(self, event: HypervisorEvent) -> None:
        if isinstance(event, ConnectionBack):
            self._sampler.wake()
        self._dispatcher.announce(event)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Return a call under its name of earlier releases, with a warning."""
            if name not in HYPERVISOR_CALLS:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            warn_of_attribute(f"Runtime.hypervisor.{name}")
            return operator.attrgetter(HYPERVISOR_CALLS[name])(self)
