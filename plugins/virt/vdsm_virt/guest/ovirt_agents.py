"""oVirt's guest agents: a channel to each guest that has a port for one."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from typing import Any, Final

import msgspec

from vdsm_core.errors import VdsmError
from vdsm_core.hypervisor import (
    AgentUnavailable,
    Channel,
    DomainLifecycle,
    DomainReboot,
    Hypervisor,
    HypervisorEvent,
)
from vdsm_core.work.scheduler import Jobs
from vdsm_virt.guest.errors import DesktopAgentSilent
from vdsm_virt.guest.facts import GuestFacts, OvirtAgentFacts
from vdsm_virt.guest.ovirt_messages import API_VERSION, MAX_MESSAGE, BadMessage, decode, encode, merged
from vdsm_virt.machine.inventory import Inventory
from vdsm_virt.machine.machine import Machine
from vdsm_virt.machine.references import Machine as MachineReference

log = logging.getLogger(__name__)

#: Seconds between two looks at which guests have no channel yet.
_ROUND: Final = 5.0
#: Seconds until a channel is opened again that could not be opened, or ended; longer each time.
_FIRST_PAUSE: Final = 5.0
_MAX_PAUSE: Final = 120.0
#: Seconds for which a guest that sent too much is not listened to.
_PENALTY: Final = 600.0
#: Bytes that wait to be read at the most: a guest that sends more, faster than they are read, is cut off.
_MAX_WAITING: Final = 4 * MAX_MESSAGE
#: Seconds without a message after which an agent counts as silent.
SILENCE: Final = 120.0


class _Guest:
    """One guest's channel, and what has come through it and is no whole line yet."""

    def __init__(self) -> None:
        self.channel: Channel | None = None
        self.lock = threading.Lock()
        self.waiting = bytearray()
        self.line = bytearray()
        #: The line that is being received is longer than a message may be.
        self.too_long = False
        self.failures = 0
        self.paused_until = -math.inf


