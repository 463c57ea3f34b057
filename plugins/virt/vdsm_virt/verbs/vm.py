"""The verbs of a machine."""

from __future__ import annotations

import time
from typing import Annotated

from msgspec import Meta

from vdsm_bridge.api.declare import Namespace, action, query
from vdsm_bridge.call.context import Context
from vdsm_core.errors import OperationFailed
from vdsm_core.types import UUID, UUID_PATTERN
from vdsm_core.work.engine import Engine
from vdsm_core.work.references import exclusive
from vdsm_virt.api.definition import VmDefinition
from vdsm_virt.api.migration import (
    IncomingParams,
    MigrateParams,
    MigrationCreateState,
    MigrationParameters,
    MigrationStats,
)
from vdsm_virt.api.params import VmParams
from vdsm_virt.api.scalars import MOST_CPUS
from vdsm_virt.api.stats import VmStats
from vdsm_virt.create.incoming import Incoming
from vdsm_virt.create.launch import Launcher
from vdsm_virt.create.launch_plan import plan
from vdsm_virt.domain.accelerator import AcceleratorProbe
from vdsm_virt.jobs.migration.migrations import Migrations
from vdsm_virt.machine.control import Control
from vdsm_virt.machine.describe import definition
from vdsm_virt.machine.inventory import Inventory
from vdsm_virt.machine.mirror import Mirror
from vdsm_virt.machine.references import Machine
from vdsm_virt.stats.statistics import Statistics

OptionalUUID = Annotated[str, Meta(pattern=rf"{UUID_PATTERN}|^$(?!\n)", description="A UUID, or empty.")]


