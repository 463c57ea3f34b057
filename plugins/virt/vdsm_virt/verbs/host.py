"""The verbs of the host as far as they are about its hardware and its machines."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Final

from msgspec import Meta

from vdsm_bridge.api.declare import Namespace, query
from vdsm_bridge.call.context import Context
from vdsm_core.errors import VdsmError
from vdsm_core.hypervisor import Hypervisor, NoSuchDomain
from vdsm_core.types import UUID
from vdsm_virt.api.definition import VmDefinition
from vdsm_virt.api.stats import VmStats
from vdsm_virt.host import Capabilities, HardwareInformation, HostFacts, HostSampler, HostStats, Machines
from vdsm_virt.machine.describe import definition, short
from vdsm_virt.machine.inventory import Inventory
from vdsm_virt.machine.machine import Machine
from vdsm_virt.machine.mirror import Mirror
from vdsm_virt.stats.statistics import Statistics

Ids = Annotated[list[UUID], Meta(max_length=100_000)]
_EVERY: Final[list[str]] = []


class Host(Namespace, name="Host", plural="host"):
    """This host: what it is, what it can do, how it is."""

    def __init__(
        self,
        *,
        facts: HostFacts,
        sampler: HostSampler,
        hypervisor: Hypervisor,
        inventory: Inventory,
        mirror: Mirror,
        statistics: Statistics,
        guest_overhead: int,
    ) -> None:
        self._facts = facts
        self._sampler = sampler
        self._hypervisor = hypervisor
        self._inventory = inventory
        self._mirror = mirror
        self._statistics = statistics
        self._guest_overhead = guest_overhead

    @query(since="1.0")
    def get_capabilities(self, context: Context) -> Capabilities:
        """What the host is and can do: hardware, software, network."""
        return self._facts.capabilities(context.address or None)

    @query(since="1.0")
    def get_hardware_info(self) -> HardwareInformation:
        """Who made the host: maker, product, serial number, id, from its firmware."""
        return self._facts.hardware()

    @query(since="1.0")
    def get_stats(self) -> HostStats:
        """How loaded the host is: processors, memory, network, disk space, machines."""
        return self._sampler.stats(self._counts())

    @query(since="1.0", name="getVMList")
    def get_vm_list(
        self,
        full_status: bool = False,
        vm_list: Ids = _EVERY,
        only_uuid: bool = False,
    ) -> list[VmDefinition | UUID]:
        """The machines, in short.

        :param full_status: in full, as `Host.getVMFullList`
        :param vm_list: only these; an id that no machine has is left out. Empty means all
        :param only_uuid: only their ids
        :raises Recovering: they are not known yet
        """
        machines = self._chosen(vm_list)
        if only_uuid:
            return [machine.id for machine in machines]
        if full_status:
            return list(self._full(machines))
        return [short(machine) for machine in machines]

    @query(since="1.0", name="getVMFullList")
    def get_vm_full_list(self, vm_list: Ids = _EVERY) -> list[VmDefinition]:
        """The machines, in full.

        :param vm_list: only these; an id that no machine has is left out. Empty means all
        :raises Recovering: they are not known yet
        """
        return list(self._full(self._chosen(vm_list)))

    @query(since="1.0")
    def get_all_vm_stats(self) -> list[VmStats]:
        """How every machine is.

        :returns: the values of the newest sample; of a machine that does not respond the last ones known
        :raises Recovering: they are not known yet
        """
        return self._statistics.all()

    @query(since="1.0")
    def dumpxmls(self, vm_list: Ids = _EVERY) -> dict[UUID, str]:
        """The libvirt domain documents of the machines, by id.

        :param vm_list: only these; an id that no machine has is left out. Empty means all
        :raises Recovering: they are not known yet
        """
        found = {}
        for machine in self._chosen(vm_list):
            try:
                found[machine.id] = self._hypervisor.definitions.xml(machine.id)
            except NoSuchDomain:
                continue
        return found

    def _chosen(self, vm_list: list[str]) -> list[Machine]:
        self._inventory.insist()
        if not vm_list:
            return self._inventory.all()
        found = (self._inventory.find(vm_id) for vm_id in dict.fromkeys(map(str.lower, vm_list)))
        return [machine for machine in found if machine is not None]

    def _full(self, machines: Iterable[Machine]) -> Iterable[VmDefinition]:
        for machine in machines:
            try:
                yield definition(self._mirror.fresh(machine))
            except VdsmError:
                # One machine of which libvirt does not tell must not hide the others.
                yield short(machine)

    def _counts(self) -> Machines:
        """What the machines weigh, for the reckoning of free memory."""
        running = [machine for machine in self._inventory.all() if machine.active or machine.launching]
        try:
            sample = self._hypervisor.stats.sample()
        except VdsmError:
            domains = {}
        else:
            domains = sample.domains
        committed = resident = 0
        for machine in running:
            if machine.details is not None:
                committed += machine.details.memory + self._guest_overhead
            read = domains.get(machine.id)
            if read is not None:
                resident += read.stats.get("balloon.rss", 0) // 1024
        return Machines(
            count=len(self._inventory.all()),
            active=len(running),
            incoming=sum(machine.status == "Migration Destination" for machine in self._inventory.all()),
            outgoing=sum(machine.status == "Migration Source" for machine in running),
            committed=committed,
            resident=resident,
        )
