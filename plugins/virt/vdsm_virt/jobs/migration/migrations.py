"""The migrations away from this host."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from msgspec import UNSET

from vdsm_bridge.call.context import Context
from vdsm_bridge.work import LongWork, Plan, begin_task, exclusive
from vdsm_core.errors import InvalidArgument, NoSuchTask, OperationFailed, TaskStateError, VdsmError
from vdsm_core.hypervisor import (
    DomainJobCompleted,
    DomainLifecycle,
    DomainMigrationIteration,
    HypervisorEvent,
    NoSuchDomain,
    OperationInvalid,
    OperationUnsupported,
)
from vdsm_core.work.record import TaskRecord
from vdsm_virt.api.migration import MigrateParams, MigrationParameters, MigrationStats
from vdsm_virt.api.scalars import given, truth, whole
from vdsm_virt.domain.elements import parse
from vdsm_virt.errors import (
    AlreadyMigrating,
    HasTransientDisk,
    MigrationCancelFailed,
    MigrationFailed,
    MigrationInProgress,
    MigrationNotInProgress,
    NoSuchVM,
    NotMigratable,
    PausedByIOError,
    VMExists,
    VMIsDown,
)
from vdsm_virt.jobs.migration import convergence, destination
from vdsm_virt.jobs.migration.outgoing import VERB, MigrationOrder, MigrationParts, Outgoing, is_migration
from vdsm_virt.jobs.migration.peers import Peers
from vdsm_virt.jobs.migration.placement import Placement
from vdsm_virt.jobs.migration.slots import Slots
from vdsm_virt.machine import transitions
from vdsm_virt.machine.machine import Machine
from vdsm_virt.machine.machines import Machines
from vdsm_virt.machine.references import Machine as MachineReference

log = logging.getLogger(__name__)

#: A machine in another status is about to change it.
_MIGRATABLE: Final = ("Up", "Powering up", "Paused")
#: Seconds that a cancelled migration has to end before the caller gets a reply all the same.
_CANCEL: Final = 10.0
#: What VDSM allowed, in milliseconds.
_MAX_DOWNTIME: Final = 2_000_000
#: Seconds for libvirt to report in the background what it does with a machine: others wait behind it.
_PATIENCE: Final = 2.0
#: Verbs that run beside a migration.
_BESIDE: Final = frozenset({"VM.migrateCancel", "VM.migrateChangeParams", "VM.setTicket"})
#: What is refused meanwhile, for the message; any other verb changes the machine.
_REFUSED: Final = {
    "VM.pause": "pause",
    "VM.cont": "continue",
    "VM.reset": "reset",
    "VM.shutdown": "shut down",
    "VM.shutdown (delayed)": "shut down",
}
#: Makes sure that a shutdown is over; does so after the migration.
_WAITS: Final = frozenset({"VM.shutdown (overdue)", "VM.shutdown (forced)"})


class MigrationRules(msgspec.Struct, frozen=True, kw_only=True):
    """Defaults of every migration, from the configuration.

    :ivar uri: URI of the other host's libvirt, with `{host}`
    :ivar limit: migrations that may run at once
    :ivar downtime: milliseconds that the guest may be paused
    :ivar bandwidth: MiB/s; 0 is no limit
    :ivar patience: seconds without progress after which a migration is cancelled
    :ivar timeout: seconds that a migration may take in all
    :ivar shared: folders that every host sees
    """

    uri: str
    limit: int
    downtime: int
    bandwidth: int
    patience: float
    timeout: float
    shared: Sequence[str]


class Migrations:
    """Begins migrations as tasks of the engine, and reports on them.

    A task is not listed among the tasks of the host: the verbs of migration and their events are its face.
    """

    def __init__(
        self,
        machines: Machines,
        rules: MigrationRules,
        peers: Peers,
    ) -> None:
        self._hypervisor = machines.hypervisor
        self._inventory = machines.inventory
        self._mirror = machines.mirror
        self._jobs = machines.jobs
        self._work = machines.work
        self._rules = rules
        self._peers = peers
        self._parts = MigrationParts(machines, Slots(), peers)
        #: The newest migration of each machine.
        self._known: dict[str, Outgoing] = {}
        self._has_jobs = True
        self._withdraw: Callable[[float], None] = lambda _grace: None

    def start(self) -> None:
        """Offer to continue the migrations of an earlier daemon."""
        self._withdraw = self._work.tasks.offer(VERB, self._resume)

    def stop(self, grace: float) -> None:
        """Leave the migrations to libvirt, and to the next start."""
        self._withdraw(grace)

    def migrate(self, vm_id: str, params: MigrateParams, context: Context) -> None:
        """Begin to migrate a machine."""
        if given(params.vm_id, vm_id).lower() != vm_id:
            raise InvalidArgument(argument="params.vmId", reason=f"it is not vmID, {vm_id}")
        machine = self._mirror.fresh(self._migratable(vm_id))
        rules = self._rules
        downtime = whole(params.downtime, "params.downtime", rules.downtime, minimum=1, maximum=_MAX_DOWNTIME)
        schedule = given(params.convergence_schedule, convergence.computed(downtime))
        how = destination.migration(
            params, machine, schedule, template=rules.uri, bandwidth=rules.bandwidth, shared=rules.shared
        )
        limit = whole(params.outgoing_limit, "params.outgoingLimit", rules.limit, minimum=1)
        incoming = whole(params.incoming_limit, "params.incomingLimit", 0, minimum=1)
        placement = Placement(given(params.cpusets, ()), given(params.numa_nodesets, ()))
        self._check_document(vm_id, placement)
        host = destination.host_of(params.dst)
        self._set(vm_id, how.uri, lambda: self._hypervisor.migrations.set_downtime(vm_id, downtime))
        order = msgspec.structs.replace(
            self._order(machine),
            how=how,
            schedule=schedule,
            placement=placement,
            peer=host if self._peers.find(host) else "",
            incoming_limit=incoming,
            enable_guest_events=truth(params.enable_guest_events, False),
            limit=limit,
        )
        self._begin(order, context)

    def cancel(self, vm_id: str) -> None:
        """Cancel a migration, and wait until it has ended."""
        self._inventory.get(vm_id)
        outgoing = self._active(vm_id)
        if outgoing is None:
            raise MigrationCancelFailed(vm_id=vm_id, reason="it is not being migrated")
        if outgoing.postcopy:
            raise MigrationCancelFailed(vm_id=vm_id, reason="the guest continues on the destination already")
        if outgoing.state == "running":
            # Here, so that the caller gets the error if libvirt does not answer.
            with contextlib.suppress(OperationInvalid, NoSuchDomain):
                outgoing.abort()
        with contextlib.suppress(TaskStateError, NoSuchTask):  # it is over just now
            self._work.tasks.abort(outgoing.task_id)
        outgoing.ended.wait(_CANCEL)
        if outgoing.state == "done":
            raise MigrationCancelFailed(vm_id=vm_id, reason="it had moved before it could be stopped")

    def change(self, vm_id: str, params: MigrationParameters) -> None:
        """Change a migration that is under way."""
        self._inventory.get(vm_id)
        outgoing = self._active(vm_id)
        if outgoing is None:
            raise MigrationNotInProgress(vm_id=vm_id)
        bandwidth = whole(
            params.max_bandwidth, "params.maxBandwidth", 1, minimum=1, maximum=destination.MAX_BANDWIDTH
        )
        self._set(
            vm_id,
            outgoing.destination,
            lambda: self._hypervisor.migrations.set_bandwidth(vm_id, bandwidth),
        )

    def status(self, vm_id: str) -> MigrationStats:
        """Return how far the newest migration of a machine is."""
        outgoing = _if_still_true(self._known.get(vm_id), self._inventory.get(vm_id))
        if outgoing is None:
            raise MigrationNotInProgress(vm_id=vm_id)
        if outgoing.state == "failed" and outgoing.error is not None:
            raise type(outgoing.error)(**outgoing.error.facts)
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
        """Act on libvirt's events about migrations."""
        if isinstance(event, DomainMigrationIteration):
            machine = self._inventory.find(event.uuid)
            if machine is not None and not machine.outgoing:
                self._look_soon(event.uuid)
            else:
                self._wake(self._active(event.uuid))
        elif isinstance(event, DomainJobCompleted) and event.operation == "migration-out":
            outgoing = self._known.get(event.uuid)
            if outgoing is not None:
                outgoing.report(event.stats.get("downtime"))
                self._wake(outgoing)
        elif isinstance(event, DomainLifecycle) and event.event in ("stopped", "resumed"):
            self._wake(self._active(event.uuid))

    def look(self) -> None:
        """Find the migrations that libvirt is busy with and that no task is about: of another client."""
        self._has_jobs = True
        for machine in self._inventory.all():
            if machine.active and not machine.outgoing and not machine.incoming:
                self._look_soon(machine.id)

    def _migratable(self, vm_id: str) -> Machine:
        machine = self._inventory.get(vm_id)
        if machine.outgoing:
            raise self._already(vm_id)
        if machine.status == "Down":
            raise VMIsDown(vm_id=vm_id, action="migrate")
        if machine.incoming:
            raise MigrationInProgress(vm_id=vm_id, action="migrate")
        if machine.status not in _MIGRATABLE:
            raise NotMigratable(vm_id=vm_id, status=machine.status)
        if machine.status == "Paused" and machine.pause_code == "EIO":
            raise PausedByIOError(vm_id=vm_id)
        return machine

    def _check_document(self, vm_id: str, placement: Placement) -> None:
        """Check what the document of a machine decides.

        :raises HasTransientDisk: it has one
        :raises InvalidArgument: the placement does not fit
        """
        try:
            domain = parse(self._hypervisor.definitions.xml(vm_id))
        except NoSuchDomain:
            raise NoSuchVM(vm_id=vm_id) from None
        except ValueError as error:
            raise OperationFailed(reason=f"the document of machine {vm_id} cannot be read: {error}") from None
        for disk in domain.findall("devices/disk"):
            if disk.find("transient") is not None:
                target = disk.find("target")
                raise HasTransientDisk(vm_id=vm_id, disk="" if target is None else target.get("dev", ""))
        placement.check(domain)

    def _already(self, vm_id: str) -> AlreadyMigrating:
        active = self._active(vm_id)
        return AlreadyMigrating(vm_id=vm_id, destination=_named(active.destination if active else ""))

    def _order(self, machine: Machine) -> MigrationOrder:
        return MigrationOrder(
            vm_id=machine.id,
            vm_name=machine.name,
            ours=bool(machine.ours),
            patience=self._rules.patience,
            timeout=self._rules.timeout,
        )

    def _begin(self, order: MigrationOrder, context: Context | None) -> None:
        """Submit the task of a migration.

        :param context: of the call; None if another client of libvirt began it
        """
        outgoing = Outgoing(order, self._parts)
        before = self._known.get(order.vm_id)
        known = {vm_id: other for vm_id, other in self._known.items() if self._inventory.find(vm_id)}
        self._known = {**known, order.vm_id: outgoing}
        after = self._inventory.update(order.vm_id, transitions.leaving)
        if after is None or not after.outgoing:
            raise VMIsDown(vm_id=order.vm_id, action="migrate")
        arguments = msgspec.json.encode(order).decode()
        try:
            if context is None:
                outgoing.task_id = self._work.tasks.submit(VERB, "", arguments, self._plan(outgoing))
            else:
                outgoing.task_id = begin_task(self._work, VERB, arguments, self._plan(outgoing), context)
        except BaseException:
            if before is not None:
                self._known[order.vm_id] = before
            self._inventory.update(order.vm_id, lambda machine: transitions.stays(machine, ""))
            self._parts.machines.watcher.reread_soon(order.vm_id)
            raise
        log.info("Machine %s (%s) moves to %s", order.vm_id, order.vm_name, _named(outgoing.destination))

    def _plan(self, outgoing: Outgoing) -> Plan:
        return outgoing.plan(
            locks=(exclusive(MachineReference(outgoing.vm_id)),),
            others=LongWork(beside=_BESIDE, refuses=lambda verb: self._refusal(outgoing, verb)),
            ended=lambda record: self._ended(outgoing, record),
        )

    def _resume(self, record: TaskRecord) -> Plan:
        """Plan a migration of an earlier daemon, which libvirt may have carried on."""
        order = msgspec.json.decode(record.arguments, type=MigrationOrder)
        outgoing = Outgoing(order, self._parts, resumed=True)
        outgoing.task_id, outgoing.progress = record.id, record.progress
        if record.step or order.how is None:
            self._parts.slots.take(order.vm_id, 0, lambda: None)
        self._known[order.vm_id] = outgoing
        self._inventory.update(order.vm_id, transitions.leaving)
        return self._plan(outgoing)

    def _refusal(self, outgoing: Outgoing, verb: str) -> VdsmError | None:
        """Return the error that a verb gets while a machine is migrated; None: it waits."""
        vm_id = outgoing.vm_id
        machine = self._inventory.find(vm_id)
        if verb in _WAITS or not outgoing.active or (machine is not None and not machine.outgoing):
            return None  # the locks are released before long
        if verb == VERB:
            return self._already(vm_id)
        if verb in ("VM.create", "VM.migrationCreate"):
            return VMExists(member="vmId", value=vm_id)
        return MigrationInProgress(vm_id=vm_id, action=_REFUSED.get(verb, "change"))

    def _ended(self, outgoing: Outgoing, record: TaskRecord) -> None:
        self._parts.slots.release(outgoing.vm_id)
        if record.state != "finished":
            # Does nothing if the steps did it; a task that ended before its first step has none to undo.
            outgoing.settle_failure(record.message, cancelled=record.state == "recovered")
        outgoing.ended.set()

    def _active(self, vm_id: str) -> Outgoing | None:
        outgoing = self._known.get(vm_id)
        return outgoing if outgoing is not None and outgoing.active else None

    def _wake(self, outgoing: Outgoing | None) -> None:
        if outgoing is not None and outgoing.task_id:
            self._work.tasks.wake(outgoing.task_id)

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
        if machine is None or machine.outgoing or machine.incoming or not (machine.active and self._has_jobs):
            return
        if self._has_task(vm_id):
            return
        try:
            job = self._hypervisor.jobs.get(vm_id, timeout=_PATIENCE)
        except NoSuchDomain:
            return
        except OperationUnsupported as error:
            # A driver without migrations reports the same of each machine.
            self._has_jobs = "virDomainGetJobStats" not in error.facts["reason"]
            return
        if is_migration(job):
            self._begin(self._order(machine), None)

    def _has_task(self, vm_id: str) -> bool:
        """Return whether a task is about the migration, one that has not been resumed yet included."""
        machine = tuple(MachineReference(vm_id))
        return any(
            record.verb == VERB and not record.done and machine in [lock[:2] for lock in record.locks]
            for record in self._work.tasks.all()
        )


def _if_still_true(outgoing: Outgoing | None, machine: Machine) -> Outgoing | None:
    """Return the last migration of a machine; None if the machine has returned or was created again."""
    if outgoing is None:
        return None
    shown = {"done": machine.status == "Down", "failed": bool(machine.migration_error)}
    return outgoing if shown.get(outgoing.state, True) else None


def _named(uri: str) -> str:
    return uri or "another host"
