"""Changes of machines that no event of libvirt reports, such as the link of a NIC that virsh has set."""

from __future__ import annotations

import logging
import math
from typing import Final

from vdsm_core.errors import VdsmError
from vdsm_core.hypervisor import DomainSample, Hypervisor
from vdsm_core.work.scheduler import Jobs
from vdsm_virt.domain.read.definition import Details
from vdsm_virt.machine import transitions
from vdsm_virt.machine.inventory import Inventory
from vdsm_virt.machine.machine import Machine
from vdsm_virt.machine.mirror import Mirror

log = logging.getLogger(__name__)

#: Seconds after which the definition of a running machine has been read again, whatever happened.
_MAX_AGE: Final = 60.0


class Drift:
    """Reads definitions again that differ from the newest sample, and all others in turn.

    :param interval: seconds between two samples
    """

    def __init__(
        self, hypervisor: Hypervisor, inventory: Inventory, mirror: Mirror, jobs: Jobs, interval: float
    ) -> None:
        self._hypervisor = hypervisor
        self._inventory = inventory
        self._mirror = mirror
        self._jobs = jobs
        self._interval = interval
        #: The machine that was read last in its turn.
        self._last = ""

    def start(self) -> None:
        """Look after each sample, until the jobs of the plugin end."""
        self._jobs.plan("looking for drift", self._look, after=self._interval, second="not needed")

    def look(self) -> list[str]:
        """Have the definitions read again that are out of date; return the ids of their machines."""
        known = [machine for machine in self._inventory.all() if _is_read(machine)]
        try:
            domains = self._hypervisor.stats.sample().domains
        except VdsmError:
            domains = {}
        found = [
            machine.id
            for machine in known
            if machine.details is not None
            and (read := domains.get(machine.id)) is not None
            and differs(read, machine.details)
        ]
        found += [vm_id for vm_id in self._in_turn(known) if vm_id not in found]
        for vm_id in found:
            self._inventory.update(vm_id, transitions.new_xml)
            self._mirror.refresh_soon(vm_id)
        return found

    def _look(self) -> None:
        try:
            self.look()
        finally:
            self.start()

    def _in_turn(self, known: list[Machine]) -> list[str]:
        """Return the machines that are read now so that each is read once in `_MAX_AGE`."""
        ids = [machine.id for machine in known]
        if not ids:
            return []
        count = min(len(ids), math.ceil(len(ids) * self._interval / _MAX_AGE))
        first = ids.index(self._last) + 1 if self._last in ids else 0
        turn = [ids[(first + step) % len(ids)] for step in range(count)]
        self._last = turn[-1]
        return turn


def differs(read: DomainSample, details: Details) -> bool:
    """Return whether a sample shows other processors or NICs than the definition that is known."""
    if not read.responding:
        return False
    vcpus = read.stats.get("vcpu.current")
    if vcpus is not None and vcpus != details.vcpus:
        return True
    count = read.stats.get("net.count")
    if count is None:
        return False
    nics = {read.stats.get(f"net.{number}.name") for number in range(count)}
    return nics != set(details.macs)


def _is_read(machine: Machine) -> bool:
    return (
        machine.active
        and not machine.launching
        and not machine.missing
        and not machine.stale
        and machine.details is not None
    )
