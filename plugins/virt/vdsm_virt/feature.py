"""The feature area `virt`: machines and the host they run on."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from vdsm_bridge.api.declare import Namespace
from vdsm_bridge.plugins.binding import Health
from vdsm_bridge.plugins.feature import Feature, Runtime
from vdsm_core.hypervisor import ConnectionBack, HypervisorEvent
from vdsm_virt.access.console import Console
from vdsm_virt.api.events import VmGone, VmStatusChanged
from vdsm_virt.create.incoming import Incoming
from vdsm_virt.create.launch import Launcher
from vdsm_virt.create.launch_plan import Planner
from vdsm_virt.definitions.autostart import Autostart, read_mounts
from vdsm_virt.definitions.editor import Editor
from vdsm_virt.definitions.launches import KeptLaunches
from vdsm_virt.devices.alignment import Alignment
from vdsm_virt.devices.disks import Disks as DiskChanges
from vdsm_virt.devices.hostdevs import PluggedHostDevices
from vdsm_virt.devices.images import Images
from vdsm_virt.devices.leases import Leases as LeaseChanges
from vdsm_virt.devices.media import Media
from vdsm_virt.devices.memory import MemoryModules
from vdsm_virt.devices.nics import Nics
from vdsm_virt.devices.node_devices import HostDevices
from vdsm_virt.devices.plugging import Plugging
from vdsm_virt.devices.settle import Settler
from vdsm_virt.devices.sizes import Sizes as DiskSizes
from vdsm_virt.domain.accelerator import AcceleratorProbe
from vdsm_virt.guest.facts import GuestFacts
from vdsm_virt.guest.ovirt_agents import OvirtAgents
from vdsm_virt.guest.poller import AgentPoller
from vdsm_virt.guestfs.guest_tools import GuestTools
from vdsm_virt.hook_points.answers import AnswerHooks
from vdsm_virt.hook_points.properties import CustomProperties
from vdsm_virt.host import HostFacts, HostSampler
from vdsm_virt.host.capabilities import Promises
from vdsm_virt.host.hardware.guarded import GuardedTree
from vdsm_virt.host.system import kvm
from vdsm_virt.host.system.emulator_user import emulator_user
from vdsm_virt.imports.conversions import Conversions
from vdsm_virt.imports.sources import ImportSources
from vdsm_virt.imports.virt_v2v import VirtV2V
from vdsm_virt.jobs.hibernation import Hibernations
from vdsm_virt.jobs.migration.migrations import MigrationRules, Migrations
from vdsm_virt.jobs.migration.peers import Peers, Proof
from vdsm_virt.jobs.seal import Seals
from vdsm_virt.jobs.thin.sizes import MIB, Sizes
from vdsm_virt.machine.control import Control
from vdsm_virt.machine.drift import Drift
from vdsm_virt.machine.inventory import Inventory
from vdsm_virt.machine.listing import Listing
from vdsm_virt.machine.machine_hooks import MachineHooks
from vdsm_virt.machine.machines import Machines
from vdsm_virt.machine.mirror import Mirror
from vdsm_virt.machine.paused import PausedMachines
from vdsm_virt.machine.power import Power
from vdsm_virt.machine.references import ALL
from vdsm_virt.machine.runs import Runs
from vdsm_virt.machine.watcher import Watcher
from vdsm_virt.options import VirtOptions
from vdsm_virt.policy.host_access import HostAccess
from vdsm_virt.policy.image_folders import ImageFolders
from vdsm_virt.saved.volumes import SavedVolumes
from vdsm_virt.stats.moments import Chronicle
from vdsm_virt.stats.statistics import Sources, Statistics
from vdsm_virt.tuning.limits import Limits
from vdsm_virt.tuning.mom import Mom
from vdsm_virt.verbs.console import Consoles
from vdsm_virt.verbs.definitions import Definitions
from vdsm_virt.verbs.desktop import Desktops
from vdsm_virt.verbs.devices import Devices
from vdsm_virt.verbs.disks import DiskRooms, Disks, Leases
from vdsm_virt.verbs.displays import Displays
from vdsm_virt.verbs.hibernation import Hibernation
from vdsm_virt.verbs.host import Host
from vdsm_virt.verbs.host_devices import HostDeviceVerbs
from vdsm_virt.verbs.imports import Imports, LibvirtSecrets
from vdsm_virt.verbs.lifecycle import Lifecycle
from vdsm_virt.verbs.limits import HostLimits, MachineLimits
from vdsm_virt.verbs.live_storage import LiveStorage, LiveStorageOptions
from vdsm_virt.verbs.migration import Migration
from vdsm_virt.verbs.seal import Seal
from vdsm_virt.verbs.tuning import Tuning
from vdsm_virt.verbs.vm import VM

log = logging.getLogger(__name__)

#: Seconds that the start waits for the list of machines, which a libvirt that is well gives in milliseconds.
_FIRST_LOOK: Final = 1.0
#: The name of what this plugin does when others call hooks.
_HOOKS: Final = "virt"
#: Seconds that the stop waits for a comparison that runs.
_LAST_LOOK: Final = 1.0


class Virt(Feature):
    """`Host` in part, and `VM`."""

    Config = VirtOptions

    def __init__(self, runtime: Runtime, config: Any) -> None:
        super().__init__(runtime, config)
        hypervisor = runtime.hypervisor
        tree = GuardedTree(runtime.root, runtime.privileged, runtime.clock)
        self._jobs = runtime.work.jobs("virt")
        self._listing = Listing(hypervisor, runtime.config.hypervisor.call_deadline)
        self._inventory = Inventory(
            runtime.events,
            self._listing.awaited,
            lambda vm_id: self._watcher.reread_soon(vm_id),
            lambda before, after: self._runs.follow(before, after),
        )
        self._runs = Runs(hypervisor, self._inventory, self._jobs, runtime.root)
        self._mirror = Mirror(hypervisor, self._inventory, self._jobs, runtime.root, config.kept_custom)
        self._watcher = Watcher(
            hypervisor=hypervisor,
            listing=self._listing,
            inventory=self._inventory,
            jobs=self._jobs,
            mirror=self._mirror,
            events=runtime.events,
            compared=self._compared,
            end=lambda vm_id: self._power.end_soon(vm_id, "no reboot"),
        )
        self._machine_hooks = MachineHooks(hypervisor, self._inventory, runtime.hooks, self._jobs)
        self._machines = Machines(
            hypervisor=hypervisor,
            inventory=self._inventory,
            mirror=self._mirror,
            runs=self._runs,
            watcher=self._watcher,
            jobs=self._jobs,
            work=runtime.work,
            hooks=runtime.hooks,
            machine_hooks=self._machine_hooks,
            events=runtime.events,
        )
        self._guests = GuestFacts()
        self._ovirt_agents = OvirtAgents(hypervisor, self._inventory, self._jobs, self._guests, runtime.clock)
        self._power = Power(self._machines, self._ovirt_agents)
        self._incoming = Incoming(
            self._machines,
            limit=config.max_incoming_migrations,
            timeout=config.incoming_timeout,
        )
        self._paused = PausedMachines(self._machines, self._power, config.paused_timeout)
        self._migrations = Migrations(
            self._machines,
            MigrationRules(
                uri=config.migration_uri,
                limit=config.max_outgoing_migrations,
                downtime=config.migration_downtime,
                bandwidth=config.migration_max_bandwidth,
                patience=config.migration_progress_timeout,
                timeout=config.migration_timeout,
                shared=config.shared_folders,
            ),
            Peers(
                config.peers,
                Proof(
                    token=config.peer_token,
                    ca=config.peer_ca,
                    certificate=config.peer_certificate,
                    key=config.peer_key,
                    timeout=config.peer_timeout,
                ),
                runtime.config.tls,
            ),
        )
        self._images = Images(runtime.hooks, _payload_folder(runtime, config))
        self._settler = Settler(self._machines, self._images)
        self._drift = Drift(
            hypervisor, self._inventory, self._mirror, self._jobs, runtime.config.hypervisor.sample_interval
        )
        self._hibernations = Hibernations(self._machines)
        self._host_access = HostAccess(ImageFolders(config.image_folders), config.operator_custom)
        self._live_storage = LiveStorage(
            self._machines,
            LiveStorageOptions(
                sizes=Sizes(chunk=config.volume_chunk * MIB, free=config.volume_free),
                transient=Path(config.transient_folder),
                sockets=Path(runtime.config.daemon.run_dir) / "backup",
            ),
            self._host_access,
            lambda: emulator_user(tree),
        )
        self._chronicle = Chronicle()
        self._poller = AgentPoller(self._machines, self._guests, runtime.clock)
        self._statistics = Statistics(
            hypervisor,
            self._inventory,
            Sources(
                chronicle=self._chronicle,
                guests=self._guests,
                jobs=self._live_storage.merges_of,
                patience=self._agent_patience,
            ),
        )
        self._mom = Mom(runtime.root / config.mom_socket.lstrip("/"), self._jobs, runtime.clock)
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
        self._sampler.mom_status = lambda: self._mom.status
        self._guest_tools = GuestTools(
            Path(runtime.config.daemon.run_dir, "guestfs"), config.guestfs_environment
        )
        self._seals = Seals(self._machines, self._guest_tools)
        self._conversions = Conversions(
            runtime.work,
            runtime.hooks,
            VirtV2V(self._guest_tools),
            Path(runtime.config.daemon.run_dir, "v2v"),
        )
        self._launcher = Launcher(self._machines, self._images, config.launch_timeout)
        self._launches = KeptLaunches(self._machines, self._launcher, self._images)
        self._autostart = Autostart(
            self._machines,
            runtime.root,
            runtime.config.daemon.run_dir,
            self._launches.start,
        )
        self._taken_back: list[Callable[[], None]] = []

    def namespaces(self) -> Sequence[Namespace]:
        """`Host` in part, and `VM` in groups of verbs."""
        runtime, config = self.runtime, self.config
        answers = AnswerHooks(runtime.hooks)
        host = Host(
            facts=self._facts,
            sampler=self._sampler,
            hypervisor=runtime.hypervisor,
            inventory=self._inventory,
            mirror=self._mirror,
            statistics=self._statistics,
            conversions=self._conversions,
            answers=answers,
            guest_overhead=config.guest_overhead,
        )
        control = Control(
            self._machines,
            self._power,
            self._settler.release,
            dropped=self._incoming.drop,
            shutdown_timeout=config.shutdown_timeout,
        )
        lifecycle = Lifecycle(
            launcher=self._launcher,
            control=control,
            planner=Planner(
                self._accelerator,
                CustomProperties(runtime.hooks, config.kept_custom),
                open_displays=config.open_displays,
            ),
            work=runtime.work,
            patience=runtime.config.daemon.call_deadline,
            saved=SavedVolumes(runtime.hooks),
            host_access=self._host_access,
        )
        limits = Limits(self._machines)
        host_devices = HostDevices(self._machines, runtime.privileged)
        plugging = Plugging(self._machines, config.kept_custom)
        return [
            host,
            HostDeviceVerbs(host_devices),
            Devices(
                Nics(self._machines, plugging),
                MemoryModules(self._machines, plugging),
                PluggedHostDevices(runtime.hypervisor.node_devices, plugging),
                control,
                self._host_access,
            ),
            VM(self._inventory, self._mirror, self._statistics, answers),
            lifecycle,
            Definitions(
                self._launches,
                Editor(
                    self._machines, self._accelerator, config.kept_custom, lambda: read_mounts(runtime.root)
                ),
                self._autostart,
                control,
            ),
            Imports(
                runtime.hypervisor,
                ImportSources(config.import_schemes, config.import_folders),
                self._conversions,
            ),
            LibvirtSecrets(runtime.hypervisor),
            Hibernation(self._hibernations),
            Tuning(control),
            MachineLimits(limits),
            HostLimits(limits, self._mom, runtime.privileged),
            Displays(control),
            Desktops(self._inventory, self._ovirt_agents),
            Consoles(Console(self._machines)),
            *_disk_verbs(self._machines, self._images, self._host_access, config),
            Migration(self._migrations, self._incoming, self._host_access),
            *self._live_storage.namespaces(),
            Seal(self._seals),
        ]

    def start(self) -> None:
        """Subscribe to events, and begin to read the machines.

        Neither waits for a hypervisor that is slow or away: until it answers, verbs raise `recovering`.
        """
        self._sampler.start()
        self._migrations.start()
        self._poller.start()
        self._paused.start()
        self.runtime.hooks.register(_HOOKS, self._paused)
        self._ovirt_agents.start()
        self._conversions.start()
        self._drift.start()
        self._hibernations.start()
        self._live_storage.start()
        self._seals.start()
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
        """Read the machines in the background; return when they are known, if that is soon."""
        looked = threading.Event()

        def look() -> None:
            try:
                self._watcher.compare()
            finally:
                looked.set()

        self._jobs.plan("reading the machines", look, of=ALL, second="not needed")
        if not looked.wait(min(_FIRST_LOOK, self.runtime.config.daemon.start_timeout / 2)):
            log.warning(
                "Not all machines are known yet: %s. The host serves meanwhile", self._listing.awaited()
            )

    def stop(self, grace: float) -> None:
        """Unsubscribe. Machines continue to run."""
        for take_back in self._taken_back:
            take_back()
        self._taken_back = []
        self.runtime.hooks.unregister(_HOOKS)
        self._listing.end()
        self._ovirt_agents.stop()
        self._migrations.stop(grace)
        self._conversions.stop(grace)
        self._hibernations.stop(grace)
        self._live_storage.stop(grace)
        self._seals.stop(grace)
        self._sampler.stop()
        # A list that a job waits for is not used any more.
        self._jobs.end(min(grace, _LAST_LOOK))

    def health(self) -> Health:
        """Return "degraded" until the hypervisor is reached and has listed the machines."""
        if not self.runtime.hypervisor.connected:
            return Health(state="degraded", reason=self.runtime.hypervisor.status().reason)
        if not self._inventory.is_complete:
            return Health(state="degraded", reason=f"not all machines are known: {self._listing.awaited()}")
        return Health()

    def _agent_patience(self) -> float:
        """Return for how long guests may be without an agent. Only QEMU's have any."""
        driver = self.runtime.hypervisor.status().driver
        return float(self.config.agent_patience) if driver == "QEMU" else 0.0

    def _compared(self) -> None:
        self._migrations.look()
        self._settler.look()
        self._live_storage.look()
        self._autostart.look()

    def _handle(self, event: HypervisorEvent) -> None:
        if isinstance(event, ConnectionBack):
            self._accelerator.forget()
            # In the background: asked for the first time, libvirt starts each emulator, for seconds.
            self._facts.refresh_soon()
        # First: a verb that waits for the inventory to change expects that its event was seen here.
        self._machine_hooks.handle(event)
        self._settler.handle(event)
        self._watcher.handle(event)
        self._chronicle.handle(event)
        self._poller.handle(event)
        self._incoming.handle(event)
        self._ovirt_agents.handle(event)
        self._migrations.handle(event)
        self._live_storage.handle(event)


def _payload_folder(runtime: Runtime, config: VirtOptions) -> str:
    """Return the folder of payloads' images; empty if there is none."""
    run_dir = runtime.config.daemon.run_dir
    return config.payload_folder or (f"{run_dir}/payload" if run_dir else "")


def _disk_verbs(
    machines: Machines, images: Images, host_access: HostAccess, config: VirtOptions
) -> list[Namespace]:
    """Return the verbs on the disks and the leases of running machines."""
    rooms = DiskRooms(
        disks=DiskChanges(machines, images, config.release_timeout, config.kept_custom),
        media=Media(machines, images),
        sizes=DiskSizes(machines),
        alignment=Alignment(images),
    )
    return [Disks(rooms, host_access), Leases(LeaseChanges(machines))]
