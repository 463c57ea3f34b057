"""The machines of this host, as immutable records: readers need no lock."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import msgspec

from vdsm_core.events import EventBus, EventParams
from vdsm_virt.api.events import VmGone
from vdsm_virt.errors import NoSuchVM, Recovering, VMExists
from vdsm_virt.machine.describe import status_event
from vdsm_virt.machine.machine import Machine
from vdsm_virt.machine.state import Contradiction

log = logging.getLogger(__name__)


class Inventory:
    """Machines by id; each change of a status is published, in order.

    :param events: receives the changes
    :param awaited: returns, as long as not all are known, what is waited for
    :param reread: reads a machine again from libvirt, in the background
    :param changed: called under the lock with a machine as it was and as it is: it only plans work
    """

    def __init__(
        self,
        events: EventBus,
        awaited: Callable[[], str],
        reread: Callable[[str], object] = lambda _vm_id: None,
        changed: Callable[[Machine, Machine], object] = lambda _before, _after: None,
    ) -> None:
        self._events = events
        self._awaited = awaited
        self._reread = reread
        self._on_change = changed
        self._changed = threading.Condition()
        self._machines: dict[str, Machine] = {}
        self._ids: dict[str, str] = {}
        self._complete = False
        #: Grows with each change.
        self.version = 0

    def complete(self) -> None:
        """Note that all machines are known: one that is not here does not exist."""
        if not self._complete:
            log.info("Libvirt has listed the machines: %d", len(self._machines))
        self._complete = True

    @property
    def is_complete(self) -> bool:
        """Whether all machines are known."""
        return self._complete

    def insist(self) -> None:
        """Refuse to answer for all machines before all are known: who misses one may start it elsewhere.

        :raises Recovering: they are not
        """
        if not self._complete:
            raise Recovering(reason=self._awaited())

    def get(self, vm_id: str) -> Machine:
        """Return one machine.

        :raises NoSuchVM: none has this id
        :raises Recovering: none that is known has it, and there may be others
        """
        machine = self._machines.get(vm_id.lower())
        if machine is None:
            self.insist()
            raise NoSuchVM(vm_id=vm_id)
        return machine

    def find(self, vm_id: str) -> Machine | None:
        """Return one machine, or None."""
        return self._machines.get(vm_id.lower())

    def all(self) -> list[Machine]:
        """Return every machine, in the order in which they became known."""
        return list(self._machines.values())

    def add(self, machine: Machine) -> None:
        """Add a machine.

        :raises VMExists: its id or its name is taken
        """
        with self._changed:
            if machine.id in self._machines:
                raise VMExists(member="vmId", value=machine.id)
            if machine.name in self._ids:
                raise VMExists(member="vmName", value=machine.name)
            self._machines[machine.id] = machine
            self._ids[machine.name] = machine.id
            self._note()
            self._publish(machine)

    def update(self, vm_id: str, change: Callable[[Machine], Machine]) -> Machine | None:
        """Replace a machine by what `change` makes of it; return None if there is none.

        What contradicts the state of the machine is not applied; then the machine is read again from libvirt.

        :param change: one of `transitions`, called under the lock: it only computes
        """
        with self._changed:
            before = self._machines.get(vm_id)
            if before is None:
                return None
            try:
                after = change(before)
            except Contradiction as contradiction:
                log.warning("Machine %s is read again: %s", vm_id, contradiction)
                self._reread(vm_id)
                return before
            if after is before:
                return before
            self._machines[vm_id] = after
            if after.name != before.name:
                self._ids.pop(before.name, None)
                self._ids[after.name] = vm_id
            if (after.status, after.pause_code) != (before.status, before.pause_code):
                after = self._machines[vm_id] = msgspec.structs.replace(after, since=time.time())
                self._publish(after)
            self._note()
            self._on_change(before, after)
            return after

    def change(self, vm_id: str, **members: Any) -> Machine | None:
        """Replace some members of a machine, its status excepted; return None if there is none."""
        if "status" in members:
            raise TypeError("a status follows from a report; see machine.state")
        return self.update(vm_id, lambda machine: msgspec.structs.replace(machine, **members))

    def forget(self, vm_id: str) -> None:
        """Drop a machine; one that is not known is no error."""
        with self._changed:
            machine = self._machines.pop(vm_id, None)
            if machine is not None:
                if self._ids.get(machine.name) == vm_id:
                    del self._ids[machine.name]
                self._note()
                self._events.publish(VmGone(vm_id=vm_id, vm_name=machine.name), vm_id)

    def wait(self, vm_id: str, reached: Callable[[Machine | None], bool], timeout: float) -> bool:
        """Wait until `reached` is true of a machine (None: it is gone); return whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: reached(self._machines.get(vm_id)), timeout)

    def _note(self) -> None:
        self.version += 1
        self._changed.notify_all()

    def states(self, mark: Callable[[], None]) -> list[tuple[str, EventParams]]:
        """Return the status of every machine as its event; see `EventBus.provide`."""
        with self._changed:
            mark()
            machines = list(self._machines.values())
        return [(machine.id, status_event(machine)) for machine in machines]

    def _publish(self, machine: Machine) -> None:
        self._events.publish(status_event(machine), machine.id)
