"""What the hypervisor reports about itself, its domains and their statistics."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

DomainStatus = Literal[
    "nostate", "running", "blocked", "paused", "shutdown", "shutoff", "crashed", "pmsuspended"
]


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """Base of the records of this package."""


class ConnectionStatus(Record, frozen=True, kw_only=True):
    """Whether libvirt is reached."""

    state: Literal["up", "down"]
    #: Epoch seconds at which this state began.
    since: float
    #: Why the connection is down; empty when it is up.
    reason: str = ""
    #: "x.y.z", of the libvirt that was reached last; empty before the first connection.
    libvirt_version: str = ""
    hypervisor_version: str = ""
    #: libvirt's name of the driver, such as "QEMU" or "TEST"; empty before the first connection.
    driver: str = ""


class DomainState(Record, frozen=True, kw_only=True):
    """A domain, as libvirt lists it."""

    #: In lower case.
    uuid: str
    name: str
    state: DomainStatus
    #: Why the domain is in this state: "booted", "ioerror", "user", ...; "unknown" when libvirt does not say.
    reason: str
    active: bool
    persistent: bool
    #: libvirt's number of an active domain; -1 for an inactive one.
    id: int


class NumaNode(Record, frozen=True, kw_only=True):
    """One NUMA cell of the host."""

    id: int
    memory_kib: int
    cpus: tuple[int, ...]


class NodeInfo(Record, frozen=True, kw_only=True):
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


class DomainSample(Record, frozen=True, kw_only=True):
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


class Sample(Record, frozen=True, kw_only=True):
    """Bulk statistics of all domains, read with one call."""

    #: Epoch seconds; 0 when nothing has been read yet.
    taken_at: float
    monotonic: float
    domains: dict[str, DomainSample]
    #: The sample before this one, without its own predecessor.
    previous: Sample | None = None


class UnfinishedCall(Record, frozen=True, kw_only=True):
    """A call to libvirt that has outlived its deadline and has not returned."""

    #: The domain's uuid, or what else the call is about.
    object: str
    operation: str
    #: How long it has been running.
    seconds: float
