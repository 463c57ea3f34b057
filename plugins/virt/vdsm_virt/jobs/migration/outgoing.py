"""One migration away from this host, and the thread that watches it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Literal

import msgspec

from vdsm_core.errors import HypervisorError, HypervisorUnavailable, VdsmError
from vdsm_core.events import EventBus
from vdsm_core.hypervisor import (
    DomainJob,
    Hypervisor,
    Migration,
    NoSuchDomain,
    OperationInvalid,
    Pending,
)
from vdsm_virt.api.events import VmMigrationFailed, VmMigrationStatus
from vdsm_virt.api.migration import ConvergenceAction, ConvergenceSchedule
from vdsm_virt.api.scalars import whole
from vdsm_virt.jobs.migration.convergence import Convergence
from vdsm_virt.machine.inventory import Inventory
from vdsm_virt.machine.machine import MIGRATED, Machine
from vdsm_virt.machine.watcher import Watcher

log = logging.getLogger(__name__)
_replace = msgspec.structs.replace

#: Seconds between two looks at a migration.
_TICK: Final = 0.5
#: Seconds for libvirt's events of what a call has just done; after that the state is read instead.
_EVENT: Final = 2.0
#: Seconds that a migration which was called off has to end.
_CALLED_OFF: Final = 60.0
_NOTHING: Final = DomainJob(state="none", operation="unknown")

State = Literal["waiting", "running", "done", "failed"]


class Slots:
    """How many migrations run at once; the others wait."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running = 0

    @contextmanager
    def taken(self, limit: int, given_up: Callable[[], bool]) -> Iterator[bool]:
        """Wait for a slot and hold it for the body; False if that was given up.

        :param limit: how many may run; 0 does not wait
        """
        with self._changed:
            while (full := 0 < limit <= self._running) and not given_up():
                self._changed.wait(_TICK)
            self._running += not full
        try:
            yield not full
        finally:
            with self._changed:
                self._running -= not full
                self._changed.notify_all()


