"""Shutdown and reboot: the guest is asked in every way there is, one after the other, and then ended."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any, Final, Literal, Protocol

import msgspec

from vdsm_core.errors import VdsmError
from vdsm_core.hypervisor import NoSuchDomain, OperationInvalid, OperationUnsupported, ShutdownMode
from vdsm_core.work.references import exclusive
from vdsm_virt.errors import (
    MigrationInProgress,
    NoSuchVM,
    ShutdownImpossible,
    VMIsDown,
    reason_of,
)
from vdsm_virt.machine import transitions
from vdsm_virt.machine.machine import Machine
from vdsm_virt.machine.machines import Machines
from vdsm_virt.machine.references import Machine as MachineReference
from vdsm_virt.machine.refusals import as_machine

log = logging.getLogger(__name__)

#: The jobs of a shutdown, by what they do; a later request replaces what the earlier one has planned.
DELAYED: Final = "VM.shutdown (delayed)"
OVERDUE: Final = "VM.shutdown (overdue)"
#: A polite request that follows does not replace it.
FORCED: Final = "VM.shutdown (forced)"
#: Seconds until a forced end is attempted again that libvirt did not carry out.
_AGAIN: Final = 5.0


class ShutdownRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller wants of a guest.

    :ivar reboot: to reboot, not to power off
    :ivar timeout: seconds that the guest has for each way in which it is asked
    :ivar force: end or reset the machine if its guest does not comply
    :ivar message: for the log, and for users of the guest whom its agent shows it to
    """

    message: str = ""
    reboot: bool
    timeout: float
    force: bool

    @property
    def what(self) -> Literal["shutdown", "reboot"]:
        """The word of the record of the machine."""
        return "reboot" if self.reboot else "shutdown"


class DesktopAgents(Protocol):
    """oVirt's agents within the guests."""

    def responsive(self, vm_id: str) -> bool:
        """Return whether an agent has said something recently."""

    def send(self, vm_id: str, name: str, **members: Any) -> None:
        """Send an agent a message.

        :raises VdsmError: it is not there
        """


#: How a guest is asked: in a way of libvirt, or through oVirt's agent.
_Way = ShutdownMode | Literal["ovirt"]


