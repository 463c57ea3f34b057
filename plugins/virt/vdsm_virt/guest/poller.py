"""Asks the guests' qemu-guest-agents for facts, each in its own time."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable
from typing import Final

import msgspec
from msgspec import UnsetType

from vdsm_core.errors import VdsmError
from vdsm_core.hypervisor import (
    AgentAnswer,
    AgentSubject,
    DomainAgent,
    DomainDeviceAdded,
    DomainDeviceRemoved,
    DomainLifecycle,
    DomainReboot,
    HypervisorEvent,
    Pending,
)
from vdsm_virt.guest.facts import GuestFacts, QemuAgentFacts
from vdsm_virt.guest.qemu_answers import merged
from vdsm_virt.machine.machine import Machine
from vdsm_virt.machine.machines import Machines

log = logging.getLogger(__name__)

#: Seconds between two looks at which facts are due, and after an answer that was missing.
_ROUND: Final = 5.0
_PAUSE: Final = 60.0
#: Agents that are asked at once. Each takes one of libvirt's workers, of which there are 20; one that hangs
#: keeps it for 5 s, once a minute.
MAX_ASKED: Final = 8
#: Seconds between two questions.
_INFORMATION: Final = 300.0
_PERIODS: Final[dict[str, float]] = {
    "hostname": 120.0,
    "os": 120.0,
    "timezone": 120.0,
    "interfaces": 120.0,
    "guest-get-devices": 120.0,
    "users": 10.0,
    "filesystem": 300.0,
    "disks": 300.0,
    "guest-get-vcpus": 60.0,
}
#: The agent's command for each of the subjects that libvirt has.
_SUBJECTS: Final[dict[AgentSubject, str]] = {
    "hostname": "guest-get-host-name",
    "os": "guest-get-osinfo",
    "timezone": "guest-get-timezone",
    "interfaces": "guest-network-get-interfaces",
    "users": "guest-get-users",
    "filesystem": "guest-get-fsinfo",
    "disks": "guest-get-disks",
}
#: Seconds after a disk was plugged in or out until the guest's disks are read again.
_NEW_DISKS: Final = 10.0
#: A guest runs its programs in these states only.
_RUNNING: Final = frozenset({"Up", "Powering up"})


class _Guest:
    """When a guest's facts were asked for, and the call that is under way."""

    def __init__(self) -> None:
        self.asked: dict[str, float] = {}
        self.paused_until = -math.inf
        self.pending: Pending | None = None

    @property
    def busy(self) -> bool:
        return self.pending is not None and not self.pending.wait(0)


