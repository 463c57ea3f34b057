"""What is done to a machine that exists."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from vdsm_core.errors import HypervisorError, InvalidArgument, NotResponding, VdsmError
from vdsm_core.hooks.manager import Hooks
from vdsm_core.hooks.specs.vm import (
    vdsm_after_vm_cont,
    vdsm_after_vm_destroy,
    vdsm_after_vm_pause,
    vdsm_before_vm_cont,
    vdsm_before_vm_destroy,
    vdsm_before_vm_pause,
)
from vdsm_core.hypervisor import Hypervisor, NoSuchDomain, OperationInvalid, ShutdownMode
from vdsm_core.work.engine import Engine
from vdsm_core.work.references import exclusive
from vdsm_core.work.scheduler import Jobs
from vdsm_virt.errors import (
    BalloonError,
    ForeignDefinition,
    MigrationInProgress,
    NoSuchVM,
    ResetFailed,
    SetNumberOfCpusFailed,
    VMDestroyFailed,
    VMIsDown,
)
from vdsm_virt.machine.inventory import Inventory
from vdsm_virt.machine.machine import DESTROYED_ON_STARTUP, Machine
from vdsm_virt.machine.mirror import Mirror
from vdsm_virt.machine.references import Machine as MachineReference
from vdsm_virt.machine.watcher import Watcher

log = logging.getLogger(__name__)

#: Seconds for libvirt's event of what a call has just done; after that the state is read instead.
_EVENT: Final = 2.0
#: Seconds for the calls that a dying QEMU held to come back, and the pause between two looks.
_RELEASE: Final = 5.0
_LOOK: Final = 0.05


class Control:
    """Carries out the verbs. A verb returns when the inventory shows what it did."""

    def __init__(
        self,
        *,
        hypervisor: Hypervisor,
        inventory: Inventory,
        watcher: Watcher,
        mirror: Mirror,
        jobs: Jobs,
        work: Engine,
        hooks: Hooks,
        shutdown_timeout: float,
    ) -> None:
        self._hypervisor = hypervisor
        self._inventory = inventory
        self._watcher = watcher
        self._mirror = mirror
        self._jobs = jobs
        self._work = work
        self._hooks = hooks
        self._shutdown_timeout = shutdown_timeout

    def pause(self, vm_id: str) -> None:
        """Stop the processors."""
        machine = self._running(vm_id, "pause")
        if machine.status == "Paused":
            return
        self._hooks.run(vdsm_before_vm_pause, vm_id)
        with _as_machine(vm_id, "pause"):
            self._hypervisor.domains.suspend(vm_id)
        self._reach(vm_id, lambda now: now is None or now.status in ("Paused", "Down"))
        self._hooks.run(vdsm_after_vm_pause, vm_id)

    def cont(self, vm_id: str) -> None:
        """Let the processors run."""
        machine = self._running(vm_id, "continue")
        if machine.status != "Paused":
            return
        self._hooks.run(vdsm_before_vm_cont, vm_id)
        with _as_machine(vm_id, "continue"):
            self._hypervisor.domains.resume(vm_id)
        self._reach(vm_id, lambda now: now is None or now.status != "Paused")
        self._hooks.run(vdsm_after_vm_cont, vm_id)

    def reset(self, vm_id: str) -> None:
        """Press the reset button."""
        self._running(vm_id, "reset")
        try:
            with _as_machine(vm_id, "reset"):
                self._hypervisor.domains.reset(vm_id)
        except HypervisorError as error:
            raise ResetFailed(vm_id=vm_id, reason=_reason(error)) from error

    def set_vcpus(self, vm_id: str, count: int) -> Machine:
        """Switch processors on or off."""
        machine = self._mirror.fresh(self._running(vm_id, "change"))
        most = machine.details.definition.max_v_cpus if machine.details is not None else UNSET
        if not isinstance(most, UnsetType) and count > most:
            raise InvalidArgument(argument="numberOfCpus", reason=f"the machine has room for {most}")
        try:
            with _as_machine(vm_id, "change"):
                self._hypervisor.devices.set_vcpus(vm_id, count)
        except HypervisorError as error:
            raise SetNumberOfCpusFailed(vm_id=vm_id, reason=_reason(error)) from error
        return self._mirror.refresh(vm_id) or machine

    def set_balloon(self, vm_id: str, kib: int) -> None:
        """Let the guest have so much memory."""
        machine = self._mirror.fresh(self._running(vm_id, "change"))
        most = machine.details.memory * 1024 if machine.details is not None else kib
        if kib > most:
            raise InvalidArgument(argument="target", reason=f"the machine has {most} KiB of memory")
        try:
            with _as_machine(vm_id, "change"):
                self._hypervisor.devices.set_memory(vm_id, kib)
        except HypervisorError as error:
            raise BalloonError(vm_id=vm_id, reason=_reason(error)) from error

    def shutdown(
        self, vm_id: str, *, delay: int, message: str, reboot: bool, timeout: int, force: bool
    ) -> None:
        """Ask the guest to end or to reboot, now or later."""
        self._running(vm_id, "shut down")
        log.info(
            "Machine %s shall %s%s",
            vm_id,
            "reboot" if reboot else "shut down",
            f": {message}" * bool(message),
        )

        def ask() -> None:
            self._ask(vm_id, reboot=reboot, timeout=timeout or self._shutdown_timeout, force=force)

        if delay:
            self._later(vm_id, "VM.shutdown (delayed)", delay, ask)
        else:
            ask()

    def destroy(self, vm_id: str, graceful_attempts: int) -> None:
        """End a machine and forget it."""
        machine = self._inventory.get(vm_id)
        if not machine.active and not machine.launching:
            self._remove(machine)
            return
        self._hooks.run(vdsm_before_vm_destroy, vm_id)
        self._inventory.change(vm_id, asked="destroy")
        try:
            self._kill(vm_id, graceful_attempts)
            if machine.launching:
                # The launch may have started it just behind that. Only when it is over, nothing does any
                # more; forgotten before, the machine would come back as one that is not known.
                self._inventory.wait(vm_id, _is_launched, _EVENT)
                self._kill(vm_id, 0)
        except HypervisorError as error:
            self._inventory.change(vm_id, asked="")
            raise VMDestroyFailed(vm_id=vm_id, reason=_reason(error)) from error
        self._reach(vm_id, lambda now: now is None or not now.active)
        self._inventory.update(vm_id, lambda now: _ended(now, launching=machine.launching))
        if self._is_ours(vm_id):
            self._undefine(vm_id)
            self._inventory.forget(vm_id)
        self._hooks.run(vdsm_after_vm_destroy, vm_id)

    def _running(self, vm_id: str, action: str) -> Machine:
        machine = self._inventory.get(vm_id)
        if machine.status == "Down":
            raise VMIsDown(vm_id=vm_id, action=action)
        if machine.outgoing or machine.incoming:
            raise MigrationInProgress(vm_id=vm_id, action=action)
        return machine

    def _reach(self, vm_id: str, reached: Callable[[Machine | None], bool]) -> None:
        if self._inventory.wait(vm_id, reached, _EVENT):
            return
        log.info("libvirt has not told what became of machine %s", vm_id)
        with contextlib.suppress(NoSuchDomain):
            self._watcher.settle(vm_id)

    def _ask(self, vm_id: str, *, reboot: bool, timeout: float, force: bool) -> None:
        before = self._running(vm_id, "shut down")
        # Before the call: the guest may be gone before it returns.
        self._inventory.update(vm_id, lambda machine: _asked(machine, reboot=reboot))
        try:
            with _as_machine(vm_id, "shut down"):
                self._ask_guest(vm_id, reboot=reboot)
        except VdsmError:
            self._inventory.update(vm_id, lambda machine: _not_asked(machine, before))
            raise
        self._later(
            vm_id, "VM.shutdown (overdue)", timeout, lambda: self._overdue(vm_id, reboot=reboot, force=force)
        )

    def _later(self, vm_id: str, label: str, seconds: float, work: Callable[[], None]) -> None:
        """Do something to a machine after some time, once no call on it runs; a later one replaces it."""

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

    def _ask_guest(self, vm_id: str, *, reboot: bool) -> None:
        call = self._hypervisor.domains.reboot if reboot else self._hypervisor.domains.shutdown
        ways: tuple[ShutdownMode, ...] = ("agent", "acpi")
        for mode in ways:
            try:
                call(vm_id, mode=mode)
            except OperationInvalid:
                raise
            except HypervisorError as error:
                log.debug("Machine %s cannot be asked by way of %s: %s", vm_id, mode, error)
            else:
                return
        # For a driver that knows no ways; and the error of this one is what the caller sees.
        call(vm_id, mode="default")

    def _overdue(self, vm_id: str, *, reboot: bool, force: bool) -> None:
        machine = self._inventory.find(vm_id)
        if machine is None or machine.asked not in ("shutdown", "reboot") or not machine.active:
            return
        if not force:
            self._inventory.update(vm_id, _back_up)
        elif reboot:
            self._hypervisor.domains.reset(vm_id)
            self._inventory.update(vm_id, _back_up)
        else:
            self._hypervisor.domains.destroy(vm_id)

    def _kill(self, vm_id: str, graceful_attempts: int) -> None:
        for _attempt in range(graceful_attempts):
            try:
                self._hypervisor.domains.destroy(vm_id, graceful=True)
            except (NoSuchDomain, OperationInvalid):
                return
            except HypervisorError as error:
                log.info("Machine %s does not end in order: %s", vm_id, error)
            else:
                return
        with contextlib.suppress(NoSuchDomain, OperationInvalid):
            self._hypervisor.domains.destroy(vm_id)

    def _remove(self, machine: Machine) -> None:
        if not machine.missing:
            if not self._is_ours(machine.id):
                raise ForeignDefinition(vm_id=machine.id)
            self._hooks.run(vdsm_before_vm_destroy, machine.id)
            self._undefine(machine.id)
        self._inventory.forget(machine.id)
        self._hooks.run(vdsm_after_vm_destroy, machine.id)

    def _is_ours(self, vm_id: str) -> bool:
        machine = self._inventory.find(vm_id)
        if machine is not None and machine.ours is None:
            machine = self._mirror.refresh(vm_id)
        return machine is not None and bool(machine.ours)

    def _undefine(self, vm_id: str) -> None:
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


def _reason(error: HypervisorError) -> str:
    return str(error.facts.get("reason") or error)


@contextlib.contextmanager
def _as_machine(vm_id: str, action: str) -> Iterator[None]:
    """Say of the machine what the hypervisor says of the domain: it ended since the last look."""
    try:
        yield
    except NoSuchDomain:
        raise NoSuchVM(vm_id=vm_id) from None
    except OperationInvalid as error:
        raise VMIsDown(vm_id=vm_id, action=action) from error


def _asked(machine: Machine, *, reboot: bool) -> Machine:
    status = machine.status
    if status == "Up":
        status = "RebootInProgress" if reboot else "Powering down"
    return msgspec.structs.replace(machine, status=status, asked="reboot" if reboot else "shutdown")


def _not_asked(machine: Machine, before: Machine) -> Machine:
    status = machine.status
    if status in ("Powering down", "RebootInProgress"):
        status = before.status
    return msgspec.structs.replace(machine, status=status, asked=before.asked)


def _back_up(machine: Machine) -> Machine:
    status = "Up" if machine.status in ("Powering down", "RebootInProgress") else machine.status
    return msgspec.structs.replace(machine, status=status, asked="")


def _is_launched(machine: Machine | None) -> bool:
    return machine is None or not machine.launching


def _ended(machine: Machine, *, launching: bool) -> Machine:
    """A machine that was destroyed before it ran: no event of libvirt's told so."""
    if machine.status == "Down":
        return machine
    return msgspec.structs.replace(
        machine,
        status="Down",
        pause_code="",
        active=False,
        exit=DESTROYED_ON_STARTUP if launching else machine.exit,
    )