class Power:
    """Asks guests to power off or to reboot, and ends those that do not."""

    def __init__(self, machines: Machines, agents: DesktopAgents) -> None:
        self._agents = agents
        self._hypervisor = machines.hypervisor
        self._inventory = machines.inventory
        self._mirror = machines.mirror
        self._jobs = machines.jobs
        self._work = machines.work

    def request(self, vm_id: str, request: ShutdownRequest, delay: float) -> None:
        """Ask a guest, now or later.

        :param delay: seconds
        :raises ShutdownImpossible: there is no way to ask the guest, and it must not be forced
        """
        machine = self._running(vm_id)
        self._ways(machine, request)
        note = f": {request.message}" if request.message else ""
        log.info("Machine %s is asked to %s%s", vm_id, request.what, note)
        if delay:
            self._later(vm_id, DELAYED, delay, lambda: self._begin(vm_id, request))
        else:
            self._begin(vm_id, request)

    def end_soon(self, vm_id: str, why: Literal["no reboot", "no longer paused"]) -> None:
        """Destroy a machine in the background, for a reason of its own that its exit shows."""

        def end() -> None:
            machine = self._inventory.find(vm_id)
            if machine is None or not machine.active:
                return
            self._inventory.change(vm_id, asked=why, asked_until=0.0)
            try:
                self._hypervisor.domains.destroy(vm_id)
            except (NoSuchDomain, OperationInvalid):
                return
            except VdsmError as error:
                log.warning("Machine %s is destroyed later: %s", vm_id, error)
                self._jobs.plan(why, end, of=MachineReference(vm_id), after=_AGAIN, second="not needed")

        log.info("Machine %s is destroyed: %s", vm_id, why)
        self._jobs.plan(why, end, of=MachineReference(vm_id), second="not needed")

    def _running(self, vm_id: str) -> Machine:
        machine = self._inventory.get(vm_id)
        if machine.status == "Down":
            raise VMIsDown(vm_id=vm_id, action="shut down")
        if machine.outgoing or machine.incoming:
            raise MigrationInProgress(vm_id=vm_id, action="shut down")
        return machine

    def _ways(self, machine: Machine, request: ShutdownRequest) -> tuple[_Way, ...]:
        """Return how the guest can be asked, the best way first.

        :raises ShutdownImpossible: in none, and it must not be forced
        """
        details = self._mirror.fresh(machine).details
        ways: list[_Way] = []
        if details is None or details.agent:
            ways.append("agent")
        if self._agents.responsive(machine.id):
            ways.append("ovirt")
        if details is None or details.acpi:
            ways.append("acpi")
        if not (ways or request.force):
            raise ShutdownImpossible(
                vm_id=machine.id, reason="its guest has no agent that is connected, and no ACPI"
            )
        return tuple(ways)

    def _begin(self, vm_id: str, request: ShutdownRequest) -> None:
        before = self._running(vm_id)
        ways = self._ways(before, request)
        # Before the call: the guest may be gone before it returns.
        patience = request.timeout * max(1, len(ways))
        self._inventory.update(vm_id, lambda machine: transitions.asked(machine, request.what, patience))
        if request.force:
            self._later(vm_id, FORCED, request.timeout * len(ways), lambda: self._force(vm_id, request))
        try:
            self._ask(vm_id, request, ways)
        except (NoSuchVM, VMIsDown):
            raise
        except VdsmError as error:
            # A guest that cannot be asked, for whatever reason, is forced all the same.
            if not request.force:
                self._inventory.update(vm_id, lambda machine: transitions.not_asked(machine, before))
                raise
            log.info("Machine %s cannot be asked, it is forced: %s", vm_id, error)
            self._later(vm_id, FORCED, 0.0, lambda: self._force(vm_id, request))

    def _ask(self, vm_id: str, request: ShutdownRequest, ways: tuple[_Way, ...]) -> None:
        """Ask the guest in the first way that is carried out; have the next one tried when it is overdue.

        :raises VdsmError: the last way fails
        """
        for index, way in enumerate(ways):
            try:
                self._ask_by(vm_id, request, way)
            except (NoSuchVM, VMIsDown):
                raise
            except VdsmError as error:
                if index == len(ways) - 1:
                    raise
                log.info("Cannot ask machine %s by way of %s: %s", vm_id, way, reason_of(error))
            else:
                self._later(
                    vm_id,
                    OVERDUE,
                    request.timeout,
                    functools.partial(self._overdue, vm_id, request, ways[index + 1 :]),
                )
                return

    def _ask_by(self, vm_id: str, request: ShutdownRequest, way: _Way) -> None:
        if way == "ovirt":
            # Text, as VDSM sends it: the agent reads no other form of a truth value.
            reboot = "true" if request.reboot else "false"
            self._agents.send(vm_id, "shutdown", timeout=0, message=request.message, reboot=reboot)
            return
        domains = self._hypervisor.domains
        call = domains.reboot if request.reboot else domains.shutdown
        with as_machine(self._hypervisor, vm_id, "shut down"):
            try:
                call(vm_id, mode=way)
            except OperationUnsupported:
                # A driver without modes: its own way is the only one.
                if way == "agent":
                    raise
                call(vm_id, mode="default")

    def _overdue(self, vm_id: str, request: ShutdownRequest, ways: tuple[_Way, ...]) -> None:
        """Ask a guest in another way that has not complied; after the last one it counts as up again."""
        if not self._is_due(vm_id, request):
            return
        try:
            if ways:
                self._ask(vm_id, request, ways)
                return
        except VdsmError as error:
            log.info("Machine %s cannot be asked in another way: %s", vm_id, error)
        self._inventory.update(
            vm_id,
            lambda machine: transitions.not_complied(machine) if transitions.is_overdue(machine) else machine,
        )

    def _force(self, vm_id: str, request: ShutdownRequest) -> None:
        """End a machine whose guest has not complied, or reset it; again later if libvirt does not."""
        if not self._is_due(vm_id, request):
            return
        try:
            if request.reboot:
                self._hypervisor.domains.reset(vm_id)
                self._inventory.update(vm_id, transitions.not_complied)
            else:
                self._hypervisor.domains.destroy(vm_id)
        except (NoSuchDomain, OperationInvalid):
            return
        except VdsmError as error:
            log.warning("Machine %s is forced again later: %s", vm_id, error)
            self._later(vm_id, FORCED, _AGAIN, lambda: self._force(vm_id, request))

    def _is_due(self, vm_id: str, request: ShutdownRequest) -> bool:
        machine = self._inventory.find(vm_id)
        return machine is not None and machine.active and machine.asked == request.what

    def _later(self, vm_id: str, label: str, seconds: float, work: Callable[[], None]) -> None:
        """Call a function after some time, once no call on the machine runs."""

        def act() -> None:
            try:
                work()
            except NoSuchVM:
                log.info("%s: machine %s is gone already", label, vm_id)
            except VdsmError as error:
                log.warning("%s of machine %s: %s", label, vm_id, error)

        machine = MachineReference(vm_id)
        self._jobs.plan(
            label,
            lambda: self._work.when_free([exclusive(machine)], label, act),
            of=machine,
            after=seconds,
            second="replaces",
        )
