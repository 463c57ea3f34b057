"""The machines of this host. Records are immutable: readers take them without a lock."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import UNSET

from vdsm_core.events import EventBus, EventParams
from vdsm_virt.api.events import VmGone, VmStatusChanged
from vdsm_virt.errors import NoSuchVM, Recovering, VMExists
from vdsm_virt.machine.machine import TRANSITIONS, Machine

log = logging.getLogger(__name__)


class Inventory:
    """Machines by id; each change of a status is published, in order.

    :param events: where to
    :param awaited: says, as long as not all are known, what is waited for
    """

    def __init__(self, events: EventBus, awaited: Callable[[], str]) -> None:
        self._events = events
        self._awaited = awaited
        self._changed = threading.Condition()
        self._machines: dict[str, Machine] = {}
        self._ids: dict[str, str] = {}
        self._complete = False
        #: Grows with each change.
        self.version = 0

    def complete(self) -> None:
        """From now on a machine that is not here does not exist."""
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
        """One machine.

        :raises NoSuchVM: none has this id
        :raises Recovering: none that is known has it, and there may be others
        """
        machine = self._machines.get(vm_id.lower())
        if machine is None:
            self.insist()
            raise NoSuchVM(vm_id=vm_id)
        return machine

    def find(self, vm_id: str) -> Machine | None:
        """One machine, or None."""
        return self._machines.get(vm_id.lower())

    def all(self) -> list[Machine]:
        """Every machine, in the order in which they became known."""
        return list(self._machines.values())

    def add(self, machine: Machine) -> None:
        """A new machine.

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
        """Replace a machine by what `change` makes of it; None if there is none.

        `change` is called under the lock: it must only compute.
        """
        with self._changed:
            before = self._machines.get(vm_id)
            if before is None:
                return None
            after = change(before)
            if after is before:
                return before
            self._machines[vm_id] = after
            if after.name != before.name:
                self._ids.pop(before.name, None)
                self._ids[after.name] = vm_id
            if (after.status, after.pause_code) != (before.status, before.pause_code):
                if after.status != before.status and after.status not in TRANSITIONS[before.status]:
                    log.info("Machine %s went from %s to %s", vm_id, before.status, after.status)
                after = self._machines[vm_id] = msgspec.structs.replace(after, since=time.time())
                self._publish(after)
            self._note()
            return after

    def change(self, vm_id: str, **members: Any) -> Machine | None:
        """Replace some members of a machine; None if there is none."""
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
        """Wait until `reached` holds of a machine (None: it is gone); tell whether it does."""
        with self._changed:
            return self._changed.wait_for(lambda: reached(self._machines.get(vm_id)), timeout)

    def _note(self) -> None:
        self.version += 1
        self._changed.notify_all()

    def states(self, mark: Callable[[], None]) -> list[tuple[str, EventParams]]:
        """The status of every machine as the event that would say so; see `EventBus.provide`."""
        with self._changed:
            mark()
            machines = list(self._machines.values())
        return [(machine.id, _said(machine)) for machine in machines]

    def _publish(self, machine: Machine) -> None:
        self._events.publish(_said(machine), machine.id)


def _said(machine: Machine) -> VmStatusChanged:
    ended = machine.exit if machine.status == "Down" else None
    return VmStatusChanged(
        vm_id=machine.id,
        vm_name=machine.name,
        status=machine.status,
        pause_code=machine.pause_code if machine.status == "Paused" else UNSET,
        exit_code=UNSET if ended is None else ended.code,
        exit_reason=UNSET if ended is None else int(ended.reason),
        exit_message=UNSET if ended is None else ended.message,
    )
