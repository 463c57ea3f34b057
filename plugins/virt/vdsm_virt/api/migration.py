"""Parameters and results of the migration verbs: VDSM's structs, as far as libvirt supports them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, UnsetType

from vdsm_core.types import UUID, Open, Record, Request, TextBytes
from vdsm_virt.api.definition import VmDefinition
from vdsm_virt.api.params import CpuSet, Name
from vdsm_virt.api.scalars import LooseBool, LooseUint, Word, patterned

#: A host's name or address, with or without a port; IPv6 in brackets if there is a port.
_HOST = r"([A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*|\[[0-9A-Fa-f:.]+\])"
#: Other transports and URI parameters of libvirt can name programs to run: they are refused.
_URI = rf"qemu\+(tls|tcp|ssh)://([a-z_][a-z0-9_-]*@)?{_HOST}(:[0-9]{{1,5}})?/(system|session)"

HostName = Annotated[
    str, patterned(rf"^{_HOST}(:[0-9]{{1,5}})?$(?!\n)", "a host's name or address", maximum=300)
]
Destination = Annotated[
    str,
    patterned(
        rf"^({_URI}|{_HOST}(:[0-9]{{1,5}})?)$(?!\n)",
        "a host, or libvirt's URI of one, such as qemu+tls://host/system",
        maximum=400,
    ),
]
Downtime = Annotated[
    LooseUint,
    Meta(description="Maximum time that the guest is paused, in ms.", extra_json_schema={"x-unit": "ms"}),
]
Bandwidth = Annotated[
    LooseUint,
    Meta(description="Maximum bandwidth, in MiB/s.", extra_json_schema={"x-unit": "MiB/s"}),
]
Milliseconds = Annotated[int, Meta(ge=0, extra_json_schema={"x-unit": "ms"})]


class InitialAction(Request, frozen=True):
    """An action before a migration: `setDowntime` with milliseconds."""

    name: Literal["setDowntime"]
    params: Annotated[list[LooseUint], Meta(min_length=1, max_length=1)]


class ConvergenceAction(Request, frozen=True):
    """An action on a migration: `setDowntime` with milliseconds, `postcopy`, or `abort`.

    After `postcopy` the guest continues on the destination, and the rest of its memory follows.
    """

    name: Literal["setDowntime", "postcopy", "abort"]
    params: Annotated[list[LooseUint], Meta(max_length=1)] = []


class ConvergenceItem(Request, frozen=True):
    """An action after more than `limit` passes over the memory, beyond the first one.

    Items apply in their order, at most one with each pass; -1 applies with the pass after the item before it.
    """

    limit: Annotated[int, Meta(ge=-1, le=1_000_000)]
    action: ConvergenceAction


class ConvergenceSchedule(Request, frozen=True):
    """Actions at the start, and while the guest writes faster than its memory is sent."""

    init: Annotated[list[InitialAction], Meta(max_length=100)] = []
    stalling: Annotated[list[ConvergenceItem], Meta(max_length=100)] = []


class MigrateParams(Request, frozen=True):
    """Parameters of a migration. Only `dst` is required: the destination host, or the URI of its libvirt.

    `dstqemu` is the host that the memory is sent to, `maxBandwidth` in MiB/s, `downtime` in ms; it applies
    without `convergenceSchedule` only, from which a schedule of five steps and an end is derived. With
    `method` "offline" the guest is paused during the migration. `cpusets` has the processors of the
    destination for each processor of the machine, `numaNodesets` its nodes for each NUMA cell.
    `enableGuestEvents` is passed on to the destination; no guest agent that is supported has such events.
    `incomingLimit` is that of `VM.migrationCreate`, for a destination in `[plugin.virt.peers]`. `src`,
    `dstparams` and a port in `dst` are ignored.
    """

    dst: Annotated[Destination, Meta(description="The destination host, or the URI of its libvirt.")]
    vm_id: UUID | UnsetType = UNSET
    mode: Literal["remote"] = "remote"
    method: Literal["online", "offline"] = "online"
    dstqemu: Annotated[HostName, Meta(description="The host that the memory is sent to.")] | UnsetType = UNSET
    downtime: Downtime | UnsetType = UNSET
    max_bandwidth: Bandwidth | UnsetType = UNSET
    auto_converge: LooseBool | UnsetType = UNSET
    compressed: LooseBool | UnsetType = UNSET
    abort_on_error: LooseBool | UnsetType = UNSET
    tunneled: LooseBool | UnsetType = UNSET
    encrypted: LooseBool | UnsetType = UNSET
    parallel: LooseUint | UnsetType = UNSET
    zerocopy: LooseBool | UnsetType = UNSET
    console_address: HostName | UnsetType = UNSET
    outgoing_limit: LooseUint | UnsetType = UNSET
    incoming_limit: LooseUint | UnsetType = UNSET
    enable_guest_events: LooseBool | UnsetType = UNSET
    cpusets: Annotated[list[CpuSet], Meta(max_length=4096)] | UnsetType = UNSET
    numa_nodesets: Annotated[list[CpuSet], Meta(max_length=1024)] | UnsetType = UNSET
    convergence_schedule: ConvergenceSchedule | UnsetType = UNSET
    src: Word | UnsetType = UNSET
    dstparams: Word | UnsetType = UNSET


class MigrationParameters(Request, frozen=True):
    """Parameters that can be changed during a migration: `maxBandwidth` in MiB/s."""

    max_bandwidth: Bandwidth


class MigrationStats(Record, frozen=True):
    """Progress of a migration; `downtime` is present once it is done.

    `data*` are libvirt's counters in bytes; as the guest writes during the migration, more than its memory
    may be sent. `iteration` is the number of passes over the memory.
    """

    vm_id: UUID
    status: Literal["in_progress", "done"]
    #: Share of the memory that has been sent.
    progress: Annotated[int, Meta(ge=0, le=100, extra_json_schema={"x-unit": "%"})]
    downtime: Milliseconds | UnsetType = UNSET
    destination: str | UnsetType = UNSET
    time_elapsed: Milliseconds = 0
    data_total: TextBytes = 0
    data_processed: TextBytes = 0
    data_remaining: TextBytes = 0
    iteration: int = 0


class KnownIncoming(Request, frozen=True):
    """The members that are used; libvirt transfers the others with the machine."""

    vm_name: Name | UnsetType = UNSET
    vm_id: UUID | UnsetType = UNSET
    devices: Annotated[list[dict[str, Any]], Meta(max_length=512)] = []


class IncomingParams(Open[KnownIncoming]):
    """A machine as `VM.getInfo` returns it on the source host."""


class MigrationCreateState(Record, frozen=True):
    """A reservation for a machine. `migrationPort` is always 0: libvirt chooses the port."""

    params: VmDefinition
    migration_port: int = 0