class VM(Namespace, key="vmID", plural="vms", listed_by="Host.getVMFullList", reference=Machine):
    """A virtual machine on this host."""

    def __init__(
        self,
        *,
        inventory: Inventory,
        mirror: Mirror,
        launcher: Launcher,
        control: Control,
        statistics: Statistics,
        accelerator: AcceleratorProbe,
        migrations: Migrations,
        incoming: Incoming,
        work: Engine,
        patience: float,
    ) -> None:
        self._inventory = inventory
        self._mirror = mirror
        self._launcher = launcher
        self._control = control
        self._statistics = statistics
        self._accelerator = accelerator
        self._migrations = migrations
        self._incoming = incoming
        self._work = work
        self._patience = patience

    @action(since="1.0", part="create")
    def create(self, vm_params: VmParams, context: Context, vm_id: OptionalUUID = "") -> VmDefinition:
        """Create a machine and start it.

        Returns at once; the machine is started in the background, and its status and events tell how that
        went.

        :param vm_params: the machine; members that are not known are kept with it
        :param vm_id: its id, if `vmParams.vmId` does not say it; without either it gets a new one
        :returns: the machine, waiting for its launch
        :raises VMExists: its id or its name is taken
        :raises CannotCreateVM: libvirt does not accept it
        """
        wanted = plan(vm_params, vm_id, self._accelerator.get(), context.address)
        locks = [exclusive(Machine(wanted.id))]
        deadline = time.monotonic() + context.remaining(self._patience)
        with self._work.locks.holding(locks, "VM.create", deadline=deadline) as hold:
            machine = self._launcher.define(wanted)
            try:
                self._work.go_on(hold, "VM.create (launch)", lambda: self._launcher.launch(wanted))
            except RuntimeError:
                self._launcher.abandon(wanted)
                raise OperationFailed(reason="the daemon is about to stop") from None
        return definition(machine)

    @action(since="1.0", part="delete", preempts=True, done="Machine destroyed")
    def destroy(self, vm_id: UUID, graceful_attempts: Annotated[int, Meta(ge=0, le=20)] = 1) -> None:
        """Kill a machine, or forget one that is down.

        Waits neither for calls on the machine that run nor for its launch.

        :param graceful_attempts: how often QEMU is asked to end in order before it is killed
        :raises NoSuchVM: no machine of this id is on the host
        :raises VMDestroyFailed: it cannot be ended
        :raises ForeignDefinition: it is down, and somebody else defined it
        """
        self._control.destroy(vm_id.lower(), graceful_attempts)

    @action(since="1.0")
    def shutdown(
        self,
        vm_id: UUID,
        *,
        delay: Annotated[int, Meta(ge=0, le=86_400)] = 0,
        message: Annotated[str, Meta(max_length=4096)] = "",
        reboot: bool = False,
        timeout: Annotated[int, Meta(ge=0, le=86_400)] = 0,
        force: bool = False,
    ) -> None:
        """Ask the guest to power off or to reboot.

        Returns when the guest has been asked, at the latest. A guest that has not done so after `timeout`
        is shown as "Up" again, or with `force` is ended: destroyed, or reset for a reboot.

        :param delay: seconds to wait first
        :param message: for the log; no guest agent of this day shows it to users
        :param reboot: come up again
        :param timeout: seconds that the guest has; 0 is the configured time
        :param force: end it if it does not comply
        :raises NoSuchVM: no machine of this id is on the host
        :raises VMIsDown: it does not run
        """
        self._control.shutdown(
            vm_id.lower(), delay=delay, message=message, reboot=reboot, timeout=timeout, force=force
        )

    @action(since="1.0")
    def reset(self, vm_id: UUID) -> None:
        """Reset a machine as its reset button does.

        :raises NoSuchVM: no machine of this id is on the host
        :raises VMIsDown: it does not run
        :raises ResetFailed: the hypervisor cannot do it
        """
        self._control.reset(vm_id.lower())

    @action(since="1.0")
    def pause(self, vm_id: UUID) -> None:
        """Stop the virtual processors; memory stays resident. A machine that is paused stays so.

        :raises NoSuchVM: no machine of this id is on the host
        :raises VMIsDown: it does not run
        """
        self._control.pause(vm_id.lower())

    @action(since="1.0")
    def cont(self, vm_id: UUID) -> None:
        """Let a paused machine run again. A machine that runs goes on.

        :raises NoSuchVM: no machine of this id is on the host
        :raises VMIsDown: it does not run
        """
        self._control.cont(vm_id.lower())

    @action(since="1.0")
    def set_number_of_cpus(
        self, vm_id: UUID, number_of_cpus: Annotated[int, Meta(ge=1, le=MOST_CPUS)]
    ) -> VmDefinition:
        """Switch virtual processors of a running machine on or off.

        :param number_of_cpus: how many shall be on, at most the machine's `maxVCpus`
        :raises NoSuchVM: no machine of this id is on the host
        :raises VMIsDown: it does not run
        :raises SetNumberOfCpusFailed: the hypervisor or the guest refuses
        """
        return definition(self._control.set_vcpus(vm_id.lower(), number_of_cpus))

    @action(since="1.0")
    def set_balloon_target(self, vm_id: UUID, target: Annotated[int, Meta(ge=1, le=2**50)]) -> None:
        """Ask the balloon to leave the guest so much memory; the guest may take its time.

        :param target: in KiB, at most the machine's memory
        :raises NoSuchVM: no machine of this id is on the host
        :raises VMIsDown: it does not run
        :raises BalloonError: the hypervisor cannot do it
        """
        self._control.set_balloon(vm_id.lower(), target)

    @action(since="1.0")
    def migration_create(
        self,
        vm_id: UUID,
        params: IncomingParams,
        incoming_limit: Annotated[int, Meta(ge=0)] = 0,
    ) -> MigrationCreateState:
        """Keep a place for a machine that is about to come from another host. Then call `VM.migrate` there.

        A place is kept for as long as the configuration says; then the machine is down here. `VM.destroy`
        gives the place up.

        :param params: the machine, as `VM.getInfo` tells it there; its disks are looked for here
        :param incoming_limit: machines that may be on their way to this host; 0 is as configured
        :returns: the machine, expected
        :raises VMExists: its id or its name is taken here
        :raises MigrationLimitExceeded: as many machines as may are on their way to this host
        :raises CannotCreateVM: a disk of it is not here
        :raises Recovering: it is not known yet which machines are here
        """
        expected = self._incoming.create(vm_id.lower(), params, incoming_limit)
        return MigrationCreateState(params=expected)

    @action(since="1.0", done="Migration in progress")
    def migrate(self, vm_id: UUID, params: MigrateParams) -> None:
        """Move a running machine to another host, where `VM.migrationCreate` has been called.

        Returns at once. `VM.getMigrationStatus` and events tell how it goes. When it has moved, the machine
        is down here, and its definition is gone; if it cannot be moved it runs on. Libvirt moves it: that
        goes on if the daemon ends. Other actions on the machine are refused meanwhile, except `VM.destroy`
        and `VM.migrateCancel`.

        :param params: where to, and how
        :raises NoSuchVM: no machine of this id is on the host
        :raises VMIsDown: it does not run
        :raises AlreadyMigrating: it is on its way already
        :raises MigrationInProgress: it has not arrived here yet
        :raises NotMigratable: its status is about to change
        :raises MigrationFailed: the hypervisor cannot migrate at all
        """
        self._migrations.migrate(vm_id.lower(), params)

    @action(since="1.0", preempts=True, done="Migration process cancelled")
    def migrate_cancel(self, vm_id: UUID) -> None:
        """Stop to move a machine; it runs on here. Waits a few seconds until that is so.

        :raises NoSuchVM: no machine of this id is on the host
        :raises MigrationCancelFailed: it is not being migrated, or has moved already
        """
        self._migrations.cancel(vm_id.lower())

    @action(since="1.0")
    def migrate_change_params(self, vm_id: UUID, params: MigrationParameters) -> None:
        """Change how a machine moves while it does.

        :param params: what shall be different
        :raises NoSuchVM: no machine of this id is on the host
        :raises MigrationNotInProgress: it is not being migrated
        :raises VMIsDown: it does not run any more
        :raises MigrationFailed: the hypervisor cannot change it
        """
        self._migrations.change(vm_id.lower(), params)

    @query(since="1.0")
    def get_migration_status(self, vm_id: UUID) -> MigrationStats:
        """How far a machine's way to another host is.

        :raises NoSuchVM: no machine of this id is on the host
        :raises MigrationNotInProgress: it is not being migrated, and was not since the daemon started
        :raises MigrationFailed: the last attempt to move it failed, or was cancelled
        """
        return self._migrations.status(vm_id.lower())

    @query(since="1.0", part="get")
    def get_info(self, vm_id: UUID) -> VmDefinition:
        """What a machine is, in full.

        :raises NoSuchVM: no machine of this id is on the host
        """
        return definition(self._mirror.fresh(self._inventory.get(vm_id)))

    @query(since="1.0")
    def get_stats(self, vm_id: UUID) -> list[VmStats]:
        """How a machine is, as a list of one.

        :raises NoSuchVM: no machine of this id is on the host
        """
        return [self._statistics.one(self._inventory.get(vm_id))]