class AgentPoller:
    """Keeps the facts of all guests with qemu-guest-agent up to date.

    :param clock: seconds, monotonic
    :param answered: is called with the id of a machine whose agent has answered
    """

    def __init__(
        self,
        machines: Machines,
        facts: GuestFacts,
        clock: Callable[[], float],
        answered: Callable[[str], None] = lambda _vm_id: None,
    ) -> None:
        self._machines = machines
        self._facts = facts
        self._clock = clock
        self._answered = answered
        self._lock = threading.Lock()
        self._guests: dict[str, _Guest] = {}

    def start(self) -> None:
        """Begin to ask."""
        self._plan()

    def handle(self, event: HypervisorEvent) -> None:
        """Follow what changes a guest or its agent."""
        if isinstance(event, DomainLifecycle):
            # A guest that wakes from its memory goes on with its run.
            if event.event in ("started", "stopped") and event.detail != "wakeup":
                self._forget(event.uuid)
            if event.event in ("resumed", "started"):
                self._look_soon()
        elif isinstance(event, DomainReboot):
            self._facts.change_qemu(event.uuid, _without_commands)
            self._begin_again(event.uuid)
        elif isinstance(event, DomainAgent):
            if event.state == "connected":
                self._begin_again(event.uuid)
                self._look_soon()
        elif isinstance(event, DomainDeviceAdded | DomainDeviceRemoved):
            self._read_disks_again(event.uuid)

    def look(self) -> None:
        """Ask for the facts that are due."""
        running = [machine for machine in self._machines.inventory.all() if machine.status in _RUNNING]
        with self._lock:
            under_way = sum(guest.busy for guest in self._guests.values())
        for machine in running:
            if under_way >= MAX_ASKED:
                break
            under_way += self._ask(machine)

    def _plan(self) -> None:
        def work() -> None:
            try:
                self.look()
            finally:
                self._plan()

        self._machines.jobs.plan("asking guest agents", work, after=_ROUND, second="not needed")

    def _look_soon(self) -> None:
        self._machines.jobs.plan("asking a guest agent", self.look, second="not needed")

    def _ask(self, machine: Machine) -> bool:
        """Ask one agent for what is due; whether there is anything."""
        vm_id, now = machine.id, self._clock()
        known = self._facts.qemu(vm_id)
        with self._lock:
            guest = self._guests.setdefault(vm_id, _Guest())
            if guest.busy or now < guest.paused_until:
                return False
            due = _due(guest, known, now)
            if not due:
                return False
            guest.asked.update(dict.fromkeys(due, now))
            subjects = frozenset(subject for subject in _SUBJECTS if subject in due)
            commands = tuple(name for name in due if name.startswith("guest-"))
            try:
                guest.pending = self._machines.hypervisor.agents.ask_soon(
                    vm_id, subjects, commands, lambda answer: self._take(guest, vm_id, answer)
                )
            except VdsmError as error:
                log.debug("The agent of machine %s cannot be asked: %s", vm_id, error)
                guest.asked = {}
                return False
        return True

    def _take(self, guest: _Guest, vm_id: str, answer: AgentAnswer) -> None:
        now = self._clock()
        with self._lock:
            if self._guests.get(vm_id) is not guest:
                return  # its run has ended
            if answer.failure is not None:
                guest.paused_until = now + _PAUSE
                guest.asked = {}
                log.debug("The agent of machine %s does not answer: %s", vm_id, answer.failure)
        machine = self._machines.inventory.find(vm_id)
        serials = _serials(machine) if machine is not None else {}
        knew = self._facts.qemu(vm_id).commands
        self._facts.change_qemu(vm_id, lambda known: merged(known, answer, serials, now))
        if answer.failure is None:
            self._answered(vm_id)
            if not knew:
                self._machines.jobs.plan(
                    "asking a guest agent", self.look, after=_SETTLE, second="not needed"
                )

    def _begin_again(self, vm_id: str) -> None:
        with self._lock:
            guest = self._guests.get(vm_id)
            if guest is not None:
                guest.paused_until = -math.inf
                guest.asked = {}

    def _read_disks_again(self, vm_id: str) -> None:
        with self._lock:
            guest = self._guests.get(vm_id)
            if guest is not None:
                for subject in ("filesystem", "disks"):
                    guest.asked[subject] = self._clock() - _PERIODS[subject] + _NEW_DISKS

    def _forget(self, vm_id: str) -> None:
        with self._lock:
            self._guests.pop(vm_id, None)
        self._facts.forget(vm_id)


#: Seconds for the call that has just answered to end: until then its guest counts as busy.
_SETTLE: Final = 0.1


def _due(guest: _Guest, known: QemuAgentFacts, now: float) -> list[str]:
    if not known.commands or now - guest.asked.get("guest-info", -math.inf) >= _INFORMATION:
        return ["guest-info"]
    return [
        name
        for name, period in _PERIODS.items()
        if now - guest.asked.get(name, -math.inf) >= period and _SUBJECTS.get(name, name) in known.commands  # type: ignore[call-overload]
    ]


def _without_commands(facts: QemuAgentFacts) -> QemuAgentFacts:
    return msgspec.structs.replace(facts, commands=frozenset())


def _serials(machine: Machine) -> dict[str, str]:
    devices = machine.details.definition.devices if machine.details is not None else []
    if isinstance(devices, UnsetType):
        return {}
    return {
        device.name: device.serial
        for device in devices
        if not isinstance(device.name, UnsetType) and not isinstance(device.serial, UnsetType)
    }
