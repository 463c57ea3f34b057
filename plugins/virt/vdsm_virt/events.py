"""The events of machines."""

from __future__ import annotations

from typing import ClassVar

from msgspec import UNSET, UnsetType

from vdsm_core.events import EventParams
from vdsm_core.types import UUID
from vdsm_virt.definition import VmStatus


class VmStatusChanged(EventParams, frozen=True):
    """A machine changed its status: `|virt|VM_status|<vmId>`.

    `pauseCode` only of a paused machine, `exit*` only of one that is down (see `Reason`).
    """

    component: ClassVar[str] = "virt"
    operation: ClassVar[str] = "VM_status"

    vm_id: UUID
    vm_name: str
    status: VmStatus
    pause_code: str | UnsetType = UNSET
    exit_code: int | UnsetType = UNSET
    exit_reason: int | UnsetType = UNSET
    exit_message: str | UnsetType = UNSET
