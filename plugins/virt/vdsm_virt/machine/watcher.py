"""Keeps the inventory as libvirt has it: by its events, and by comparison when events were missed."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final, Literal

from vdsm_core.errors import VdsmError
from vdsm_core.events import EventBus
from vdsm_core.hypervisor import (
    ConnectionBack,
    DomainAgent,
    DomainDeviceAdded,
    DomainDeviceRemoved,
    DomainDiskChange,
    DomainEvent,
    DomainIOError,
    DomainLifecycle,
    DomainReboot,
    DomainState,
    DomainTrayChange,
    DomainTunable,
    EventsLost,
    Hypervisor,
    HypervisorEvent,
    LifecycleEvent,
    NoSuchDomain,
)
from vdsm_core.work.scheduler import Jobs
from vdsm_virt.api.events import Reconciled
from vdsm_virt.errors import VMExists
from vdsm_virt.machine import transitions
from vdsm_virt.machine.inventory import Inventory
from vdsm_virt.machine.listing import Listing
from vdsm_virt.machine.machine import MIGRATED, Machine
from vdsm_virt.machine.mirror import Mirror
from vdsm_virt.machine.references import ALL
from vdsm_virt.machine.references import Machine as MachineReference
from vdsm_virt.machine.translate import events_of

log = logging.getLogger(__name__)

#: libvirt's word for a disk error in VDSM's.
_IO_ERRORS: Final = {"enospc": "ENOSPC", "eperm": "EPERM", "eio": "EIO", "eother": "EOTHER"}
#: Seconds until the next comparison, where an event is about to solve what the last one could not.
_AGAIN: Final = 5.0
#: Times that a state is read again because of events meanwhile.
_MAX_READINGS: Final = 5
#: libvirt's reason of a domain whose memory is on two hosts without a connection between them.
_FAILED: Final = "postcopy-failed"
_NEW_XML: Final = (
    DomainAgent,
    DomainDeviceAdded,
    DomainDeviceRemoved,
    DomainDiskChange,
    DomainTrayChange,
    DomainTunable,
)

#: Starts that are the begin of no new run of the guest here; every other one is.
_STARTED: Final[dict[str, Callable[[Machine], Machine]]] = {
    "migrated": transitions.arriving,
    "wakeup": transitions.resumed,
}

Cause = Literal["connection back", "events lost"]


class Watcher:
    """Keeps the inventory as libvirt has it.

    :param jobs: run the comparisons, which take as long as libvirt does, and what follows events
    :param compared: called when all machines have been read
    :param end: destroys a machine in the background, whose guest must not reboot
    """

    def __init__(
        self,
        *,
        hypervisor: Hypervisor,
        listing: Listing,
        inventory: Inventory,
        jobs: Jobs,
        mirror: Mirror,
        events: EventBus,
        compared: Callable[[], None] = lambda: None,
        end: Callable[[str], None] = lambda _vm_id: None,
    ) -> None:
        self._hypervisor = hypervisor
        self._listing = listing
        self._inventory = inventory
        self._jobs = jobs
        self._mirror = mirror
        self._events = events
        self._compared = compared
        self._end = end
        # Comparisons and events are handled on different threads.
        self._lock = threading.Lock()
        # Held for a whole comparison. The one above is free while libvirt is asked.
        self._comparing = threading.Lock()
        #: The domains that events were about since libvirt was asked: what it answers of them may be older.
        self._touched: set[str] | None = None
        #: Counts the events about states: what was read before one is not taken over after it.
        self._seen = 0
        self._lifecycle: dict[LifecycleEvent, Callable[[DomainLifecycle], None]] = {
            "defined": self._defined,
            "undefined": self._undefined,
            "started": self._started,
            "suspended": self._suspended,
            "pmsuspended": self._suspended,
            "resumed": self._resumed,
            "stopped": self._stopped,
            "shutdown": self._shutdown,
            "crashed": self._crashed,
        }

    def handle(self, event: HypervisorEvent) -> None:
        """Handle one event of the hypervisor."""
        if isinstance(event, ConnectionBack | EventsLost):
            self.compare_soon("events lost" if isinstance(event, EventsLost) else "connection back")
            return
        with self._lock:
            if isinstance(event, DomainEvent):
                self._publish(event)
            if isinstance(event, DomainLifecycle):
                self._seen += 1
                if self._touched is not None:
                    self._touched.add(event.uuid)
                self._lifecycle[event.event](event)
            elif isinstance(event, DomainReboot):
                self._rebooted(event)
            elif isinstance(event, DomainIOError):
                self._io_error(event)
            elif isinstance(event, _NEW_XML):
                self._outdated(event.uuid)

    def compare_soon(self, cause: Cause | None = None, after: float = 0.0) -> None:
        """Compare in the background.

        :param after: seconds
        """
        self._jobs.plan(
            f"comparing with libvirt, {cause}",
            lambda: self.compare(cause),
            of=ALL,
            after=after,
            second="not needed",
        )

    def compare(self, cause: Cause | None = None) -> None:
        """Read all domains and take over what is different; again later if libvirt does not answer.

        :param cause: why events were missed, published with the differences; None if none were
        """
        try:
            with self._comparing:
                found = self._compare_all(cause)
                if cause is not None:
                    self._events.publish(found)
            self._compared()
        except VdsmError as error:
            log.warning("Cannot compare the machines with libvirt's: %s", error)
            if self._hypervisor.connected:
                self.compare_soon(cause, self._listing.pause)

    def reread_soon(self, vm_id: str) -> None:
        """Read the state of one machine in the background."""
        self._jobs.plan(
            "looking", lambda: self.settle(vm_id), of=MachineReference(vm_id), second="not needed"
        )

    def end_postcopy(self, vm_id: str) -> bool:
        """End a domain whose memory is split between two hosts for good, if this one is so.

        Neither host can continue it; continued on both it would destroy its disks.

        :returns: whether it is Down now
        """
        try:
            domain = self._hypervisor.domains.get(vm_id)
            paused = (domain.state, domain.reason) == ("paused", "postcopy")
            if not domain.active or not (paused or domain.reason == _FAILED):
                return False
            with self._lock:
                self._inventory.update(vm_id, transitions.postcopy_failed)
            self._hypervisor.domains.destroy(vm_id)
        except NoSuchDomain:
            return False
        except VdsmError as error:
            log.error("Cannot end machine %s, whose post-copy migration failed: %s", vm_id, error)  # noqa: TRY400
            return False
        return True

    def settle(self, vm_id: str) -> None:
        """Read the state of one machine, where its event is missing.

        :raises VdsmError: libvirt does not answer
        """
        self._settle(vm_id, partial(self._hypervisor.domains.get, vm_id))

    def _settle(self, vm_id: str, read: Callable[[], DomainState | None]) -> bool:
        """Take over what is read of one machine; whether that changed anything.

        :param read: returns None if libvirt has no such machine: it is given up
        """
        for _ in range(_MAX_READINGS):
            seen = self._seen
            domain = read()
            with self._lock:
                if seen == self._seen:
                    return self._take_over(vm_id, domain)
        # In such a storm of events, they have to wait for once.
        with self._lock:
            return self._take_over(vm_id, read())

    def _take_over(self, vm_id: str, domain: DomainState | None) -> bool:
        return bool(self._drop([vm_id])) if domain is None else self._compare_one(domain)

    def _find(self, vm_id: str) -> DomainState | None:
        try:
            return self._hypervisor.domains.get(vm_id)
        except NoSuchDomain:
            return None

    def _publish(self, event: DomainEvent) -> None:
        machine = self._inventory.find(event.uuid)
        postcopy = machine is not None and machine.pause_code == "POSTCOPY"
        for published in events_of(event, postcopy=postcopy):
            self._events.publish(published, event.uuid)

    def _compare_all(self, cause: Cause | None) -> Reconciled:
        with self._lock:
            before = frozenset(machine.id for machine in self._inventory.all())
            touched = self._touched = set()
        try:
            domains = {domain.uuid: domain for domain in self._listing.read()}
        except VdsmError:
            self._touched = None
            raise
        with self._lock:
            self._touched = None
            changed = [
                domain.uuid
                for domain in domains.values()
                if domain.uuid not in touched and self._compare_one(domain)
            ]
            changed += self._drop(before - domains.keys() - touched)
        # Their events do not suffice: of a machine that ended and was undefined while events were lost, only
        # the second one may have arrived.
        changed += [vm_id for vm_id in sorted(touched) if self._settle(vm_id, partial(self._find, vm_id))]
        self._inventory.complete()
        return Reconciled(
            cause=cause or "connection back",
            added=[vm_id for vm_id in changed if vm_id not in before],
            changed=[vm_id for vm_id in changed if vm_id in before and self._inventory.find(vm_id)],
            gone=[vm_id for vm_id in changed if vm_id in before and not self._inventory.find(vm_id)],
        )

    def _drop(self, ids: Iterable[str]) -> list[str]:
        """Give up the machines of these ids, which libvirt does not list; the ids of those that were here."""
        dropped = []
        for machine in map(self._inventory.find, sorted(ids)):
            if machine is not None and not machine.launching and not machine.missing:
                self._gone(machine)
                dropped.append(machine.id)
        return dropped

    def _compare_one(self, domain: DomainState) -> bool:
        """Take over one domain; whether that changed anything."""
        known = self._inventory.find(domain.uuid)
        if known is None:
            self._new(domain)
            return True
        if known.launching:
            return False
        after = self._inventory.update(domain.uuid, lambda machine: transitions.found(machine, domain))
        if after is not None and after.stale:
            self._mirror.refresh_soon(domain.uuid)
        if after is not None and domain.active and domain.reason == _FAILED:
            self._end_postcopy_soon(after)
        return after is not known

    def _new(self, domain: DomainState) -> None:
        machine = transitions.first_found(domain)
        try:
            self._inventory.add(machine)
        except VMExists:
            # The name's former owner was renamed or undefined, and that event follows.
            self.compare_soon(after=_AGAIN)
            return
        self._mirror.refresh_soon(domain.uuid)

    def _gone(self, machine: Machine) -> None:
        if machine.ours and machine.active:
            self._inventory.update(machine.id, transitions.vanished)
        elif machine.ours and machine.exit == MIGRATED:
            # Libvirt was lost before it reported what is left here. The exit is shown until `VM.destroy`.
            self._inventory.update(machine.id, transitions.left_nothing)
        else:
            self._inventory.forget(machine.id)

    def _outdated(self, vm_id: str) -> None:
        if self._inventory.update(vm_id, transitions.new_xml) is not None:
            self._mirror.refresh_soon(vm_id)

    def _ask(self, event: DomainLifecycle) -> None:
        """Read the domain of an event whose machine is not known."""

        # Also if it is known by then: what made it known may have been read before this event.
        self.reread_soon(event.uuid)

    def _defined(self, event: DomainLifecycle) -> None:
        machine = self._inventory.find(event.uuid)
        if machine is None:
            self._ask(event)
        elif not machine.launching:
            self._inventory.change(event.uuid, persistent=True, name=event.name)
            self._outdated(event.uuid)

    def _undefined(self, event: DomainLifecycle) -> None:
        machine = self._inventory.find(event.uuid)
        if machine is None or machine.launching or event.detail == "renamed":
            return
        if machine.active:
            self._inventory.change(event.uuid, persistent=False)
        else:
            self._inventory.forget(event.uuid)

    def _started(self, event: DomainLifecycle) -> None:
        change = _STARTED.get(event.detail, transitions.started)
        machine = self._inventory.update(event.uuid, change)
        if machine is None:
            self._ask(event)
        elif not machine.launching:
            self._outdated(event.uuid)

    def _suspended(self, event: DomainLifecycle) -> None:
        moves = event.detail == "migrated"
        change = (
            transitions.moving_away if moves else lambda machine: transitions.suspended(machine, event.detail)
        )
        machine = self._inventory.update(event.uuid, change)
        if machine is None:
            self._ask(event)
        elif event.detail == _FAILED:
            self._end_postcopy_soon(machine)

    def _resumed(self, event: DomainLifecycle) -> None:
        machine = self._inventory.update(event.uuid, transitions.resumed)
        if machine is None:
            self._ask(event)
        elif event.detail == _FAILED:
            # Its processors run on until they need a page that does not arrive any more.
            self._end_postcopy_soon(machine)

    def _end_postcopy_soon(self, machine: Machine) -> None:
        """End an incoming machine of this daemon. Another client may resume the migration of its own."""
        if machine.ours and not machine.outgoing:

            def end() -> None:
                self.end_postcopy(machine.id)

            self._jobs.plan(
                "ending a machine whose post-copy migration failed",
                end,
                of=MachineReference(machine.id),
                second="not needed",
            )

    def _shutdown(self, event: DomainLifecycle) -> None:
        self._inventory.update(event.uuid, lambda machine: transitions.shutting_down(machine, event.detail))

    def _stopped(self, event: DomainLifecycle) -> None:
        machine = self._inventory.update(event.uuid, lambda known: transitions.stopped(known, event.detail))
        if machine is None or machine.launching:
            return
        if event.detail == "migrated":
            self._jobs.plan(
                "looking for what is left",
                lambda: self._left(event.uuid),
                of=MachineReference(event.uuid),
                second="not needed",
            )
            return
        if not machine.ours and not machine.persistent:
            self._inventory.forget(event.uuid)
            return
        self._outdated(event.uuid)

    def _left(self, vm_id: str) -> None:
        """Find out whether a machine that has moved has left its definition here."""
        try:
            self._hypervisor.domains.get(vm_id)
        except NoSuchDomain:
            machine = self._inventory.update(vm_id, transitions.left_nothing)
            if machine is not None and machine.missing and not machine.ours:
                self._inventory.forget(vm_id)
        else:
            self._outdated(vm_id)

    def _rebooted(self, event: DomainReboot) -> None:
        machine = self._inventory.update(event.uuid, transitions.rebooted)
        if machine is not None and machine.destroy_on_reboot:
            self._end(event.uuid)

    def _io_error(self, event: DomainIOError) -> None:
        # The guest gets an error that is only reported, and goes on.
        if event.action == "pause":
            code = _IO_ERRORS.get(event.reason, "EOTHER")
            self._inventory.update(event.uuid, lambda machine: transitions.io_error(machine, code))

    def _crashed(self, event: DomainLifecycle) -> None:
        # What libvirt does about it is an event of its own.
        log.warning("The guest of machine %s panicked (%s)", event.uuid, event.detail)
        self._inventory.update(event.uuid, transitions.panicked)
        # A guest that is preserved is there and does not run; libvirt sends nothing else about it.
        self.reread_soon(event.uuid)
