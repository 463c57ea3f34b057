"""The events of machines. The object of each is the machine's id."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from msgspec import UNSET, Meta, UnsetType

from vdsm_core.events import EventParams
from vdsm_core.types import UUID, Record
from vdsm_virt.api.definition import VmStatus

Bytes = Annotated[int, Meta(ge=0, extra_json_schema={"x-unit": "B"})]
KiB = Annotated[int, Meta(ge=0, extra_json_schema={"x-unit": "KiB"})]
Milliseconds = Annotated[int, Meta(ge=0, extra_json_schema={"x-unit": "ms"})]
Percent = Annotated[int, Meta(ge=0, le=100, extra_json_schema={"x-unit": "%"})]
OffsetSeconds = Annotated[int, Meta(extra_json_schema={"x-unit": "s"})]


class VmEvent(EventParams, frozen=True):
    """Something that happened to one machine."""

    component: ClassVar[str] = "virt"

    vm_id: UUID
    vm_name: str


class VmStatusChanged(VmEvent, frozen=True):
    """A machine changed its status: `|virt|VM_status|<vmId>`.

    `pauseCode` only of a paused machine, `exit*` only of one that is down (see `Reason`).
    """

    operation: ClassVar[str] = "VM_status"

    status: VmStatus
    pause_code: str | UnsetType = UNSET
    exit_code: int | UnsetType = UNSET
    exit_reason: int | UnsetType = UNSET
    exit_message: str | UnsetType = UNSET


class VmGone(VmEvent, frozen=True):
    """A machine is no longer listed: it was destroyed, or somebody else undefined it."""

    operation: ClassVar[str] = "VM_gone"


class VmRebooted(VmEvent, frozen=True):
    """The guest rebooted."""

    operation: ClassVar[str] = "VM_reboot"


class VmClockSet(VmEvent, frozen=True):
    """The guest set its clock."""

    operation: ClassVar[str] = "VM_rtc"

    #: From UTC.
    offset: OffsetSeconds


class VmWatchdogFired(VmEvent, frozen=True):
    """The guest's watchdog fired."""

    operation: ClassVar[str] = "VM_watchdog"

    #: What was done about it: `none`, `pause`, `reset`, `poweroff`, `shutdown`, `debug`, `injectnmi`.
    action: str


class VmDiskFailed(VmEvent, frozen=True):
    """A disk of a machine failed. If the machine was paused for it, `VM_status` says so, too."""

    operation: ClassVar[str] = "VM_io_error"

    #: The disk's source on the host.
    path: str
    #: libvirt's name of the device.
    alias: str
    #: What was done about it: `none`, `pause`, `report`.
    action: str
    #: Why: `enospc`, `eperm`, `eio`, `eother`; empty if QEMU does not say.
    reason: str


class VmNotControlled(VmEvent, frozen=True):
    """Libvirt cannot talk to the machine's monitor any more."""

    operation: ClassVar[str] = "VM_control_error"


class GraphicsEnd(Record, frozen=True):
    """One end of a connection to a display."""

    #: `ipv4`, `ipv6` or `unix`.
    family: str
    #: The address; empty for a unix socket.
    node: str
    #: The port; of a unix socket its path.
    service: str


class SubjectName(Record, frozen=True):
    """One name under which a viewer showed who it is."""

    #: `x509dname` or `saslUsername`.
    type: str
    #: The name.
    name: str


class VmViewerChanged(VmEvent, frozen=True):
    """A viewer connected to a display of a machine, showed who it is, or left."""

    operation: ClassVar[str] = "VM_graphics"

    #: `connect`, `initialize` (the viewer was let in) or `disconnect`.
    phase: str
    #: The end on this host.
    local: GraphicsEnd
    #: The viewer's end.
    remote: GraphicsEnd
    #: How viewers are let in: `none`, `vnc`, `sasl`, `tls`, ...
    auth_scheme: str
    #: Who the viewer is.
    subject: list[SubjectName]


class VmBlockJobChanged(VmEvent, frozen=True):
    """A block job on a disk of a machine is ready, or came to its end."""

    operation: ClassVar[str] = "VM_block_job"

    #: The disk's target, `vda`.
    disk: str
    #: `pull`, `copy`, `commit`, `active-commit` or `backup`.
    type: str
    #: `ready`, `completed`, `failed` or `canceled`.
    status: str


class VmBlockThreshold(VmEvent, frozen=True):
    """A disk of a machine was written beyond the threshold that was set for it."""

    operation: ClassVar[str] = "VM_block_threshold"

    #: The disk's target, `vda`, or a node of its backing chain, `vda[1]`.
    dev: str
    #: The disk's source on the host; empty if it is none.
    path: str
    #: The threshold that was passed; it is not in force any more.
    threshold: Bytes
    #: How far beyond.
    excess: Bytes


