"""What the verbs of migration take and give: VDSM's structs, as far as libvirt can honour them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, UnsetType

from vdsm_core.types import UUID, Open, Record, Request, TextBytes
from vdsm_virt.api.definition import VmDefinition
from vdsm_virt.api.params import Name
from vdsm_virt.api.scalars import LooseBool, LooseUint, Word, patterned

#: A host's name or address, with or without a port; IPv6 in brackets if there is a port.
_HOST = r"([A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*|\[[0-9A-Fa-f:.]+\])"
#: Other transports and parameters of libvirt's URIs can name programs to be run: they are not taken.
_URI = rf"qemu\+(tls|tcp|ssh)://([a-z_][a-z0-9_-]*@)?{_HOST}(:[0-9]{{1,5}})?/(system|session)"

HostName = Annotated[
    str, patterned(rf"^{_HOST}(:[0-9]{{1,5}})?$(?!\n)", "a host's name or address", most=300)
]
Destination = Annotated[
    str,
    patterned(
        rf"^({_URI}|{_HOST}(:[0-9]{{1,5}})?)$(?!\n)",
        "a host, or libvirt's URI of one, such as qemu+tls://host/system",
        most=400,
    ),
]
Downtime = Annotated[
    LooseUint,
    Meta(description="How long the guest may stand still, in ms.", extra_json_schema={"x-unit": "ms"}),
]
Bandwidth = Annotated[
    LooseUint,
    Meta(description="How much it may use, in MiB/s.", extra_json_schema={"x-unit": "MiB/s"}),
]
Milliseconds = Annotated[int, Meta(ge=0, extra_json_schema={"x-unit": "ms"})]


class ConvergenceAction(Request, frozen=True):
    """Something to do about a migration: `setDowntime` with milliseconds, or `abort`."""

    name: Literal["setDowntime", "abort"]
    params: Annotated[list[LooseUint], Meta(max_length=1)] = []


class ConvergenceItem(Request, frozen=True):
    """What to do after so many passes over the memory that brought it no nearer to its end.

    `limit` -1 is for all that follow the other items.
    """

    limit: Annotated[int, Meta(ge=-1, le=1_000_000)]
    action: ConvergenceAction


class ConvergenceSchedule(Request, frozen=True):
    """What is done at the beginning, and when the guest writes faster than its memory is sent."""

    init: Annotated[list[ConvergenceAction], Meta(max_length=100)] = []
    stalling: Annotated[list[ConvergenceItem], Meta(max_length=100)] = []


class MigrateParams(Request, frozen=True):
    """How a machine moves. Only `dst` is needed: the other host, or the URI of its libvirt.

    `dstqemu` is where the memory goes, `maxBandwidth` in MiB/s, `downtime` in ms. With `method` "offline" the
    guest stands still meanwhile. `src` and `dstparams` are not used, nor is a port in `dst`.
    """

    dst: Annotated[Destination, Meta(description="The other host, or the URI of its libvirt.")]
    vm_id: UUID | UnsetType = UNSET
    mode: Literal["remote"] = "remote"
    method: Literal["online", "offline"] = "online"
    dstqemu: Annotated[HostName, Meta(description="Where the memory goes.")] | UnsetType = UNSET
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
    convergence_schedule: ConvergenceSchedule | UnsetType = UNSET
    src: Word | UnsetType = UNSET
    dstparams: Word | UnsetType = UNSET


class MigrationParameters(Request, frozen=True):
    """What can be changed while a machine moves: `maxBandwidth` in MiB/s."""

    max_bandwidth: Bandwidth


class MigrationStats(Record, frozen=True):
    """How far a machine's migration is; with `downtime` once it is done.

    `data*` are what libvirt counts, in bytes; the guest goes on writing, so that more may be sent than there
    is. `iteration` counts the passes over the memory.
    """

    vm_id: UUID
    status: Literal["in_progress", "done"]
    #: Percent.
    progress: Annotated[int, Meta(ge=0, le=100, extra_json_schema={"x-unit": "%"})]
    downtime: Milliseconds | UnsetType = UNSET
    destination: str | UnsetType = UNSET
    time_elapsed: Milliseconds = 0
    data_total: TextBytes = 0
    data_processed: TextBytes = 0
    data_remaining: TextBytes = 0
    iteration: int = 0


class KnownIncoming(Request, frozen=True):
    """The members that are looked at; the others come with the machine itself."""

    vm_name: Name | UnsetType = UNSET
    vm_id: UUID | UnsetType = UNSET
    devices: Annotated[list[dict[str, Any]], Meta(max_length=512)] = []


class IncomingParams(Open[KnownIncoming]):
    """A machine as `VM.getInfo` of its present host tells it."""


class MigrationCreateState(Record, frozen=True):
    """A place for a machine. `migrationPort` is always 0: the two libvirts find one."""

    params: VmDefinition
    migration_port: int = 0
