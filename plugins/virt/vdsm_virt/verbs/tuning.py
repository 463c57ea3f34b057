"""Verbs of `VM` that change the resources of a running machine."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from vdsm_bridge.api.declare import Namespace, action
from vdsm_bridge.api.legacy import LegacyMethod
from vdsm_core.types import UUID
from vdsm_virt.api.definition import VmDefinition
from vdsm_virt.api.scalars import MAX_CPUS
from vdsm_virt.machine.control import Control
from vdsm_virt.machine.describe import definition
from vdsm_virt.verbs.vm import VM


class Tuning(Namespace, group_of=VM):
    """Change the processors of a running machine."""

    def __init__(self, control: Control) -> None:
        self._control = control

    @action(since="1.0", legacy=LegacyMethod("setNumberOfCpus", reply="vmList"))
    def set_number_of_cpus(
        self, vm_id: UUID, number_of_cpus: Annotated[int, Meta(ge=1, le=MAX_CPUS)]
    ) -> VmDefinition:
        """Set the number of online virtual processors of a running machine.

        :param number_of_cpus: number of online processors, at most the machine's `maxVCpus`
        :raises NoSuchVM: no machine of this id is on the host
        :raises VMIsDown: it is not running
        :raises SetNumberOfCpusFailed: the hypervisor or the guest refuses
        """
        return definition(self._control.set_vcpus(vm_id.lower(), number_of_cpus))
