"""The migrations away from this host."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from msgspec import UNSET

from vdsm_core.errors import InvalidArgument
from vdsm_core.events import EventBus
from vdsm_core.hypervisor import (
    DomainJobCompleted,
    DomainMigrationIteration,
    Hypervisor,
    HypervisorEvent,
    Migration,
    NoSuchDomain,
    OperationInvalid,
    OperationUnsupported,
)
from vdsm_core.work.scheduler import Jobs
from vdsm_virt.api.migration import ConvergenceSchedule, MigrateParams, MigrationParameters, MigrationStats
from vdsm_virt.api.scalars import given, whole
from vdsm_virt.errors import (
    AlreadyMigrating,
    MigrationCancelFailed,
    MigrationFailed,
    MigrationInProgress,
    MigrationNotInProgress,
    NoSuchVM,
    NotMigratable,
    VMIsDown,
)
from vdsm_virt.jobs.migration import destination
from vdsm_virt.jobs.migration.outgoing import Outgoing, Slots, is_migration
from vdsm_virt.machine.inventory import Inventory
from vdsm_virt.machine.machine import Machine
from vdsm_virt.machine.mirror import Mirror
from vdsm_virt.machine.references import Machine as MachineReference
from vdsm_virt.machine.watcher import Watcher

log = logging.getLogger(__name__)

#: A machine in another status is about to change it.
_MIGRATABLE: Final = ("Up", "Powering up", "Paused")
#: Seconds that a migration which was cancelled has to end before its canceller is answered all the same.
_CANCEL: Final = 10.0
#: Seconds for the last words of one that has ended.
_SETTLED: Final = 5.0
#: What VDSM allowed.
_MOST_DOWNTIME: Final = 2_000_000
#: Seconds for libvirt to tell in the background what it does with a machine: others wait behind it.
_PATIENCE: Final = 2.0


class MigrationRules(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for every migration that does not say otherwise.

    `uri` is of the other host's libvirt, with `{host}`; `downtime` in ms, `bandwidth` in MiB/s (0: no limit),
    `patience` (without progress) and `timeout` (in all) in seconds; `shared` are folders that every host
    sees.
    """

    uri: str
    limit: int
    downtime: int
    bandwidth: int
    patience: float
    timeout: float
    shared: Sequence[str]


