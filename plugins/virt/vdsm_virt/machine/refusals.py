"""Errors about a machine, for what libvirt refuses to do with its domain."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from vdsm_core.errors import VdsmError
from vdsm_core.hypervisor import Hypervisor, NoSuchDomain, OperationInvalid
from vdsm_virt.errors import MigrationInProgress, NoSuchVM, VMIsDown
from vdsm_virt.machine.inventory import Inventory
from vdsm_virt.machine.machine import Machine


@contextlib.contextmanager
def as_machine(hypervisor: Hypervisor, vm_id: str, action: str) -> Iterator[None]:
    """Raise errors about the machine for those about its domain.

    libvirt has one error for every state that forbids an operation. The machine is down only if no QEMU holds
    it any more; of any other state, libvirt's own reason is the answer.

    :param action: a verb for the message of `VMIsDown`
    :raises NoSuchVM: libvirt has forgotten the domain
    :raises VMIsDown: the domain has ended since the last reading
    :raises OperationInvalid: the domain runs, in a state that does not allow it
    """
    try:
        yield
    except NoSuchDomain:
        raise NoSuchVM(vm_id=vm_id) from None
    except OperationInvalid as error:
        if _is_off(hypervisor, vm_id):
            raise VMIsDown(vm_id=vm_id, action=action) from error
        raise


def _is_off(hypervisor: Hypervisor, vm_id: str) -> bool:
    try:
        return not hypervisor.domains.get(vm_id).active
    except NoSuchDomain:
        return True
    except VdsmError:
        return False


def running(inventory: Inventory, vm_id: str, action: str) -> Machine:
    """Return a machine that runs on this host and stays here.

    :param action: what is to be done to it, for the error
    :raises NoSuchVM: no machine has this id
    :raises VMIsDown: it does not run
    :raises MigrationInProgress: it is on its way to or from another host
    """
    machine = inventory.get(vm_id)
    if machine.status == "Down":
        raise VMIsDown(vm_id=vm_id, action=action)
    if machine.outgoing or machine.incoming:
        raise MigrationInProgress(vm_id=vm_id, action=action)
    return machine