class VmDiskSourceDropped(VmEvent, frozen=True):
    """The source of a disk was missing when the machine started, and the start policy let it go without."""

    operation: ClassVar[str] = "VM_disk_change"

    #: The source that was missing.
    old_path: str
    #: What came in its place; empty for nothing.
    new_path: str
    #: libvirt's name of the device.
    alias: str
    #: `change-missing-on-start` or `drop-missing-on-start`.
    reason: str


class VmTrayMoved(VmEvent, frozen=True):
    """The tray of a removable drive moved."""

    operation: ClassVar[str] = "VM_tray"

    #: libvirt's name of the device.
    alias: str
    #: `open` or `close`.
    tray: str


class VmDeviceAdded(VmEvent, frozen=True):
    """A device was plugged into a running machine."""

    operation: ClassVar[str] = "VM_device_added"

    #: libvirt's name of the device.
    alias: str


class VmDeviceRemoved(VmEvent, frozen=True):
    """A device is gone from a running machine."""

    operation: ClassVar[str] = "VM_device_removed"

    #: libvirt's name of the device.
    alias: str


class VmDeviceRemovalFailed(VmEvent, frozen=True):
    """The guest refused to give a device back."""

    operation: ClassVar[str] = "VM_device_removal_failed"

    #: libvirt's name of the device.
    alias: str


class VmAgentChanged(VmEvent, frozen=True):
    """The guest agent connected or disconnected."""

    operation: ClassVar[str] = "VM_agent"

    #: `connected` or `disconnected`.
    state: str
    #: What made it known: `channel`, `domain-started` or `unknown`.
    reason: str


class VmBalloonMoved(VmEvent, frozen=True):
    """The memory balloon of a machine moved."""

    operation: ClassVar[str] = "VM_balloon"
    bulk: ClassVar[bool] = True

    #: Memory that the guest has now.
    actual: KiB


class VmMemoryDeviceResized(VmEvent, frozen=True):
    """The guest changed how much of a memory device it uses."""

    operation: ClassVar[str] = "VM_memory_device"
    bulk: ClassVar[bool] = True

    #: libvirt's name of the device.
    alias: str
    #: What it uses now.
    size: KiB


class VmMigrationStatus(VmEvent, frozen=True):
    """How far an outgoing migration is: `|virt|VM_migration_status|<vmId>`."""

    operation: ClassVar[str] = "VM_migration_status"
    bulk: ClassVar[bool] = True

    #: Of the memory.
    progress: Percent
    #: Whether the guest runs on the other host already, and its memory follows.
    postcopy: bool
    #: How long the guest stood still; once the migration is done.
    downtime: Milliseconds | UnsetType = UNSET


class VmMigrationFailed(VmEvent, frozen=True):
    """A machine did not move; it runs on here, unless `VM_status` says something else."""

    operation: ClassVar[str] = "VM_migration_failed"

    #: Where it was to go: the URI of the other host's libvirt; empty if that is not known.
    destination: str
    #: Why.
    reason: str
    #: It was called off: by `VM.migrateCancel`, or because it did not get on.
    cancelled: bool


class VmMigrationIteration(VmEvent, frozen=True):
    """A live migration began another pass over the memory."""

    operation: ClassVar[str] = "VM_migration_iteration"
    bulk: ClassVar[bool] = True

    #: Counts from 1.
    iteration: Annotated[int, Meta(ge=1)]


class VmJobCompleted(VmEvent, frozen=True):
    """A migration or a backup of a machine came to its end; of other jobs libvirt does not tell.

    Members that libvirt leaves out are left out.
    """

    operation: ClassVar[str] = "VM_job_completed"

    #: `migration-out`, `migration-in`, `backup`; `unknown` if libvirt does not say.
    job: str
    success: bool | UnsetType = UNSET
    #: Why it failed.
    error: str | UnsetType = UNSET
    time_elapsed: Milliseconds | UnsetType = UNSET
    #: How long the guest stood still.
    downtime: Milliseconds | UnsetType = UNSET
    data_total: Bytes | UnsetType = UNSET
    data_processed: Bytes | UnsetType = UNSET


class VmMemoryFailed(VmEvent, frozen=True):
    """The host found broken memory that a machine uses."""

    operation: ClassVar[str] = "VM_memory_failure"

    #: Whose memory: `hypervisor` or `guest`.
    recipient: str
    #: What was done about it: `ignore`, `inject`, `fatal` or `reset`.
    action: str
    #: The guest must do something at once.
    action_required: bool
    #: The guest had not dealt with an earlier failure yet.
    recursive: bool


class Reconciled(EventParams, frozen=True):
    """The machines were compared with libvirt's, since events had been missed; `VM_status` comes before.

    Whoever kept its own view needs to look only at these.
    """

    component: ClassVar[str] = "virt"
    operation: ClassVar[str] = "reconciled"

    cause: Literal["connection back", "events lost"]
    #: Ids of machines that were not known.
    added: list[UUID]
    #: Ids of machines that are in another state.
    changed: list[UUID]
    #: Ids of machines that are no longer listed.
    gone: list[UUID]