class Migrations:
    """Begins, watches and ends them."""

    def __init__(
        self,
        *,
        hypervisor: Hypervisor,
        inventory: Inventory,
        watcher: Watcher,
        mirror: Mirror,
        jobs: Jobs,
        events: EventBus,
        rules: MigrationRules,
    ) -> None:
        self._hypervisor = hypervisor
        self._inventory = inventory
        self._watcher = watcher
        self._mirror = mirror
        self._jobs = jobs
        self._events = events
        self._rules = rules
        self._slots = Slots()
        self._lock = threading.Lock()
        #: The newest one of each machine.
        self._known: dict[str, Outgoing] = {}
        self._can_tell = True

    def migrate(self, vm_id: str, params: MigrateParams) -> None:
        """Begin to move a machine."""
        if given(params.vm_id, vm_id).lower() != vm_id:
            raise InvalidArgument(argument="params.vmId", reason=f"it is not vmID, {vm_id}")
        machine = self._mirror.fresh(self._migratable(vm_id))
        if (before := self._active(vm_id)) is not None:
            # Its end has been told, and it is about to be over.
            before.ended.wait(_SETTLED)
        rules = self._rules
        how = destination.migration(
            params, machine, template=rules.uri, bandwidth=rules.bandwidth, shared=rules.shared
        )
        downtime = whole(params.downtime, "params.downtime", rules.downtime, least=1, most=_MOST_DOWNTIME)
        limit = whole(params.outgoing_limit, "params.outgoingLimit", rules.limit, least=1)
        self._set(vm_id, how.uri, lambda: self._hypervisor.migrations.set_downtime(vm_id, downtime))
        schedule = given(params.convergence_schedule, ConvergenceSchedule())
        self._begin(machine, how, schedule, limit)

    def cancel(self, vm_id: str) -> None:
        """Call a migration off, and wait until it has ended."""
        self._inventory.get(vm_id)
        outgoing = self._active(vm_id)
        if outgoing is None:
            raise MigrationCancelFailed(vm_id=vm_id, reason="it is not being migrated")
        outgoing.call_off("it was cancelled on request")
        outgoing.ended.wait(_CANCEL)
        if outgoing.state == "done":
            raise MigrationCancelFailed(vm_id=vm_id, reason="it had moved before it could be stopped")

    def change(self, vm_id: str, params: MigrationParameters) -> None:
        """Change one that is under way."""
        self._inventory.get(vm_id)
        outgoing = self._active(vm_id)
        if outgoing is None:
            raise MigrationNotInProgress(vm_id=vm_id)
        bandwidth = whole(
            params.max_bandwidth, "params.maxBandwidth", 1, least=1, most=destination.MOST_BANDWIDTH
        )
        self._set(
            vm_id,
            outgoing.destination,
            lambda: self._hypervisor.migrations.set_bandwidth(vm_id, bandwidth),
        )

    def status(self, vm_id: str) -> MigrationStats:
        """How far the newest one of a machine is."""
        outgoing = _still_true(self._known.get(vm_id), self._inventory.get(vm_id))
        if outgoing is None:
            raise MigrationNotInProgress(vm_id=vm_id)
        if outgoing.state == "failed":
            raise MigrationFailed(
                vm_id=vm_id, destination=_named(outgoing.destination), reason=outgoing.reason
            )
        job, done = outgoing.job, outgoing.state == "done"
        return MigrationStats(
            vm_id=vm_id,
            status="done" if done else "in_progress",
            progress=outgoing.progress,
            downtime=UNSET if outgoing.downtime is None else outgoing.downtime,
            destination=outgoing.destination or UNSET,
            time_elapsed=job.elapsed,
            data_total=job.total,
            data_processed=job.processed,
            data_remaining=0 if done else job.remaining,
            iteration=job.iteration,
        )

    def handle(self, event: HypervisorEvent) -> None:
        """Take what libvirt tells of migrations."""
        if isinstance(event, DomainMigrationIteration):
            machine = self._inventory.find(event.uuid)
            if machine is not None and not machine.outgoing:
                self._look_soon(event.uuid)
        elif isinstance(event, DomainJobCompleted) and event.operation == "migration-out":
            outgoing = self._known.get(event.uuid)
            if outgoing is not None:
                outgoing.tell(event.stats.get("downtime"))

    def look(self) -> None:
        """Find the migrations that libvirt is busy with: of another client, or of this daemon's last life."""
        self._can_tell = True
        for machine in self._inventory.all():
            if machine.active and not machine.outgoing and not machine.incoming:
                self._look_soon(machine.id)

    def stop(self, grace: float) -> None:
        """Watch no more. Libvirt carries on."""
        with self._lock:
            watched = [outgoing for outgoing in self._known.values() if outgoing.active]
        for outgoing in watched:
            outgoing.stop()
        end = time.monotonic() + grace
        for outgoing in watched:
            outgoing.join(max(0.0, end - time.monotonic()))

    def _migratable(self, vm_id: str) -> Machine:
        machine = self._inventory.get(vm_id)
        if machine.outgoing:
            active = self._active(vm_id)
            raise AlreadyMigrating(vm_id=vm_id, destination=_named(active.destination if active else ""))
        if machine.status == "Down":
            raise VMIsDown(vm_id=vm_id, action="migrate")
        if machine.incoming:
            raise MigrationInProgress(vm_id=vm_id, action="migrate")
        if machine.status not in _MIGRATABLE:
            raise NotMigratable(vm_id=vm_id, status=machine.status)
        return machine

    def _begin(
        self, machine: Machine, how: Migration | None, schedule: ConvergenceSchedule, limit: int
    ) -> None:
        outgoing = Outgoing(
            machine,
            hypervisor=self._hypervisor,
            inventory=self._inventory,
            watcher=self._watcher,
            events=self._events,
            slots=self._slots,
            how=how,
            schedule=schedule,
            patience=self._rules.patience,
            timeout=self._rules.timeout,
            limit=limit,
        )
        with self._lock:
            if (active := self._active(machine.id)) is not None:
                raise AlreadyMigrating(vm_id=machine.id, destination=_named(active.destination))
            known = {vm_id: other for vm_id, other in self._known.items() if self._inventory.find(vm_id)}
            self._known = {**known, machine.id: outgoing}
        after = self._inventory.update(machine.id, _leaving)
        if after is None or not after.outgoing:
            raise VMIsDown(vm_id=machine.id, action="migrate")
        log.info("Machine %s (%s) moves to %s", machine.id, machine.name, _named(outgoing.destination))
        outgoing.start()

    def _active(self, vm_id: str) -> Outgoing | None:
        outgoing = self._known.get(vm_id)
        return outgoing if outgoing is not None and outgoing.active else None

    def _set(self, vm_id: str, uri: str, call: Callable[[], None]) -> None:
        try:
            call()
        except NoSuchDomain:
            raise NoSuchVM(vm_id=vm_id) from None
        except OperationInvalid as error:
            raise VMIsDown(vm_id=vm_id, action="migrate") from error
        except OperationUnsupported as error:
            raise MigrationFailed(
                vm_id=vm_id, destination=_named(uri), reason=error.facts["reason"]
            ) from error

    def _look_soon(self, vm_id: str) -> None:
        self._jobs.plan(
            "looking for a migration",
            lambda: self._look_at(vm_id),
            of=MachineReference(vm_id),
            second="not needed",
        )

    def _look_at(self, vm_id: str) -> None:
        machine = self._inventory.find(vm_id)
        if machine is None or machine.outgoing or machine.incoming or not (machine.active and self._can_tell):
            return
        try:
            job = self._hypervisor.jobs.get(vm_id, timeout=_PATIENCE)
        except NoSuchDomain:
            return
        except OperationUnsupported as error:
            # Of a driver without migrations each machine would say the same.
            self._can_tell = "virDomainGetJobStats" not in error.facts["reason"]
            return
        if is_migration(job):
            self._begin(machine, None, ConvergenceSchedule(), 0)


def _still_true(outgoing: Outgoing | None, machine: Machine) -> Outgoing | None:
    """What is known of a machine's last migration; None if the machine has come back or was made anew."""
    if outgoing is None:
        return None
    told = {"done": machine.status == "Down", "failed": bool(machine.migration_error)}
    return outgoing if told.get(outgoing.state, True) else None


def _named(uri: str) -> str:
    return uri or "another host"


def _leaving(machine: Machine) -> Machine:
    if not machine.active or machine.status == "Down":
        return machine
    return msgspec.structs.replace(
        machine, outgoing=True, status="Migration Source", migration_progress=0, migration_error=""
    )
