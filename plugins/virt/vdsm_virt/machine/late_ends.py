"""Machines that are destroyed and do not end: their QEMU waits in the kernel for storage.

Such a process cannot be killed before its storage answers. It has its signal by then, and ends at that
moment; the destruction is completed here, since the verb has failed long before.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

from vdsm_bridge.work import exclusive
from vdsm_core.errors import DeadlineExceeded, QueueDeadline, VdsmError
from vdsm_virt.errors import VMDestroyFailed
from vdsm_virt.machine.machine import Machine
from vdsm_virt.machine.machines import Machines
from vdsm_virt.machine.references import Machine as MachineReference

log = logging.getLogger(__name__)

_PURPOSE: Final = "completing a destruction"
#: Seconds between two looks at the record of the machine, and for its lock to become free.
_LOOK: Final = 1.0
_PATIENCE: Final = 5.0


class VMNotEnded(DeadlineExceeded, VMDestroyFailed):
    """The signal to end is sent, and QEMU runs on: its storage does not answer, or libvirt does not.

    The daemon removes the machine once it has ended. Facts: `vm_id`, `reason`.
    """

    slug = "vm-not-ended"
    code = 42
    template = "Machine '{vm_id}' has not ended yet; it is removed once it has: {reason}"
    in_doubt = True


class LateEnds:
    """Completes destructions whose machines end later.

    :param complete: removes a machine that has ended
    """

    def __init__(self, machines: Machines, complete: Callable[[Machine], None]) -> None:
        self._inventory = machines.inventory
        self._jobs = machines.jobs
        self._locks = machines.work.locks
        self._complete = complete

    def expect(self, vm_id: str) -> None:
        """Remove a machine as soon as it has ended. The daemon forgets this at its end."""
        log.warning("Machine %s has not ended yet; it is removed once it has", vm_id)
        self._look_later(vm_id)

    def _look_later(self, vm_id: str) -> None:
        self._jobs.plan(
            _PURPOSE,
            lambda: self._look(vm_id),
            of=MachineReference(vm_id),
            after=_LOOK,
            second="not needed",
        )

    def _look(self, vm_id: str) -> None:
        machine = self._inventory.find(vm_id)
        if machine is None or (machine.active and machine.asked != "destroy"):
            # Another call has removed it, or it is another run of it.
            return
        if machine.active:
            self._look_later(vm_id)
            return
        deadline = time.monotonic() + _PATIENCE
        try:
            with self._locks.holding([exclusive(MachineReference(vm_id))], "VM.destroy", deadline=deadline):
                machine = self._inventory.find(vm_id)
                if machine is not None and not machine.active and not machine.launching:
                    self._complete(machine)
        except QueueDeadline:
            self._look_later(vm_id)
        except VdsmError as error:
            log.warning("Machine %s has ended, and cannot be removed: %s", vm_id, error)
