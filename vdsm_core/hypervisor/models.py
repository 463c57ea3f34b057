"""Models of the hypervisor: its connection, the node, domains, their statistics, jobs and migrations."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from vdsm_core.errors import VdsmError

DomainStatus = Literal[
    "nostate", "running", "blocked", "paused", "shutdown", "shutoff", "crashed", "pmsuspended"
]


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """Base of the models of this package."""


class ConnectionStatus(Model, frozen=True, kw_only=True):
    """The state of the connection to libvirt."""

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

    #: The domain's uuid, or another name of the object.
    object: str
    operation: str
    #: Seconds that it has been running.
    seconds: float


class AgentAnswer(Model, frozen=True, kw_only=True):
    """What a guest agent has answered.

    :ivar facts: libvirt's typed parameters by their own names: "hostname", "os.id", "fs.0.mountpoint", ...
    :ivar answers: what a command that was passed through returned, by its name
    :ivar refused: why the agent did not carry out a command, by its name
    :ivar failure: why the rest was not asked: no agent answers, or the machine has ended
    """

    facts: dict[str, Any] = {}
    answers: dict[str, Any] = {}
    refused: dict[str, VdsmError] = {}
    failure: VdsmError | None = None


class Migration(Model, frozen=True, kw_only=True):
    """Parameters of a migration to another host."""

    #: The other host's libvirt, as this host's libvirt reaches it.
    uri: str
    #: Where QEMU sends the memory, `tcp://HOST`; empty: the address that the other libvirt chooses.
    memory_uri: str = ""
    #: Where viewers find the display afterwards; empty: they are not redirected.
    graphics_uri: str = ""
    #: MiB/s; 0 is unlimited.
    bandwidth: int = 0
    #: The guest keeps running meanwhile.
    live: bool = True
    #: The memory is tunnelled through the two libvirts.
    tunnelled: bool = False
    compressed: bool = False
    #: Slow the guest down if it writes faster than the memory is sent.
    auto_converge: bool = False
    #: A disk error ends the migration.
    abort_on_error: bool = False
    #: The memory is sent over TLS.
    encrypted: bool = False
    #: The name in the certificate of the other QEMU; empty: the host in the URI of the memory.
    tls_destination: str = ""
    #: `start_postcopy` may be called.
    postcopy: bool = False
    #: The document of the domain on the other host, with passwords; empty: that of this host.
    destination_xml: str = ""
    #: Parallel connections; 0 is a single one, without the parallel protocol.
    parallel: int = 0
    zerocopy: bool = False
    #: The persistent definition moves, too, and is removed from this host.
    moves_definition: bool = True
    #: Both hosts access the same disks, although libvirt cannot verify it.
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


class DiskSize(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes of a disk in bytes.

    :ivar capacity: what the guest sees
    :ivar allocation: highest offset that was written, or what its file takes
    :ivar physical: size of its file or device
    """

    capacity: int
    allocation: int
    physical: int


class BlockJob(Model, frozen=True, kw_only=True):
    """A job that libvirt runs on one disk of a domain."""

    #: "commit", "active-commit", "copy", "pull", "backup"; "unknown".
    type: str
    #: Bytes/s; 0 is no limit.
    bandwidth: int
    #: Done so far, and in all, usually in bytes. `total` grows while the guest writes.
    done: int
    total: int
    #: Everything is copied, and what the guest writes goes to both volumes: the job waits for its end.
    ready: bool


class BlockInfo(Model, frozen=True, kw_only=True):
    """Sizes of a disk's topmost volume, in bytes."""

    #: As the guest sees the disk.
    capacity: int
    #: Offset up to which the volume is written: for a block device, the highest that QEMU has written.
    allocation: int
    #: Size of the file or the device on the host.
    physical: int
