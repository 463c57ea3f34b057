"""The namespace `VM` and its verbs that read a machine. The other modules add groups of verbs to it."""

from __future__ import annotations

from vdsm_bridge import Marks
from vdsm_bridge.api.declare import Namespace, query
from vdsm_bridge.api.legacy import LegacyForm, LegacyMethod
from vdsm_core.hooks.specs.host import vdsm_after_get_vm_stats, vdsm_before_get_vm_stats
from vdsm_core.types import UUID
from vdsm_virt.api.definition import VmDefinition
from vdsm_virt.api.scalars import given
from vdsm_virt.api.stats import VmStats
from vdsm_virt.hook_points.answers import AnswerHooks
from vdsm_virt.machine.describe import definition
from vdsm_virt.machine.inventory import Inventory
from vdsm_virt.machine.mirror import Mirror
from vdsm_virt.machine.references import Machine
from vdsm_virt.stats.statistics import Statistics


class VM(Namespace, key="vmID", plural="vms", listed_by="Host.getVMFullList", reference=Machine):
    """A virtual machine on this host."""

    def __init__(
        self, inventory: Inventory, mirror: Mirror, statistics: Statistics, answers: AnswerHooks
    ) -> None:
        self._answers = answers
        self._inventory = inventory
        self._mirror = mirror
        self._statistics = statistics

    def marks_of(self, object_id: str) -> Marks | None:
        """Return the tags of a machine, the words of its custom property `tags`; and which caller has
        announced it, if it has not arrived."""
        machine = self._inventory.find(object_id)
        if machine is None:
            return None
        custom = given(machine.details.definition.custom, {}) if machine.details is not None else {}
        tags = frozenset(custom.get("tags", "").replace(",", " ").split())
        return Marks(tags, creator=machine.reserved_by)

    @query(since="1.0", part="get", legacy=LegacyForm(member="vmList"))
    def get_info(self, vm_id: UUID) -> VmDefinition:
        """Return a machine with all its properties and devices.

        :raises NoSuchVM: no machine of this id is on the host
        """
        return definition(self._mirror.fresh(self._inventory.get(vm_id)))

    @query(since="1.0", legacy=LegacyMethod("getVmStats", reply="statsList", shape="array"))
    def get_stats(self, vm_id: UUID) -> list[VmStats]:
        """Return the statistics of a machine, as a list of one.

        :raises NoSuchVM: no machine of this id is on the host
        """
        machine = self._inventory.get(vm_id)
        self._answers.check(vdsm_before_get_vm_stats, machine.id)
        stats = [self._statistics.one(machine)]
        return self._answers.several(vdsm_after_get_vm_stats, VmStats, stats, machine.id)
