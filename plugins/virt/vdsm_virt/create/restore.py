"""The launch of a machine from a saved state, in place of a boot."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from xml.etree.ElementTree import Element

from vdsm_core.errors import OperationFailed, VdsmError
from vdsm_core.hooks.specs.vm import vdsm_after_vm_dehibernate, vdsm_before_vm_dehibernate
from vdsm_virt.create.launch_plan import LaunchPlan
from vdsm_virt.domain.elements import parse, to_text
from vdsm_virt.machine import transitions
from vdsm_virt.machine.machines import Machines
from vdsm_virt.saved.machine import SavedMachine
from vdsm_virt.saved.volumes import SavedVolumes

log = logging.getLogger(__name__)

#: Seconds for a guest agent to set the clock.
_PATIENCE = 5.0


class Restorer:
    """Restores saved machines.

    :param timeout: seconds that libvirt may take to restore one
    """

    def __init__(self, machines: Machines, timeout: float) -> None:
        self._hypervisor = machines.hypervisor
        self._inventory = machines.inventory
        self._runs = machines.runs
        self._hooks = machines.hooks
        self._volumes = SavedVolumes(machines.hooks)
        self._timeout = timeout

    def restore(self, plan: LaunchPlan, saved: SavedMachine, is_doomed: Callable[[str], bool]) -> None:
        """Restore a defined machine, and let its guest go on unless it is to be paused.

        :param is_doomed: whether the machine was destroyed meanwhile
        :raises VdsmError: it is not restored
        """
        domain, custom = plan.domain, dict(plan.custom)
        with self._volumes.prepared(plan.id, saved.memory) as path:
            self._hooks.run(vdsm_before_vm_dehibernate, plan.id, domain, custom, saved.from_snapshot)
            if is_doomed(plan.id):
                return
            self._inventory.update(plan.id, transitions.restoring)
            self._runs.begin(plan.id)
            domain = self._with_its_processor(domain, path)
            # In place of the document beside the memory, which nothing has checked.
            self._hypervisor.saved_states.restore(plan.id, path, to_text(domain), timeout=self._timeout)
        if plan.paused:
            return
        try:
            self._hypervisor.domains.resume(plan.id)
        except VdsmError:
            self._end(plan.id)
            raise
        self._set_time(plan.id)

    def restored(self, plan: LaunchPlan, saved: SavedMachine) -> None:
        """Report a machine that is restored."""
        self._hooks.run(
            vdsm_after_vm_dehibernate, plan.id, plan.domain, dict(plan.custom), saved.from_snapshot
        )

    def _with_its_processor(self, domain: Element, path: str) -> Element:
        """Return a document with the processor that the saved guest runs on.

        libvirt writes what it made of a processor into the documents of running machines, which VDSM kept,
        and compares them with what it was given.
        """
        try:
            saved = parse(self._hypervisor.saved_states.document(path)).find("cpu")
        except ValueError as error:
            raise OperationFailed(reason=f"the document of the saved state cannot be read: {error}") from None
        own = domain.find("cpu")
        if saved is None or own is None:
            return domain
        changed = copy.deepcopy(domain)
        changed[list(domain).index(own)] = saved
        return changed

    def _end(self, vm_id: str) -> None:
        try:
            self._hypervisor.domains.destroy(vm_id)
        except VdsmError as error:
            log.info("Machine %s, which could not be resumed, still is there: %s", vm_id, error)

    def _set_time(self, vm_id: str) -> None:
        """Let an agent set the guest's clock, which stood still."""
        try:
            self._hypervisor.saved_states.set_time(vm_id, timeout=_PATIENCE)
        except VdsmError as error:
            log.info("The clock of machine %s is not set: %s", vm_id, error)
