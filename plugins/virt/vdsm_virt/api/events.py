"""Events about machines. The object of each is the machine's id."""

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
    """Base of the events about one machine."""

    component: ClassVar[str] = "virt"
    about: ClassVar[str] = "vm"

    vm_id: UUID
    vm_name: str


class VmStatusChanged(VmEvent, frozen=True):
    """A machine changed its status: `|virt|VM_status|<vmId>`.

    `pauseCode` is present for a paused machine, `exit*` for one that is down (see `Reason`).
    """

    operation: ClassVar[str] = "VM_status"

    status: VmStatus
    pause_code: str | UnsetType = UNSET
    exit_code: int | UnsetType = UNSET
    exit_reason: int | UnsetType = UNSET
    exit_message: str | UnsetType = UNSET


class VmGone(VmEvent, frozen=True):
    """A machine is no longer listed: it was destroyed, or undefined by another client."""

    operation: ClassVar[str] = "VM_gone"


class VmRebooted(VmEvent, frozen=True):
    """The guest rebooted."""

    operation: ClassVar[str] = "VM_reboot"


class VmClockSet(VmEvent, frozen=True):
    """The guest set its clock."""

    operation: ClassVar[str] = "VM_rtc"

    #: Offset from UTC.
    offset: OffsetSeconds


class VmWatchdogFired(VmEvent, frozen=True):
    """The guest's watchdog fired."""

    operation: ClassVar[str] = "VM_watchdog"

    #: Action that was taken: `none`, `pause`, `reset`, `poweroff`, `shutdown`, `debug`, `injectnmi`.
    action: str


class VmDiskFailed(VmEvent, frozen=True):
    """I/O on a disk of a machine failed. If this paused the machine, `VM_status` follows."""

    operation: ClassVar[str] = "VM_io_error"

    #: The disk's source on the host.
    path: str
    #: libvirt's name of the device.
    alias: str
    #: Action that was taken: `none`, `pause`, `report`.
    action: str
    #: Reason: `enospc`, `eperm`, `eio`, `eother`; empty if QEMU does not report it.
    reason: str


class VmNotControlled(VmEvent, frozen=True):
    """Libvirt has lost the connection to the machine's monitor."""

    operation: ClassVar[str] = "VM_control_error"


class GraphicsEnd(Record, frozen=True):
    """An endpoint of a connection to a display."""

    #: `ipv4`, `ipv6` or `unix`.
    family: str
    #: The address; empty for a unix socket.
    node: str
    #: The port; of a unix socket its path.
    service: str


class SubjectName(Record, frozen=True):
    """One name under which a viewer was authenticated."""

    #: `x509dname` or `saslUsername`.
    type: str
    #: The name.
    name: str


class VmViewerChanged(VmEvent, frozen=True):
    """A viewer connected to a display of a machine, was authenticated, or disconnected."""

    operation: ClassVar[str] = "VM_graphics"

    #: `connect`, `initialize` (the viewer was authenticated) or `disconnect`.
    phase: str
    #: Endpoint on this host.
    local: GraphicsEnd
    #: Endpoint of the viewer.
    remote: GraphicsEnd
    #: Authentication scheme: `none`, `vnc`, `sasl`, `tls`, ...
    auth_scheme: str
    #: Names of the authenticated viewer.
    subject: list[SubjectName]


class VmBlockJobChanged(VmEvent, frozen=True):
    """A block job on a disk of a machine is ready, or has ended."""

    operation: ClassVar[str] = "VM_block_job"

    #: The disk's target, `vda`.
    disk: str
    #: `pull`, `copy`, `commit`, `active-commit` or `backup`.
    type: str
    #: `ready`, `completed`, `failed` or `canceled`.
    status: str


class VmBlockThreshold(VmEvent, frozen=True):
    """A write to a disk of a machine exceeded its threshold."""

    operation: ClassVar[str] = "VM_block_threshold"

    #: The disk's target, `vda`, or a node of its backing chain, `vda[1]`.
    dev: str
    #: The disk's source on the host; empty if it has no path.
    path: str
    #: The threshold that was exceeded; it is no longer active.
    threshold: Bytes
    #: Bytes beyond the threshold.
    excess: Bytes


class VmDiskSourceDropped(VmEvent, frozen=True):
    """The source of a disk was missing at the machine's start; its start policy removed or replaced it."""

    operation: ClassVar[str] = "VM_disk_change"

    #: The source that was missing.
    old_path: str
    #: The source that replaced it; empty for none.
    new_path: str
    #: libvirt's name of the device.
    alias: str
    #: `change-missing-on-start` or `drop-missing-on-start`.
    reason: str


