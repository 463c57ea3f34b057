"""Verbs of `Host` that concern its hardware and its machines."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from vdsm_bridge.api.declare import Namespace, query
from vdsm_bridge.api.legacy import LegacyForm, LegacyMethod
from vdsm_bridge.call.context import Context
from vdsm_core.errors import VdsmError
from vdsm_core.hooks.specs.host import (
    vdsm_after_get_all_vm_stats,
    vdsm_after_get_caps,
    vdsm_after_get_stats,
    vdsm_before_get_all_vm_stats,
    vdsm_before_get_caps,
    vdsm_before_get_stats,
)
from vdsm_core.hypervisor import Hypervisor, NoSuchDomain
from vdsm_core.types import UUID
from vdsm_virt.api.definition import VmDefinition
from vdsm_virt.api.stats import VmStats
from vdsm_virt.hook_points.answers import AnswerHooks
from vdsm_virt.host import Capabilities, HardwareInformation, HostFacts, HostSampler, HostStats, Machines
from vdsm_virt.imports.conversions import Conversions
from vdsm_virt.machine.describe import definition, short
from vdsm_virt.machine.inventory import Inventory
from vdsm_virt.machine.machine import Machine
from vdsm_virt.machine.mirror import Mirror
from vdsm_virt.stats.statistics import Statistics

Ids = Annotated[list[UUID], Meta(max_length=100_000)]
_EVERY: Final[list[str]] = []


class Host(Namespace, name="Host", plural="host"):
    """This host: its hardware, capabilities, load and machines."""

    def __init__(
        self,
        *,
        facts: HostFacts,
        sampler: HostSampler,
        hypervisor: Hypervisor,
        inventory: Inventory,
        mirror: Mirror,
        statistics: Statistics,
        conversions: Conversions,
        answers: AnswerHooks,
        guest_overhead: int,
    ) -> None:
        self._answers = answers
        self._facts = facts
        self._sampler = sampler
        self._hypervisor = hypervisor
        self._inventory = inventory
        self._mirror = mirror
        self._statistics = statistics
        self._conversions = conversions
        self._guest_overhead = guest_overhead

    @query(since="1.0", legacy=LegacyMethod("getVdsCapabilities", reply="info"))
    def get_capabilities(self, context: Context) -> Capabilities:
        """Return the hardware, software, network and capabilities of the host."""
        self._answers.check(vdsm_before_get_caps)
        return self._answers.one(vdsm_after_get_caps, self._facts.capabilities(context.address or None))

    @query(since="1.0", legacy=LegacyMethod("getVdsHardwareInfo", reply="info"))
    def get_hardware_info(self) -> HardwareInformation:
        """Return manufacturer, product, serial number and UUID of the host, as its firmware reports them."""
        return self._facts.hardware()

    @query(since="1.0", legacy=LegacyMethod("getVdsStats", reply="info"))
    def get_stats(self) -> HostStats:
        """Return the load of the host: processors, memory, network, disk space, machines."""
        self._answers.check(vdsm_before_get_stats)
        stats = self._sampler.stats(self._counts())
        stats = msgspec.structs.replace(stats, v2v_jobs=self._conversions.jobs())
        return self._answers.one(vdsm_after_get_stats, stats)

    @query(
        since="1.0",
        name="getVMList",
        lists="VM",
        legacy=LegacyMethod("list", args=("fullStatus", "vmList"), reply="vmList"),
    )
    def get_vm_list(
        self,
        full_status: bool = False,
        vm_list: Ids = _EVERY,
        only_uuid: bool = False,
    ) -> list[VmDefinition | UUID]:
        """Return the machines in short form: id, name and status.

        :param full_status: return the full form, as `Host.getVMFullList` does
        :param vm_list: ids of the machines to return; unknown ids are ignored. Empty means all
        :param only_uuid: return the ids only
        :raises Recovering: the machines of this host have not been read yet
        """
        machines = self._chosen(vm_list)
        if only_uuid:
            return [machine.id for machine in machines]
        if full_status:
            return list(self._full(machines))
        return [short(machine) for machine in machines]

    @query(since="1.0", name="getVMFullList", lists="VM", legacy=LegacyForm(member="vmList"))
    def get_vm_full_list(self, vm_list: Ids = _EVERY) -> list[VmDefinition]:
        """Return the machines with all their properties and devices.

        :param vm_list: ids of the machines to return; unknown ids are ignored. Empty means all
        :raises Recovering: the machines of this host have not been read yet
        """
        return list(self._full(self._chosen(vm_list)))

    @query(since="1.0", lists="VM", legacy=LegacyMethod("getAllVmStats", reply="statsList"))
    def get_all_vm_stats(self) -> list[VmStats]:
        """Return the statistics of every machine.

        :returns: values of the newest sample; for a machine that does not respond, of its last sample
        :raises Recovering: the machines of this host have not been read yet
        """
        self._answers.check(vdsm_before_get_all_vm_stats)
        return self._answers.several(vdsm_after_get_all_vm_stats, VmStats, self._statistics.all())

    @query(since="1.0", lists="VM", legacy=LegacyForm(member="domxmls"))
    def dumpxmls(self, vm_list: Ids = _EVERY) -> dict[UUID, str]:
        """Return the libvirt domain XML of machines, by id.

        :param vm_list: ids of the machines to return; unknown ids are ignored. Empty means all
        :raises Recovering: the machines of this host have not been read yet
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
                # One machine that libvirt does not report must not hide the others.
                yield short(machine)

    def _counts(self) -> Machines:
        """Return number and memory of the machines, from which the free memory is calculated."""
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
