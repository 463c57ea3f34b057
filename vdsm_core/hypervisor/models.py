"""Models of the hypervisor: its connection, the node, domains, their statistics, jobs and migrations."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

DomainStatus = Literal[
    "nostate", "running", "blocked", "paused", "shutdown", "shutoff", "crashed", "pmsuspended"
]


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """Base of the models of this package."""


class ConnectionStatus(Model, frozen=True, kw_only=True):
    """Whether libvirt is reached."""

    state: Literal["up", "down"]
    #: Epoch seconds at which this state began.
    since: float
    #: Why the connection is down; empty when it is up.
    reason: str = ""
    #: "x.y.z", of the libvirt that was reached last; empty before the first connection.
    libvirt_version: str = ""
    #: libvirt's name of the driver, such as "QEMU" or "TEST"; empty before the first connection.
    driver: str = ""


class DomainState(Model, frozen=True, kw_only=True):
    """A domain, as libvirt lists it."""

    #: In lower case.
    uuid: str
    name: str
    state: DomainStatus
    #: Reason of the state: "booted", "ioerror", "user", ...; "unknown" if libvirt does not report it.
    reason: str
    active: bool
    persistent: bool
    #: libvirt's number of an active domain; -1 for an inactive one.
    id: int


class NumaNode(Model, frozen=True, kw_only=True):
    """One NUMA cell of the host."""

    id: int
    memory_kib: int
    cpus: tuple[int, ...]


class NodeInfo(Model, frozen=True, kw_only=True):
    """The host's processors and memory."""

    model: str
    #: Logical processors that are on line.
    cpus: int
    mhz: int
    #: Sockets in each NUMA cell, cores in each socket, threads in each core.
    sockets: int
    cores: int
    threads: int
    memory_kib: int
    numa_nodes: tuple[NumaNode, ...] = ()


class DomainSample(Model, frozen=True, kw_only=True):
    """Statistics of one domain."""

    uuid: str
    name: str
    state: DomainStatus
    active: bool
    #: libvirt's typed parameters by their own names: "cpu.time" (ns), "balloon.current" (KiB), ...
    #: The keys "state.*" are always as new as the sample; all others are of `taken_at`.
    stats: dict[str, Any]
    #: Epoch seconds at which these values were read: older than the sample's when the machine is stuck.
    taken_at: float
    #: The same moment on the monotonic clock, for rates.
    monotonic: float
    responding: bool = True
    #: Epoch seconds since which the values are not renewed; None while they are.
    blocked_since: float | None = None
    #: Why they are not; empty while they are.
    why: str = ""


class Sample(Model, frozen=True, kw_only=True):
    """Bulk statistics of all domains, read with one call."""

    #: Epoch seconds; 0 when nothing has been read yet.
    taken_at: float
    monotonic: float
    domains: dict[str, DomainSample]
    #: The sample before this one, without its own predecessor.
    previous: Sample | None = None


class UnfinishedCall(Model, frozen=True, kw_only=True):
    """A call to libvirt that has outlived its deadline and has not returned."""

    #: The domain's uuid, or what else the call is about.
    object: str
    operation: str
    #: How long it has been running.
    seconds: float


class Migration(Model, frozen=True, kw_only=True):
    """How a domain moves to another host."""

    #: The other host's libvirt, as this host's libvirt reaches it.
    uri: str
    #: Where QEMU sends the memory, `tcp://HOST`; empty: the address that the other libvirt chooses.
    memory_uri: str = ""
    #: Where viewers find the display afterwards; empty: they are not redirected.
    graphics_uri: str = ""
    #: MiB/s; 0 is as fast as it goes.
    bandwidth: int = 0
    #: The guest runs on meanwhile.
    live: bool = True
    #: The memory goes through the two libvirts.
    tunnelled: bool = False
    compressed: bool = False
    #: Slow the guest down if it writes faster than the memory is sent.
    auto_converge: bool = False
    #: A disk error ends the migration.
    abort_on_error: bool = False
    #: The memory goes over TLS.
    encrypted: bool = False
    #: Connections; 0 is one, in the old way.
    parallel: int = 0
    zerocopy: bool = False
    #: The kept definition goes, too, and none stays here.
    moves_definition: bool = True
    #: Both hosts see the same disks, although libvirt cannot verify it.
    storage_is_shared: bool = False


class DomainJob(Model, frozen=True, kw_only=True):
    """The job that libvirt runs on a domain."""

    #: "none": there is no job.
    state: Literal["none", "running", "completed", "failed", "cancelled"]
    #: "migration-out", "save", "backup", ...
    operation: str
    #: ms.
    elapsed: int = 0
    #: Bytes: to be sent at the beginning, sent so far, still to be sent.
    total: int = 0
    processed: int = 0
    remaining: int = 0
    #: Counts the passes over the memory from 1.
    iteration: int = 0