class VmTrayMoved(VmEvent, frozen=True):
    """The tray of a removable drive was opened or closed."""

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
    """A device was removed from a running machine."""

    operation: ClassVar[str] = "VM_device_removed"

    #: libvirt's name of the device.
    alias: str


class VmDeviceRemovalFailed(VmEvent, frozen=True):
    """The guest refused the removal of a device."""

    operation: ClassVar[str] = "VM_device_removal_failed"

    #: libvirt's name of the device.
    alias: str


class VmAgentChanged(VmEvent, frozen=True):
    """The guest agent connected or disconnected."""

    operation: ClassVar[str] = "VM_agent"

    #: `connected` or `disconnected`.
    state: str
    #: Cause of the event: `channel`, `domain-started` or `unknown`.
    reason: str


class VmBalloonMoved(VmEvent, frozen=True):
    """The size of the memory balloon changed."""

    operation: ClassVar[str] = "VM_balloon"
    bulk: ClassVar[bool] = True

    #: Current memory of the guest.
    actual: KiB


class VmMemoryDeviceResized(VmEvent, frozen=True):
    """The guest changed the used size of a memory device."""

    operation: ClassVar[str] = "VM_memory_device"
    bulk: ClassVar[bool] = True

    #: libvirt's name of the device.
    alias: str
    #: Current used size.
    size: KiB


class VmMigrationStatus(VmEvent, frozen=True):
    """Progress of an outgoing migration: `|virt|VM_migration_status|<vmId>`."""

    operation: ClassVar[str] = "VM_migration_status"
    bulk: ClassVar[bool] = True

    #: Share of the memory that has been sent.
    progress: Percent
    #: Whether the guest runs on the destination already, while its memory is still being sent.
    postcopy: bool
    #: Time that the guest was paused; present once the migration is done.
    downtime: Milliseconds | UnsetType = UNSET


class VmMigrationFailed(VmEvent, frozen=True):
    """A migration failed; the machine continues to run here, unless `VM_status` reports another status."""

    operation: ClassVar[str] = "VM_migration_failed"

    #: URI of the destination's libvirt; empty if it is not known.
    destination: str
    #: Reason of the failure.
    reason: str
    #: Whether it was cancelled: by `VM.migrateCancel`, or for lack of progress.
    cancelled: bool


class VmMigrationIteration(VmEvent, frozen=True):
    """A live migration started another pass over the memory."""

    operation: ClassVar[str] = "VM_migration_iteration"
    bulk: ClassVar[bool] = True

    #: Number of the pass, from 1.
    iteration: Annotated[int, Meta(ge=1)]


class VmJobCompleted(VmEvent, frozen=True):
    """A migration or a backup of a machine has ended; libvirt sends no event for other jobs.

    Members that libvirt does not report are absent.
    """

    operation: ClassVar[str] = "VM_job_completed"

    #: `migration-out`, `migration-in`, `backup`; `unknown` if libvirt does not report it.
    job: str
    success: bool | UnsetType = UNSET
    #: Reason of the failure.
    error: str | UnsetType = UNSET
    time_elapsed: Milliseconds | UnsetType = UNSET
    #: Time that the guest was paused.
    downtime: Milliseconds | UnsetType = UNSET
    data_total: Bytes | UnsetType = UNSET
    data_processed: Bytes | UnsetType = UNSET


class VmMemoryFailed(VmEvent, frozen=True):
    """The host detected faulty memory that a machine uses."""

    operation: ClassVar[str] = "VM_memory_failure"

    #: User of the memory: `hypervisor` or `guest`.
    recipient: str
    #: Action that was taken: `ignore`, `inject`, `fatal` or `reset`.
    action: str
    #: Whether the guest must react at once.
    action_required: bool
    #: Whether the guest had not yet handled an earlier failure.
    recursive: bool


class Reconciled(EventParams, frozen=True):
    """The machines were compared with those of libvirt after a loss of events; `VM_status` precedes it.

    A client that keeps its own copy needs to read only these machines again.
    """

    component: ClassVar[str] = "virt"
    operation: ClassVar[str] = "reconciled"

    cause: Literal["connection back", "events lost"]
    #: Ids of machines that were added.
    added: list[UUID]
    #: Ids of machines whose state has changed.
    changed: list[UUID]
    #: Ids of machines that are no longer listed.
    gone: list[UUID]
