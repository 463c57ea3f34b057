"""The file systems of guests, frozen and thawed through the guest agent."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Final, Literal

from vdsm_core.errors import HypervisorDeadline, HypervisorError, NotResponding, VdsmError
from vdsm_core.hypervisor import AgentUnavailable, NoSuchDomain, OperationInvalid, OperationUnsupported
from vdsm_virt.errors import NoSuchVM, VMIsDown, reason_of
from vdsm_virt.jobs.errors import FreezeFailed, GuestAgentSilent, GuestAgentUnsupported, ThawFailed
from vdsm_virt.machine.machines import Machines

log = logging.getLogger(__name__)

#: Seconds that the agent has: a guest writes all its caches while it freezes.
FREEZE_TIMEOUT: Final = 60.0


class Filesystems:
    """Freezes and thaws the file systems of running guests."""

    def __init__(self, machines: Machines) -> None:
        self._machines = machines

    def freeze(self, vm_id: str) -> None:
        """Have the guest write its caches and hold back further writes.

        :raises GuestAgentSilent: the agent does not answer
        :raises GuestAgentUnsupported: the machine has no agent, or the agent cannot do it
        :raises FreezeFailed: the guest could not freeze them
        """
        self._running(vm_id)
        with self._explained(vm_id, "freeze"):
            count = self._machines.hypervisor.snapshots.freeze(vm_id, timeout=FREEZE_TIMEOUT)
            log.info("The file systems of machine %s are frozen: %d", vm_id, count)

    def thaw(self, vm_id: str) -> None:
        """Have the guest go on with its writes. A guest that is not frozen is no error.

        :raises GuestAgentSilent: the agent does not answer
        :raises GuestAgentUnsupported: the machine has no agent, or the agent cannot do it
        :raises ThawFailed: the guest could not thaw them
        """
        self._running(vm_id)
        with self._explained(vm_id, "thaw"):
            count = self._machines.hypervisor.snapshots.thaw(vm_id, timeout=FREEZE_TIMEOUT)
            log.info("The file systems of machine %s are thawed: %d", vm_id, count)

    def try_freeze(self, vm_id: str) -> bool:
        """Freeze them if the guest can; return whether they are frozen."""
        try:
            self.freeze(vm_id)
        except VdsmError as error:
            log.warning("The snapshot of machine %s is taken without freezing: %s", vm_id, error)
            return False
        return True

    def try_thaw(self, vm_id: str) -> None:
        """Thaw them, also after a freeze that has failed: the guest may have frozen them all the same."""
        try:
            self.thaw(vm_id)
        except VdsmError as error:
            log.log(
                logging.DEBUG if isinstance(error, GuestAgentUnsupported) else logging.WARNING,
                "The file systems of machine %s are not thawed: %s",
                vm_id,
                error,
            )

    def _running(self, vm_id: str) -> None:
        machine = self._machines.inventory.get(vm_id)
        if machine.status == "Down":
            raise VMIsDown(vm_id=vm_id, action="change")

    @contextlib.contextmanager
    def _explained(self, vm_id: str, action: Literal["freeze", "thaw"]) -> Iterator[None]:
        try:
            yield
        except NoSuchDomain:
            raise NoSuchVM(vm_id=vm_id) from None
        except OperationInvalid as error:
            machine = self._machines.inventory.find(vm_id)
            if machine is None or not machine.active:
                raise VMIsDown(vm_id=vm_id, action="change") from error
            # A guest that is paused cannot answer.
            raise GuestAgentSilent(vm_id=vm_id, reason=reason_of(error)) from error
        except (AgentUnavailable, HypervisorDeadline, NotResponding) as error:
            raise GuestAgentSilent(vm_id=vm_id, reason=reason_of(error)) from error
        except OperationUnsupported as error:
            raise GuestAgentUnsupported(vm_id=vm_id, action=action, reason=reason_of(error)) from error
        except HypervisorError as error:
            failed = FreezeFailed if action == "freeze" else ThawFailed
            raise failed(vm_id=vm_id, reason=reason_of(error)) from error
