"""The feature area `virt`: machines and the host they run on."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final

from vdsm_bridge.api.declare import Namespace
from vdsm_bridge.plugins.binding import Health
from vdsm_bridge.plugins.feature import Feature, Runtime
from vdsm_core.hypervisor import ConnectionBack, HypervisorEvent
from vdsm_virt.api.events import VmGone, VmStatusChanged
from vdsm_virt.create.incoming import Incoming
from vdsm_virt.create.launch import Launcher
from vdsm_virt.domain.accelerator import AcceleratorProbe
from vdsm_virt.host import HostFacts, HostSampler, Tree
from vdsm_virt.host.capabilities import Promises
from vdsm_virt.host.system import kvm
from vdsm_virt.jobs.migration.migrations import MigrationRules, Migrations
from vdsm_virt.machine.control import Control
from vdsm_virt.machine.inventory import Inventory
from vdsm_virt.machine.listing import Listing
from vdsm_virt.machine.mirror import Mirror
from vdsm_virt.machine.references import ALL
from vdsm_virt.machine.watcher import Watcher
from vdsm_virt.options import VirtOptions
from vdsm_virt.stats.statistics import Statistics
from vdsm_virt.verbs.host import Host
from vdsm_virt.verbs.vm import VM

log = logging.getLogger(__name__)

#: Seconds that the start waits for the list of machines, which a libvirt that is well gives in milliseconds.
_FIRST_LOOK: Final = 1.0
#: Seconds that the stop waits for a comparison that runs.
_LAST_LOOK: Final = 1.0


class Virt(Feature):
    """`Host` in part, and `VM`."""

    Config = VirtOptions

    def __init__(self, runtime: Runtime, config: Any) -> None:
        super().__init__(runtime, config)
        hypervisor = runtime.hypervisor
        tree = Tree(runtime.root)
        self._jobs = runtime.work.jobs("virt")
        self._listing = Listing(hypervisor, runtime.config.hypervisor.call_deadline)
        self._inventory = Inventory(runtime.events, self._listing.awaited)
        self._mirror = Mirror(hypervisor, self._inventory, self._jobs, runtime.root)
        self._watcher = Watcher(
            hypervisor=hypervisor,
            listing=self._listing,
            inventory=self._inventory,
            jobs=self._jobs,
            mirror=self._mirror,
            events=runtime.events,
            compared=lambda: self._migrations.look(),
        )
        self._migrations = Migrations(
            hypervisor=hypervisor,
            inventory=self._inventory,
            watcher=self._watcher,
            mirror=self._mirror,
            jobs=self._jobs,
            events=runtime.events,
            rules=MigrationRules(
                uri=config.migration_uri,
                limit=config.max_outgoing_migrations,
                downtime=config.migration_downtime,
                bandwidth=config.migration_max_bandwidth,
                patience=config.migration_progress_timeout,
                timeout=config.migration_timeout,
                shared=config.shared_folders,
            ),
        )
        self._statistics = Statistics(hypervisor, self._inventory)
        self._accelerator = AcceleratorProbe(hypervisor, config.accelerator, lambda: kvm.usable(tree))
        promises = Promises(
            host_reserve=config.host_reserve,
            extra_reserve=config.extra_reserve,
            guest_overhead=config.guest_overhead,
        )
        self._facts = HostFacts(hypervisor.node, tree, fake_nics=config.fake_nics, promises=promises)
        self._sampler = HostSampler(
            tree,
            interval=config.host_sample_interval,
            paths=config.watched_paths,
            fake_nics=config.fake_nics,
            reserve=config.host_reserve + config.extra_reserve,
        )
        self._taken_back: list[Callable[[], None]] = []

    def namespaces(self) -> Sequence[Namespace]:
        """`Host` and `VM`."""
        runtime, config = self.runtime, self.config
        host = Host(
            facts=self._facts,
            sampler=self._sampler,
            hypervisor=runtime.hypervisor,
            inventory=self._inventory,
            mirror=self._mirror,
            statistics=self._statistics,
            guest_overhead=config.guest_overhead,
        )
        vm = VM(
            inventory=self._inventory,
            mirror=self._mirror,
            launcher=Launcher(
                runtime.hypervisor, self._inventory, self._mirror, runtime.hooks, config.launch_timeout
            ),
            control=Control(
                hypervisor=runtime.hypervisor,
                inventory=self._inventory,
                watcher=self._watcher,
                mirror=self._mirror,
                jobs=self._jobs,
                work=runtime.work,
                hooks=runtime.hooks,
                shutdown_timeout=config.shutdown_timeout,
            ),
            statistics=self._statistics,
            accelerator=self._accelerator,
            migrations=self._migrations,
            incoming=Incoming(
                runtime.hypervisor,
                self._inventory,
                self._jobs,
                runtime.hooks,
                limit=config.max_incoming_migrations,
                timeout=config.incoming_timeout,
            ),
            work=runtime.work,
            patience=runtime.config.daemon.call_deadline,
        )
        return [host, vm]

    def start(self) -> None:
        """Listen, and begin to read what machines there are.

        Neither waits for a hypervisor that is slow or away: until it answers, verbs say `recovering`.
        """
        self._sampler.start()
        status = VmStatusChanged
        self._taken_back = [
            self.runtime.hypervisor.events.listen(self._handle),
            self.runtime.events.provide(
                status.component, [status.operation, VmGone.operation], self._inventory.states
            ),
        ]
        if self.runtime.hypervisor.connected:
            self._look_first()
            self._facts.refresh_soon()

    def _look_first(self) -> None:
        """Read the machines in the background; a libvirt that is well has told them when this returns."""
        looked = threading.Event()

        def look() -> None:
            try:
                self._watcher.compare()
            finally:
                looked.set()

        self._jobs.plan("reading the machines", look, of=ALL, second="not needed")
        if not looked.wait(min(_FIRST_LOOK, self.runtime.config.daemon.start_timeout / 2)):
            log.warning(
                "The machines are not known yet: %s; the host serves meanwhile", self._listing.awaited()
            )

    def stop(self, grace: float) -> None:
        """Stop to listen. Machines run on."""
        for take_back in self._taken_back:
            take_back()
        self._taken_back = []
        self._listing.end()
        self._migrations.stop(grace)
        self._sampler.stop()
        # A list that a job may be waiting for is used by nobody now.
        self._jobs.end(min(grace, _LAST_LOOK))

    def health(self) -> Health:
        """Not well while the hypervisor is not reached, or has not listed the machines yet."""
        if not self.runtime.hypervisor.connected:
            return Health(state="degraded", reason=self.runtime.hypervisor.status().reason)
        if not self._inventory.is_complete:
            return Health(state="degraded", reason=f"not all machines are known: {self._listing.awaited()}")
        return Health()

    def _handle(self, event: HypervisorEvent) -> None:
        if isinstance(event, ConnectionBack):
            self._accelerator.forget()
            # In the background: asked for the first time, libvirt starts each emulator, for seconds.
            self._facts.refresh_soon()
        self._watcher.handle(event)
        self._migrations.handle(event)