class Outgoing:
    """Moves one machine, or watches how libvirt moves it.

    :param how: None if libvirt does it already: for another client, or since this daemon's last life
    :param limit: how many migrations may run, this one included; 0 for any number
    :param timeout: seconds that it may take in all
    """

    def __init__(
        self,
        machine: Machine,
        *,
        hypervisor: Hypervisor,
        inventory: Inventory,
        watcher: Watcher,
        events: EventBus,
        slots: Slots,
        how: Migration | None,
        schedule: ConvergenceSchedule,
        patience: float,
        timeout: float,
        limit: int,
    ) -> None:
        self.vm_id = machine.id
        self.destination = how.uri if how is not None else ""
        self.state: State = "waiting"
        self.reason = ""
        self.job = _NOTHING
        self.progress = 0
        #: How long the guest stood still; None while that is not known.
        self.downtime: int | None = None
        self.ended = threading.Event()
        self._name = machine.name
        self._hypervisor = hypervisor
        self._inventory = inventory
        self._watcher = watcher
        self._events = events
        self._slots = slots
        self._how = how
        self._schedule = schedule
        self._convergence = Convergence(schedule, patience)
        self._timeout = timeout
        self._limit = limit
        self._unexplained = "libvirt ended it and does not say why"
        self._called_off = ""
        self._called_off_at = 0.0
        self._told = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"migration-{self.vm_id}", daemon=True)

    @property
    def active(self) -> bool:
        """Whether it goes on."""
        return self.state in ("waiting", "running")

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Watch no more. Libvirt carries on with what it does."""
        self._stopping.set()

    def join(self, timeout: float) -> None:
        """Wait for the thread after `stop`."""
        self._thread.join(timeout)

    def call_off(self, reason: str) -> None:
        """Have it end without the machine having moved; try again until it has ended.

        :raises VdsmError: libvirt cannot be told now
        """
        if not self._called_off:
            self._called_off, self._called_off_at = reason, time.monotonic()
        self._abort()

    def tell(self, downtime: int | None) -> None:
        """Libvirt has told that the machine has moved."""
        self.downtime = downtime
        self._told.set()

    def _run(self) -> None:
        try:
            with self._slots.taken(self._limit, self._given_up) as taken:
                if taken:
                    self._go()
                elif not self._stopping.is_set():
                    self._fail(self._called_off)
        except Exception as error:
            # Whatever it is, the machine must not be shown as one that moves for ever.
            log.exception("The migration of machine %s cannot be watched", self.vm_id)
            self._fail(f"{type(error).__name__}, see the log of the daemon")
        finally:
            if not self._stopping.is_set():
                self.ended.set()

    def _given_up(self) -> bool:
        return bool(self._called_off) or self._stopping.is_set()

    def _go(self) -> None:
        self.state = "running"
        started = time.monotonic()
        if self._how is not None and not self._carry_out(self._how, started):
            return
        while not self._stopping.wait(_TICK):
            if not self._goes_on(started):
                self._conclude_from_state()
                return

    def _carry_out(self, how: Migration, started: float) -> bool:
        """Move it. True if nothing but looking tells any more how that ends."""
        try:
            for action in self._schedule.init:
                self._act(action)
            pending = self._hypervisor.migrations.begin(self.vm_id, how)
        except VdsmError as error:
            self._fail(_reason(error))
            return False
        while not pending.wait(_TICK):
            if self._stopping.is_set():
                return False
            self._look(started)
            if self._called_off and time.monotonic() > self._called_off_at + _CALLED_OFF:
                pending.give_up()
                return True
        return self._conclude(pending)

    def _conclude(self, pending: Pending) -> bool:
        error = pending.error
        if isinstance(error, HypervisorUnavailable):
            log.info("Libvirt was lost while machine %s moved: %s", self.vm_id, error)
            self._unexplained = "the connection to libvirt broke, and libvirt ended it"
            return True
        if error is None:
            self._succeed()
        else:
            self._fail(_reason(error))
        return False

    def _look(self, started: float) -> None:
        try:
            if self._called_off:
                self._abort()
            job = self._hypervisor.jobs.get(self.vm_id)
        except VdsmError as error:
            log.debug("Machine %s moves, but %s", self.vm_id, error)
            return
        self._consider(job, started)

    def _goes_on(self, started: float) -> bool:
        """Whether libvirt is busy with the migration, as far as it tells."""
        machine = self._inventory.find(self.vm_id)
        if machine is None or not machine.outgoing:
            return False
        try:
            if self._called_off:
                self._abort()
            job = self._hypervisor.jobs.get(self.vm_id)
        except NoSuchDomain:
            return False
        except VdsmError as error:
            log.debug("Machine %s may move, but %s", self.vm_id, error)
            return True
        self._consider(job, started)
        return is_migration(job)

    def _consider(self, job: DomainJob, started: float) -> None:
        """Note how far it is, and do what is to be done about it."""
        if not is_migration(job):
            return
        self._note(job)
        now = time.monotonic()
        try:
            for action in self._convergence.look(job, now):
                self._act(action)
            self._judge(now, started)
        except VdsmError as error:
            log.warning("The migration of machine %s cannot be changed: %s", self.vm_id, error)

    def _judge(self, now: float, started: float) -> None:
        if self._called_off:
            return
        if seconds := self._convergence.stuck_for(now):
            self.call_off(f"it did not get on for {seconds:.0f} s")
        elif now > started + self._timeout:
            self.call_off(f"it was not done within {self._timeout:.0f} s")

    def _act(self, action: ConvergenceAction) -> None:
        if action.name == "abort":
            self.call_off("the guest writes faster than its memory is sent")
        else:
            milliseconds = whole(action.params[0], "convergenceSchedule", 0) if action.params else 0
            log.info("Machine %s may stand still for %d ms when it moves", self.vm_id, milliseconds)
            self._hypervisor.migrations.set_downtime(self.vm_id, milliseconds)

    def _abort(self) -> None:
        if self.state != "running":
            return
        try:
            self._hypervisor.jobs.abort(self.vm_id)
        except OperationInvalid as error:
            # Not begun yet, or about to be over: the next look tries again.
            log.debug("The migration of machine %s cannot be stopped now: %s", self.vm_id, error)

    def _note(self, job: DomainJob) -> None:
        self.job = job
        if job.total:
            # The guest writes on, so what remains grows at times; how far it is does not go back.
            self.progress = max(self.progress, min(99, 100 - 100 * job.remaining // job.total))
        self._inventory.update(self.vm_id, lambda machine: _progressed(machine, self.progress))
        status = VmMigrationStatus(
            vm_id=self.vm_id, vm_name=self._name, progress=self.progress, postcopy=False
        )
        self._events.publish(status, self.vm_id)

    def _succeed(self) -> None:
        if not self._inventory.wait(self.vm_id, _is_off, _EVENT):
            self._inventory.update(self.vm_id, _moved)
        self._told.wait(_EVENT)
        self.progress = 100
        self.state = "done"
        log.info("Machine %s (%s) has moved to %s", self.vm_id, self._name, self.destination)

    def _fail(self, reason: str) -> None:
        reason = self._called_off or reason
        self.reason = reason
        log.warning("Machine %s (%s) has not moved: %s", self.vm_id, self._name, reason)
        failed = VmMigrationFailed(
            vm_id=self.vm_id,
            vm_name=self._name,
            destination=self.destination,
            reason=reason,
            cancelled=bool(self._called_off),
        )
        self._events.publish(failed, self.vm_id)
        self._inventory.update(self.vm_id, lambda machine: _stays(machine, reason))
        self._settle()
        # Last: who asks for it sees the machine as it is now.
        self.state = "failed"

    def _settle(self) -> None:
        """Show the machine as libvirt has it; later if it does not answer, when all machines are compared."""
        try:
            self._watcher.settle(self.vm_id)
        except NoSuchDomain:
            self._inventory.update(self.vm_id, _moved)
        except VdsmError as error:
            log.warning("Cannot see what became of machine %s: %s", self.vm_id, error)

    def _conclude_from_state(self) -> None:
        """How a migration ended of which nobody tells."""
        # The events of its end come before long, if it is not over already.
        self._inventory.wait(self.vm_id, _is_off, _EVENT)
        machine = self._inventory.find(self.vm_id)
        if machine is not None and machine.active:
            self._fail(self._unexplained)
        elif machine is not None and machine.exit == MIGRATED:
            self._succeed()
        else:
            self._fail("the machine ended")


def _reason(error: Exception) -> str:
    if isinstance(error, HypervisorError):
        return str(error.facts.get("reason") or error)
    return str(error)


def is_migration(job: DomainJob) -> bool:
    """Whether libvirt is busy with moving the domain away."""
    return job.state == "running" and job.operation == "migration-out"


def _is_off(machine: Machine | None) -> bool:
    return machine is None or not machine.active


def _progressed(machine: Machine, progress: int) -> Machine:
    if not machine.outgoing:
        return machine
    return _replace(machine, migration_progress=progress)


def _stays(machine: Machine, reason: str) -> Machine:
    return _replace(machine, outgoing=False, migration_progress=-1, migration_error=reason)


def _moved(machine: Machine) -> Machine:
    """It runs elsewhere, though libvirt's event has not come."""
    return _replace(
        machine,
        status="Down",
        pause_code="",
        exit=MIGRATED,
        exit_guessed=False,
        active=False,
        missing=True,
        outgoing=False,
        migration_progress=-1,
        asked="",
    )
