"""Events of the hypervisor, as typed models. None of them holds a libvirt object."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

LifecycleEvent = Literal[
    "defined", "undefined", "started", "suspended", "resumed", "stopped", "shutdown", "pmsuspended", "crashed"
]


class DomainEvent(msgspec.Struct, frozen=True):
    """Base of everything that happens to a domain."""

    #: In lower case.
    uuid: str
    name: str


class DomainLifecycle(DomainEvent, frozen=True):
    """A domain changed its state. `detail`: reason, "booted", "migrated", "ioerror", "from-snapshot", ..."""

    event: LifecycleEvent
    detail: str


class DomainReboot(DomainEvent, frozen=True):
    """The guest rebooted."""


class DomainRtcChange(DomainEvent, frozen=True):
    """The guest set its clock. `offset`: seconds from UTC."""

    offset: int


class DomainWatchdog(DomainEvent, frozen=True):
    """The watchdog fired. `action`: "none", "pause", "reset", "poweroff", "shutdown", "debug", ..."""

    action: str


class DomainIOError(DomainEvent, frozen=True):
    """A disk failed. `action`: "none", "pause", "report"; `reason`: "enospc", "eother", ... or empty."""

    path: str
    alias: str
    action: str
    reason: str


class DomainControlError(DomainEvent, frozen=True):
    """libvirt cannot talk to the domain's monitor any more."""


class GraphicsAddress(msgspec.Struct, frozen=True):
    """One end of a graphics connection. `family`: "ipv4", "ipv6", "unix"; then the service is the path."""

    family: str
    node: str
    service: str


class DomainGraphics(DomainEvent, frozen=True):
    """A viewer connected or disconnected. `phase`: "connect", "initialize", "disconnect"."""

    phase: str
    local: GraphicsAddress
    remote: GraphicsAddress
    auth_scheme: str
    #: Pairs of kind and name, such as ("x509dname", "CN=...").
    subject: tuple[tuple[str, str], ...]


class DomainBlockJob(DomainEvent, frozen=True):
    """A block job changed. `disk`: target such as "vda"; `type`: "pull", "copy", "commit", "active-commit",
    "backup"; `status`: "completed", "failed", "canceled", "ready"."""

    disk: str
    type: str
    status: str


class DomainBlockThreshold(DomainEvent, frozen=True):
    """A disk was written beyond its threshold. `threshold`, `excess`: bytes."""

    dev: str
    path: str
    threshold: int
    excess: int


class DomainDiskChange(DomainEvent, frozen=True):
    """A disk lost its source at start. `reason`: "change-missing-on-start", "drop-missing-on-start"."""

    old_path: str
    new_path: str
    alias: str
    reason: str


class DomainTrayChange(DomainEvent, frozen=True):
    """A removable drive's tray moved. `reason`: "open", "close"."""

    alias: str
    reason: str


class DomainDeviceAdded(DomainEvent, frozen=True):
    """A device was plugged in."""

    alias: str


class DomainDeviceRemoved(DomainEvent, frozen=True):
    """A device is gone from the guest."""

    alias: str


class DomainDeviceRemovalFailed(DomainEvent, frozen=True):
    """The guest refused to give a device back."""

    alias: str


class DomainAgent(DomainEvent, frozen=True):
    """The guest agent changed its state. `state`: "connected", "disconnected"; `reason`: "channel", ..."""

    state: str
    reason: str


class DomainBalloon(DomainEvent, frozen=True):
    """The balloon moved. `actual`: KiB that the guest has."""

    actual: int


class DomainMigrationIteration(DomainEvent, frozen=True):
    """A live migration began another pass over the memory. `iteration` counts from 1."""

    iteration: int


class DomainJobCompleted(DomainEvent, frozen=True):
    """A migration or backup ended. `operation`: "migration-out", "backup", ...; `stats`: libvirt's job
    statistics by their own names, times in ms, sizes in bytes."""

    operation: str
    stats: dict[str, Any]


class DomainMemoryFailure(DomainEvent, frozen=True):
    """The host found broken memory. `recipient`: "hypervisor", "guest"; `action`: "ignore", "inject",
    "fatal", "reset"."""

    recipient: str
    action: str
    action_required: bool
    recursive: bool


class DomainMemoryDeviceSize(DomainEvent, frozen=True):
    """A memory device changed its size. `size`: KiB."""

    alias: str
    size: int


class DomainTunable(DomainEvent, frozen=True):
    """A tunable changed. `params`: libvirt's names and values."""

    params: dict[str, Any]


class DomainMetadata(DomainEvent, frozen=True):
    """Metadata changed. `kind`: "description", "title", "element"; `uri` names the element."""

    kind: str
    uri: str


class ConnectionLost(msgspec.Struct, frozen=True):
    """libvirt is not reached any more; events are missed from here on."""

    reason: str


class ConnectionBack(msgspec.Struct, frozen=True):
    """libvirt is reached, for the first time or again, and events flow: compare cached state with it."""


class EventsLost(msgspec.Struct, frozen=True):
    """The listeners were so slow that `count` events had to be dropped: compare cached state."""

    count: int


HypervisorEvent = (
    DomainLifecycle
    | DomainReboot
    | DomainRtcChange
    | DomainWatchdog
    | DomainIOError
    | DomainControlError
    | DomainGraphics
    | DomainBlockJob
    | DomainBlockThreshold
    | DomainDiskChange
    | DomainTrayChange
    | DomainDeviceAdded
    | DomainDeviceRemoved
    | DomainDeviceRemovalFailed
    | DomainAgent
    | DomainBalloon
    | DomainMigrationIteration
    | DomainJobCompleted
    | DomainMemoryFailure
    | DomainMemoryDeviceSize
    | DomainTunable
    | DomainMetadata
    | ConnectionLost
    | ConnectionBack
    | EventsLost
)
