"""Verbs of `VM` that create, stop and remove a machine."""

from __future__ import annotations

import time
from typing import Annotated, Final

from msgspec import Meta

from vdsm_bridge.api.declare import Namespace, action
from vdsm_bridge.api.legacy import LegacyForm, LegacyMethod
from vdsm_bridge.call.context import Context
from vdsm_core.errors import OperationFailed
from vdsm_core.types import UUID, UUID_PATTERN
from vdsm_core.work.engine import Engine
from vdsm_core.work.references import exclusive
from vdsm_virt.api.definition import VmDefinition
from vdsm_virt.api.params import VmParams
from vdsm_virt.create.launch import Launcher
from vdsm_virt.create.launch_plan import Planner
from vdsm_virt.machine.control import Control
from vdsm_virt.machine.describe import definition
from vdsm_virt.machine.references import Machine
from vdsm_virt.policy.host_access import HostAccess
from vdsm_virt.saved.machine import unfold
from vdsm_virt.saved.volumes import SavedVolumes
from vdsm_virt.verbs.vm import VM

OptionalUUID = Annotated[str, Meta(pattern=rf"{UUID_PATTERN}|^$(?!\n)", description="A UUID, or empty.")]

#: Members of VDSM's replies that have no content any more; its clients may read them.
_OUTPUT: Final = {"output": [""]}
#: VDSM's codes for definitions that it refused: a member is missing or wrong, or a device is not known.
_CREATION: Final = {"vmParams": 11, "vmParams.display": 9, "vmParams.devices[].device": 9}
_NO_MACHINES: Final = LegacyForm(constant={"vmList": {}})


class Lifecycle(Namespace, group_of=VM):
    """Create, pause, shut down and destroy a machine."""

    def __init__(
        self,
        *,
        launcher: Launcher,
        control: Control,
        planner: Planner,
        work: Engine,
        patience: float,
        host_access: HostAccess,
        saved: SavedVolumes,
    ) -> None:
        self._launcher = launcher
        self._control = control
        self._planner = planner
        self._work = work
        self._patience = patience
        self._host_access = host_access
        self._saved = saved

    @action(
        since="1.0",
        part="create",
        legacy=(
            LegacyMethod("create", args=("vmParams",), id_inside="vmId", reply="vmList", codes=_CREATION),
            LegacyForm(order=("vmID", "vmParams")),
        ),
    )
    def create(self, vm_params: VmParams, context: Context, vm_id: OptionalUUID = "") -> VmDefinition:
        """Create a machine and start it.

        Returns at once; the machine is started in the background. Its status and events report the result.
        With `hiberVolHandle`, or `memoryDumpVolume` and `memoryConfVolume`, it goes on as it was saved.

        :param vm_params: parameters of the machine; unknown members are ignored, except VDSM's harmless ones
        :param vm_id: its id, if `vmParams.vmId` is absent; without either, an id is generated
        :returns: the machine, in status "WaitForLaunch"
        :raises VMExists: its id or its name is in use on this host
        :raises CannotCreateVM: libvirt refuses it
        :raises NeedsAdmin: it gives the machine files or devices of the host, and the caller is no `admin`
        """
        vm_params, saved = unfold(self._saved, vm_params, vm_id)
        wanted = self._planner.plan(vm_params, vm_id, context.address, saved)
        self._host_access.check_creation(vm_params, wanted, context)
        locks = [exclusive(Machine(wanted.id))]
        deadline = time.monotonic() + context.remaining(self._patience)
        with self._work.locks.holding(locks, "VM.create", deadline=deadline) as hold:
            machine = self._launcher.define(wanted)
            try:
                self._work.go_on(hold, "VM.create (launch)", lambda: self._launcher.launch(wanted))
            except RuntimeError:
                self._launcher.abandon(wanted)
                raise OperationFailed(reason="the daemon is about to stop") from None
        return definition(machine)

    @action(
        since="1.0",
        part="delete",
        preempts=True,
        done="Machine destroyed",
        legacy=LegacyMethod("destroy", args=("vmID",)),
    )
    def destroy(self, vm_id: UUID, graceful_attempts: Annotated[int, Meta(ge=0, le=20)] = 1) -> None:
        """Destroy a running machine, or remove one that is down.

        Does not wait for other calls on the machine, nor for its launch.

        :param graceful_attempts: number of attempts to end QEMU with SIGTERM before SIGKILL
        :raises NoSuchVM: no machine of this id is on the host
        :raises VMDestroyFailed: the hypervisor cannot destroy it
        :raises ForeignDefinition: it is down, and was defined by another client
        """
        self._control.destroy(vm_id.lower(), graceful_attempts)

    @action(since="1.0", legacy=LegacyMethod("shutdown", message="Machine shut down"))
    def shutdown(
        self,
        vm_id: UUID,
        *,
        delay: Annotated[int, Meta(ge=0, le=86_400)] = 0,
        message: Annotated[str, Meta(max_length=4096)] = "",
        reboot: bool = False,
        timeout: Annotated[int, Meta(ge=0, le=86_400)] = 0,
        force: bool = False,
    ) -> None:
        """Request the guest to power off or to reboot.

        Returns once the request is sent or scheduled. A qemu-guest-agent that is connected is asked first. If
        that fails, or the guest has not complied after `timeout`, oVirt's agent follows if it answers, and
        then ACPI if the machine has it. If the guest has not complied after the last one, its status returns
        to "Up"; with `force`, the machine is destroyed, or reset for a reboot. A request without `force` does
        not revoke an earlier one with it.

        :param delay: seconds to wait before the request
        :param message: text for the log, and for users of the guest whom oVirt's agent shows it to
        :param reboot: reboot instead of powering off
        :param timeout: seconds that the guest has for each way it is asked; 0: as configured
        :param force: destroy or reset the machine if the guest does not comply
        :raises NoSuchVM: no machine of this id is on the host
        :raises VMIsDown: it is not running
        :raises ShutdownImpossible: it has neither an agent nor ACPI, and `force` is false
        """
        self._control.shutdown(
            vm_id.lower(), delay=delay, message=message, reboot=reboot, timeout=timeout, force=force
        )

    @action(since="1.0")
    def set_destroy_on_reboot(self, vm_id: UUID) -> None:
        """Have the machine destroyed when its guest reboots the next time, during this run of the machine.

        :raises NoSuchVM: no machine of this id is on the host
        :raises VMIsDown: it is not running
        """
        self._control.set_destroy_on_reboot(vm_id.lower())

    @action(since="1.0", legacy=LegacyMethod("reset"))
    def reset(self, vm_id: UUID) -> None:
        """Reset a machine, as its reset button would; the guest does not shut down first.

        :raises NoSuchVM: no machine of this id is on the host
        :raises VMIsDown: it is not running
        :raises ResetFailed: the hypervisor cannot reset it
        """
        self._control.reset(vm_id.lower())

    @action(since="1.0", legacy=(LegacyMethod("pause", fixed=_OUTPUT), _NO_MACHINES))
    def pause(self, vm_id: UUID) -> None:
        """Pause a machine: stop its virtual processors; its memory stays resident. No effect if it is paused.

        :raises NoSuchVM: no machine of this id is on the host
        :raises VMIsDown: it is down
        """
        self._control.pause(vm_id.lower())

    @action(since="1.0", legacy=(LegacyMethod("cont", fixed=_OUTPUT), _NO_MACHINES))
    def cont(self, vm_id: UUID) -> None:
        """Resume a paused machine. No effect if it is running.

        :raises NoSuchVM: no machine of this id is on the host
        :raises VMIsDown: it is down
        """
        self._control.cont(vm_id.lower())
