"""What every group of verbs on machines works with."""

from __future__ import annotations

import msgspec

from vdsm_core.events import EventBus
from vdsm_core.hooks.manager import Hooks
from vdsm_core.hypervisor import Hypervisor
from vdsm_core.work.engine import Engine
from vdsm_core.work.scheduler import Jobs
from vdsm_virt.machine.inventory import Inventory
from vdsm_virt.machine.machine_hooks import MachineHooks
from vdsm_virt.machine.mirror import Mirror
from vdsm_virt.machine.runs import Runs
from vdsm_virt.machine.watcher import Watcher


class Machines(msgspec.Struct, frozen=True, kw_only=True):
    """The machines of this host, and the parts of the daemon that act on them.

    :ivar hypervisor: libvirt
    :ivar inventory: the record of each machine
    :ivar mirror: reads a domain into its record
    :ivar runs: marks the runs of machines in their domains
    :ivar watcher: follows libvirt's events
    :ivar jobs: later and periodic work of this plugin
    :ivar work: the engine of tasks and locks
    :ivar hooks: calls hooks
    :ivar machine_hooks: calls hooks about a machine, with its document and custom properties
    :ivar events: publishes events
    """

    hypervisor: Hypervisor
    inventory: Inventory
    mirror: Mirror
    runs: Runs
    watcher: Watcher
    jobs: Jobs
    work: Engine
    hooks: Hooks
    machine_hooks: MachineHooks
    events: EventBus
