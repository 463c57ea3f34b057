"""What holds for every change of a running machine's devices."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from vdsm_core.errors import (
    AccessRefused,
    HypervisorError,
    InvalidRequest,
    OperationFailed,
    Unavailable,
    VdsmError,
)
from vdsm_core.hypervisor import NoSuchDomain, OperationInvalid
from vdsm_virt.errors import MigrationInProgress, NoSuchVM, VMIsDown, reason_of
from vdsm_virt.machine.inventory import Inventory
from vdsm_virt.machine.machine import Machine


def running(inventory: Inventory, vm_id: str, action: str) -> Machine:
    """Return a machine whose devices may be changed now.

    :param action: the change, as a verb for errors
    :raises NoSuchVM: no machine of this id is on the host
    :raises VMIsDown: it is not running
    :raises MigrationInProgress: it is being migrated
    """
    machine = inventory.get(vm_id)
    if machine.status == "Down" or not machine.active:
        raise VMIsDown(vm_id=vm_id, action=action)
    if machine.outgoing or machine.incoming:
        raise MigrationInProgress(vm_id=vm_id, action=action)
    return machine


@contextlib.contextmanager
def as_machine(vm_id: str, action: str) -> Iterator[None]:
    """Raise errors about the machine for those about a domain that has ended meanwhile."""
    try:
        yield
    except NoSuchDomain:
        raise NoSuchVM(vm_id=vm_id) from None
    except OperationInvalid as error:
        if "not running" in str(error) or "not active" in str(error):
            raise VMIsDown(vm_id=vm_id, action=action) from error
        raise


def as_failure(error: VdsmError, failure: type[OperationFailed], vm_id: str) -> VdsmError:
    """Return the verb's own error for one of storage, a hook or the hypervisor.

    What is wrong with the request or the machine, or only for now, stays as it is.
    """
    if isinstance(error, HypervisorError) and not isinstance(error, Unavailable):
        return failure(vm_id=vm_id, reason=reason_of(error))
    others = (NoSuchVM, VMIsDown, MigrationInProgress, InvalidRequest, AccessRefused, Unavailable)
    if isinstance(error, (failure, *others)):
        return error
    return failure(vm_id=vm_id, reason=reason_of(error))