class OvirtAgents:
    """Listens to and commands the agents of oVirt within the guests.

    A channel is open for as long as its machine runs: an agent says what it knows by itself.

    :param clock: seconds, monotonic
    """

    def __init__(
        self,
        hypervisor: Hypervisor,
        inventory: Inventory,
        jobs: Jobs,
        facts: GuestFacts,
        clock: Callable[[], float],
    ) -> None:
        self._hypervisor = hypervisor
        self._inventory = inventory
        self._jobs = jobs
        self._facts = facts
        self._clock = clock
        self._lock = threading.Lock()
        self._guests: dict[str, _Guest] = {}

    def start(self) -> None:
        """Begin to open channels."""
        self._plan()

    def stop(self) -> None:
        """Close all channels."""
        with self._lock:
            guests, self._guests = self._guests, {}
        for guest in guests.values():
            if guest.channel is not None:
                guest.channel.close()

    def handle(self, event: HypervisorEvent) -> None:
        """Follow what changes a guest."""
        if isinstance(event, DomainLifecycle):
            if event.event == "stopped":
                self._forget(event.uuid)
        elif isinstance(event, DomainReboot):
            self._facts.change_ovirt(event.uuid, _rebooted)

    def responsive(self, vm_id: str) -> bool:
        """Return whether an agent has said something recently."""
        received = self._facts.ovirt(vm_id).received
        return bool(received) and self._clock() - received < SILENCE

    def send(self, vm_id: str, name: str, **members: Any) -> None:
        """Send a message to an agent. That it is carried out is not known here.

        :raises DesktopAgentSilent: there is no agent, or it has said nothing for long
        """
        guest = self._guests.get(vm_id)
        machine = self._inventory.get(vm_id)
        if guest is None or guest.channel is None or not guest.channel.is_open:
            port = machine.details is not None and machine.details.ovirt_port
            reason = "its channel is not open" if port else "the machine has no channel for oVirt's agent"
            raise DesktopAgentSilent(vm_id=vm_id, reason=reason)
        if not self.responsive(vm_id):
            reason = "oVirt's agent has said nothing"
            if self._facts.ovirt(vm_id).received:
                reason += f" for {SILENCE:g} s"
            raise DesktopAgentSilent(vm_id=vm_id, reason=reason)
        try:
            guest.channel.send(encode(name, members))
        except AgentUnavailable as error:
            raise DesktopAgentSilent(vm_id=vm_id, reason=str(error)) from None

    def look(self) -> None:
        """Open the channels that are missing."""
        for machine in filter(_has_port, self._inventory.all()):
            with self._lock:
                guest = self._guests.setdefault(machine.id, _Guest())
            if guest.channel is None and self._clock() >= guest.paused_until:
                self._open(machine, guest)

    def _plan(self) -> None:
        def work() -> None:
            try:
                self.look()
            finally:
                self._plan()

        self._jobs.plan("opening channels to guests", work, after=_ROUND, second="not needed")

    def _open(self, machine: Machine, guest: _Guest) -> None:
        assert machine.details is not None
        vm_id = machine.id
        # Held until the channel is known: what is reported of it waits for that.
        with guest.lock:
            try:
                guest.channel = self._hypervisor.channels.open_soon(
                    vm_id,
                    machine.details.ovirt_port,
                    received=lambda data: self._received(vm_id, guest, data),
                    closed=lambda reason: self._closed(vm_id, guest, reason),
                    opened=lambda channel: self._opened(vm_id, channel),
                )
            except VdsmError as error:
                log.debug("No channel to the guest of machine %s: %s", vm_id, error)

    def _opened(self, vm_id: str, channel: Channel) -> None:
        """Ask an agent that is there already for everything; it learns that versions are understood."""
        try:
            channel.send(encode("refresh", {"apiVersion": API_VERSION}))
        except AgentUnavailable as error:
            log.debug("The guest of machine %s is not asked: %s", vm_id, error)

    def _closed(self, vm_id: str, guest: _Guest, reason: str) -> None:
        with guest.lock:
            pause = min(_FIRST_PAUSE * 2.0**guest.failures, _MAX_PAUSE)
            guest.failures += 1
            guest.paused_until = max(guest.paused_until, self._clock() + pause)
            guest.channel = None
            guest.waiting.clear()
            guest.line.clear()
        log.debug("The channel to the guest of machine %s: %s", vm_id, reason)

    def _received(self, vm_id: str, guest: _Guest, data: bytes) -> None:
        """Keep what a guest sends until it is read, on another thread than libvirt's."""
        with guest.lock:
            guest.waiting += data
            flood = len(guest.waiting) > _MAX_WAITING
            channel = guest.channel
            if flood:
                guest.waiting.clear()
                guest.paused_until = self._clock() + _PENALTY
                guest.channel = None
        if flood:
            log.warning("The guest of machine %s sends too much, and is cut off for %g s", vm_id, _PENALTY)
            if channel is not None:
                channel.close()
            return
        self._jobs.plan(
            "reading a guest agent",
            lambda: self._read(vm_id, guest),
            of=MachineReference(vm_id),
            second="not needed",
        )

    def _read(self, vm_id: str, guest: _Guest) -> None:
        with guest.lock:
            data = bytes(guest.waiting)
            guest.waiting.clear()
        *lines, rest = data.split(b"\n")
        for line in lines:
            whole, guest.line = bytes(guest.line) + line, bytearray()
            if guest.too_long or len(whole) > MAX_MESSAGE:
                log.debug("A message of the guest of machine %s is too long", vm_id)
                guest.too_long = False
            elif whole.strip():
                self._take(vm_id, guest, whole)
        guest.line += rest
        if len(guest.line) > MAX_MESSAGE:
            guest.line.clear()
            guest.too_long = True

    def _take(self, vm_id: str, guest: _Guest, line: bytes) -> None:
        if self._guests.get(vm_id) is not guest:
            return  # its run has ended
        spoken = self._facts.ovirt(vm_id).api_version
        try:
            message = decode(line)
            now, wall = self._clock(), time.time()
            self._facts.change_ovirt(vm_id, lambda known: merged(known, message, now, wall))
        except BadMessage as error:
            log.debug("A message of the guest of machine %s is not understood: %s", vm_id, error)
            return
        guest.failures = 0
        version = self._facts.ovirt(vm_id).api_version
        if version != spoken and guest.channel is not None:
            try:
                guest.channel.send(encode("api-version", {"apiVersion": version}))
            except AgentUnavailable as error:
                log.debug("The guest of machine %s is not answered: %s", vm_id, error)

    def _forget(self, vm_id: str) -> None:
        with self._lock:
            guest = self._guests.pop(vm_id, None)
        if guest is not None and guest.channel is not None:
            guest.channel.close()
        self._facts.forget(vm_id)


def _has_port(machine: Machine) -> bool:
    return machine.active and machine.details is not None and bool(machine.details.ovirt_port)


def _rebooted(known: OvirtAgentFacts) -> OvirtAgentFacts:
    """Return what is left of the facts when the guest reboots: who was logged in, is not any more."""
    if known.received == 0:
        return known
    return msgspec.structs.replace(
        known, heartbeat=False, last_user=known.username, username="Unknown", last_logout=time.time()
    )
