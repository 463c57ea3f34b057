"""Verbs on a machine that exists."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Mapping
from typing import Final

from msgspec import UNSET, UnsetType

from vdsm_core.errors import HypervisorDeadline, HypervisorError, InvalidArgument, NotResponding, VdsmError
from vdsm_core.hooks.specs.devices import vdsm_after_device_destroy, vdsm_before_device_destroy
from vdsm_core.hooks.specs.vm import (
    vdsm_after_set_num_of_cpus,
    vdsm_after_vm_cont,
    vdsm_after_vm_destroy,
    vdsm_after_vm_pause,
    vdsm_after_vm_set_ticket,
    vdsm_before_set_num_of_cpus,
    vdsm_before_vm_cont,
    vdsm_before_vm_destroy,
    vdsm_before_vm_pause,
    vdsm_before_vm_set_ticket,
)
from vdsm_core.hypervisor import NoSuchDomain, OperationInvalid
from vdsm_core.secret import Secret
from vdsm_virt.domain.elements import parse, to_text
from vdsm_virt.domain.write import tickets
from vdsm_virt.errors import (
    ForeignDefinition,
    MigrationInProgress,
    ResetFailed,
    SetNumberOfCpusFailed,
    SetTicketFailed,
    VMDestroyFailed,
    VMIsDown,
    VMNotDown,
    reason_of,
)
from vdsm_virt.machine import transitions
from vdsm_virt.machine.late_ends import LateEnds, VMNotEnded
from vdsm_virt.machine.machine import Machine
from vdsm_virt.machine.machine_hooks import Subject
from vdsm_virt.machine.machines import Machines
from vdsm_virt.machine.power import Power, ShutdownRequest
from vdsm_virt.machine.refusals import as_machine

log = logging.getLogger(__name__)

#: Seconds for libvirt's event of what a call has just done; after that the state is read instead.
_EVENT: Final = 2.0
#: Seconds for calls that a dying QEMU holds to return, and the pause between two attempts.
_RELEASE: Final = 5.0
#: Seconds for which an end counts as that of a call that libvirt has not answered.
_LATE: Final = 120.0
_LOOK: Final = 0.05
#: libvirt's number, VIR_ERR_SYSTEM_ERROR, of its error about a process that SIGKILL has not ended.
_NOT_KILLED: Final = 38


class Control:
    """Carries out the verbs. A verb returns when the inventory shows what it did.

    :param dropped: is called with the id of a machine that was expected, and is not any more
    """

    def __init__(
        self,
        machines: Machines,
        power: Power,
        release: Callable[[str], None],
        *,
        dropped: Callable[[str], None] = lambda _vm_id: None,
        shutdown_timeout: float,
    ) -> None:
        self._hypervisor = machines.hypervisor
        self._inventory = machines.inventory
        self._watcher = machines.watcher
        self._mirror = machines.mirror
        self._power = power
        self._dropped = dropped
        self._release = release
        self._late_ends = LateEnds(machines, self._remove)
        self._hooks = machines.machine_hooks
        self._shutdown_timeout = shutdown_timeout

    def pause(self, vm_id: str) -> None:
        """Stop the processors."""
        machine = self._running(vm_id, "pause")
        if machine.status == "Paused":
            return
        with as_machine(self._hypervisor, vm_id, "pause"):
            self._hooks.check(vdsm_before_vm_pause, vm_id)
        with self._hooks.calling_after(vdsm_after_vm_pause, vm_id):
            with as_machine(self._hypervisor, vm_id, "pause"):
                self._hypervisor.domains.suspend(vm_id)
            self._reach(vm_id, lambda now: now is None or now.status in ("Paused", "Down"))

    def cont(self, vm_id: str) -> None:
        """Resume the processors."""
        machine = self._running(vm_id, "continue")
        if machine.status != "Paused":
            return
        with as_machine(self._hypervisor, vm_id, "continue"):
            self._hooks.check(vdsm_before_vm_cont, vm_id)
        with self._hooks.calling_after(vdsm_after_vm_cont, vm_id):
            with as_machine(self._hypervisor, vm_id, "continue"):
                self._wake(vm_id)
            self._reach(vm_id, lambda now: now is None or now.status != "Paused")

    def reset(self, vm_id: str) -> None:
        """Reset a machine."""
        self._running(vm_id, "reset")
        try:
            with as_machine(self._hypervisor, vm_id, "reset"):
                self._hypervisor.domains.reset(vm_id)
        except HypervisorError as error:
            raise ResetFailed(vm_id=vm_id, reason=reason_of(error)) from error

    def set_vcpus(self, vm_id: str, count: int) -> Machine:
        """Plug virtual processors in or out."""
        machine = self._mirror.fresh(self._running(vm_id, "change"))
        maximum = machine.details.definition.max_v_cpus if machine.details is not None else UNSET
        if not isinstance(maximum, UnsetType) and count > maximum:
            raise InvalidArgument(argument="numberOfCpus", reason=f"the machine has room for {maximum}")
        self._hooks.run(vdsm_before_set_num_of_cpus, vm_id)
        try:
            with as_machine(self._hypervisor, vm_id, "change"):
                self._hypervisor.devices.set_vcpus(vm_id, count)
        except HypervisorError as error:
            raise SetNumberOfCpusFailed(vm_id=vm_id, reason=reason_of(error)) from error
        self._hooks.run(vdsm_after_set_num_of_cpus, vm_id)
        return self._mirror.refresh(vm_id) or machine

    def set_ticket(
        self,
        vm_id: str,
        password: Secret,
        ttl: int,
        existing: str,
        params: Mapping[str, str],
        *,
        kind: str = "",
    ) -> None:
        """Set the password of the first display.

        :param params: what the hooks get beside the machine
        :param kind: "vnc" or "spice": of the first display of this kind
        """
        self._running(vm_id, "change")
        self._hooks.notify_with(vdsm_before_vm_set_ticket, vm_id, dict(params))
        try:
            with as_machine(self._hypervisor, vm_id, "change"):
                display = parse(self._hypervisor.definitions.xml(vm_id)).find(
                    f"devices/graphics[@type='{kind}']" if kind else "devices/graphics"
                )
                if display is None:
                    raise SetTicketFailed(vm_id=vm_id, reason=f"it has no display {kind}".rstrip())
                tickets.fill(display, password, ttl, existing)
                self._hypervisor.devices.update(vm_id, to_text(display))
        except (HypervisorError, ValueError) as error:
            raise SetTicketFailed(vm_id=vm_id, reason=reason_of(error)) from error
        self._hooks.notify_with(vdsm_after_vm_set_ticket, vm_id, dict(params))

    def shutdown(
        self, vm_id: str, *, delay: int, message: str, reboot: bool, timeout: int, force: bool
    ) -> None:
        """Ask the guest to end or to reboot, now or later."""
        request = ShutdownRequest(
            reboot=reboot, timeout=timeout or self._shutdown_timeout, force=force, message=message
        )
        self._power.request(vm_id, request, delay)

    def set_destroy_on_reboot(self, vm_id: str) -> None:
        """Have the machine destroyed when its guest reboots."""
        self._running(vm_id, "change")
        self._inventory.change(vm_id, destroy_on_reboot=True)

    def destroy(self, vm_id: str, graceful_attempts: int) -> None:
        """End a machine and forget it."""
        machine = self._inventory.get(vm_id)
        if not machine.active and not machine.launching:
            self._remove(machine)
            return
        known = self._before_destroy(vm_id)
        self._inventory.change(vm_id, asked="destroy", asked_until=0.0)
        try:
            self._kill(vm_id, graceful_attempts)
            if machine.launching:
                # The launch may have started it just behind that. Only when it is over, nothing does any
                # more; forgotten before, the machine would appear again as an unknown one.
                self._inventory.wait(vm_id, _is_launched, _EVENT)
                self._kill(vm_id, 0)
        except (HypervisorDeadline, NotResponding) as error:
            self._late_ends.expect(vm_id)
            raise VMNotEnded(vm_id=vm_id, reason=reason_of(error)) from error
        except HypervisorError as error:
            if error.facts.get("libvirt_code") == _NOT_KILLED:
                self._late_ends.expect(vm_id)
                raise VMNotEnded(vm_id=vm_id, reason=reason_of(error)) from error
            self._inventory.change(vm_id, asked="")
            raise VMDestroyFailed(vm_id=vm_id, reason=reason_of(error)) from error
        except VdsmError:
            # What was not answered may still be carried out, and ends the machine for this request then.
            self._inventory.update(vm_id, lambda now: transitions.may_end_late(now, _LATE))
            raise
        self._reach(vm_id, lambda now: now is None or not now.active)
        self._inventory.update(vm_id, lambda now: transitions.destroyed(now, launching=machine.launching))
        if self._is_ours(vm_id):
            self._undefine(vm_id)
            self._inventory.forget(vm_id)
        self._hooks.run_about(vdsm_after_vm_destroy, known)
        self._hooks.run_for_devices(vdsm_after_device_destroy, known)

    def forget(self, vm_id: str) -> None:
        """Remove the definition of a machine that is down, and forget it."""
        machine = self._inventory.get(vm_id)
        if machine.active or machine.launching or machine.status != "Down":
            raise VMNotDown(vm_id=vm_id, action="forget", status=machine.status)
        self._remove(machine)

    def _running(self, vm_id: str, action: str) -> Machine:
        machine = self._inventory.get(vm_id)
        if machine.status == "Down":
            raise VMIsDown(vm_id=vm_id, action=action)
        if machine.outgoing or machine.incoming:
            raise MigrationInProgress(vm_id=vm_id, action=action)
        return machine

    def _wake(self, vm_id: str) -> None:
        """Resume the processors, also those of a guest that has suspended itself to memory."""
        try:
            self._hypervisor.domains.resume(vm_id)
        except OperationInvalid:
            if self._hypervisor.domains.get(vm_id).state != "pmsuspended":
                raise
            self._hypervisor.domains.wake_up(vm_id)

    def _reach(self, vm_id: str, reached: Callable[[Machine | None], bool]) -> None:
        if self._inventory.wait(vm_id, reached, _EVENT):
            return
        log.info("Machine %s is read again: libvirt sent no event for it", vm_id)
        with contextlib.suppress(NoSuchDomain):
            self._watcher.settle(vm_id)

    def _kill(self, vm_id: str, graceful_attempts: int) -> None:
        for _attempt in range(graceful_attempts):
            try:
                self._hypervisor.domains.destroy(vm_id, graceful=True)
            except (NoSuchDomain, OperationInvalid):
                return
            except VdsmError as error:
                # Whatever the reason, a frozen QEMU above all: the next attempt is a harder one.
                log.info("Cannot end machine %s in order: %s", vm_id, error)
            else:
                return
        with contextlib.suppress(NoSuchDomain, OperationInvalid):
            self._hypervisor.domains.destroy(vm_id)

    def _remove(self, machine: Machine) -> None:
        if not machine.missing and not self._is_ours(machine.id):
            raise ForeignDefinition(vm_id=machine.id)
        known = self._before_destroy(machine.id)
        if not machine.missing:
            self._undefine(machine.id)
        self._inventory.forget(machine.id)
        if machine.incoming:
            self._dropped(machine.id)
        self._hooks.run_about(vdsm_after_vm_destroy, known)
        self._hooks.run_for_devices(vdsm_after_device_destroy, known)

    def _before_destroy(self, vm_id: str) -> Subject:
        """Call the hooks before a machine is destroyed, and return what those after it get.

        :raises VdsmError: a hook of a device refuses
        """
        known = self._hooks.last_known(
            vm_id, vdsm_before_device_destroy, vdsm_after_vm_destroy, vdsm_after_device_destroy
        )
        self._hooks.run_for_devices(vdsm_before_device_destroy, known)
        self._hooks.run(vdsm_before_vm_destroy, vm_id)
        return known

    def _is_ours(self, vm_id: str) -> bool:
        machine = self._inventory.find(vm_id)
        if machine is not None and machine.ours is None:
            machine = self._mirror.refresh(vm_id)
        return machine is not None and bool(machine.ours)

    def _undefine(self, vm_id: str) -> None:
        # Before: the definition has the notes by which a later daemon would release them.
        self._release(vm_id)
        deadline = time.monotonic() + _RELEASE
        while True:
            try:
                self._hypervisor.definitions.undefine(vm_id)
            except NoSuchDomain:
                return
            except NotResponding:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_LOOK)
            else:
                return


def _is_launched(machine: Machine | None) -> bool:
    return machine is None or not machine.launching
