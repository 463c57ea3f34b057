"""The load of the host for `Host.getStats`: the records, and their calculation from two samples."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from vdsm_core.types import (
    UUID,
    Record,
    Text1f,
    Text2f,
    TextMiB,
    TextPercent,
    TextSeconds,
    TextUint,
    TitleBool,
)
from vdsm_virt.api.imports import ImportJob
from vdsm_virt.host.hardware.memory import Ksm, Memory
from vdsm_virt.host.hardware.numa import NumaNodeMemoryStats
from vdsm_virt.host.load import TICKS, CpuTime, ProcessTime, Traffic, cpu_percent

#: Mbit/s that VDSM assumes for a link of unknown speed, to calculate rates in percent.
_ASSUMED_SPEED: Final = 1000


class CpuCoreStats(Record, frozen=True, kw_only=True):
    """Load of one logical processor in percent; `nodeIndex` is its NUMA node."""

    cpu_user: TextPercent
    cpu_sys: TextPercent
    cpu_idle: TextPercent
    node_index: int


class HostNetworkInterfaceStats(Record, frozen=True, kw_only=True):
    """Traffic of an interface.

    `rx` and `tx` are bytes since its creation, `rxRate` and `txRate` percent of its speed (of 1000 Mbit/s
    if the speed is unknown), `speed` is in Mbit/s (0: unknown), `sampleTime` in seconds since 1970.
    """

    name: str
    mac_addr: str
    state: str
    speed: TextUint
    rx: TextUint
    tx: TextUint
    rx_rate: Text1f
    tx_rate: Text1f
    rx_errors: TextUint
    tx_errors: TextUint
    rx_dropped: TextUint
    tx_dropped: TextUint
    sample_time: float


class PathStats(Record, frozen=True, kw_only=True):
    """Free space on the file system of a path, in MiB."""

    free: TextMiB


class HostedEngineStatus(Record, frozen=True, kw_only=True):
    """State of the high-availability agent of a hosted engine."""

    configured: bool
    score: int
    local_maintenance: bool
    global_maintenance: bool
    active: bool


class StorageDomainVitals(Record, frozen=True, kw_only=True):
    """The result of the last check of a storage domain. `delay` and `lastCheck` (its age) in seconds."""

    code: int
    delay: Text2f
    last_check: Text1f
    valid: bool
    acquired: bool | UnsetType = UNSET
    actual: bool | UnsetType = UNSET
    version: int | UnsetType = UNSET


class HostStats(Record, frozen=True, kw_only=True):
    """Load of the host.

    `cpuUser`, `cpuSys`, `cpuIdle` are percent of all processors together and sum up to 100; `cpuUserVdsmd`
    and `cpuSysVdsmd` percent of one processor; `cpuLoad` is the load average of five minutes; `ksmCpu`
    percent of one processor. Sizes of memory are in MiB, `memUsed` in percent: `memFree` is the memory that
    can be allocated without swapping, `memAvailable` the part of it for new machines (see `mem_available`),
    `memCommitted` the maximum use by the machines of this host, `memShared` the memory that KSM saves.
    `rxRate` and `txRate` are percent of the speed of all NICs together. `statsAge` is the age of the sample
    in seconds, `elapsedTime` the seconds since the daemon started, `bootTime` seconds since 1970.
    `generationID` changes with each start of the daemon. `v2vJobs` are the imports of machines.
    """

    cpu_user: TextPercent
    cpu_sys: TextPercent
    cpu_idle: TextPercent
    cpu_load: Text2f | UnsetType = UNSET
    cpu_user_vdsmd: TextPercent
    cpu_sys_vdsmd: TextPercent
    cpu_statistics: dict[str, CpuCoreStats]
    mem_used: TextUint
    mem_free: int
    mem_available: int
    mem_committed: int
    mem_shared: int
    anon_huge_pages: TextMiB
    swap_total: int
    swap_free: int
    numa_node_mem_free: dict[str, NumaNodeMemoryStats]
    ksm_state: bool
    ksm_pages: int
    ksm_cpu: int
    ksm_merge_across_nodes: bool
    thp_state: str
    network: dict[str, HostNetworkInterfaceStats]
    net_config_dirty: TitleBool
    rx_rate: TextPercent
    tx_rate: TextPercent
    rx_dropped: TextUint
    tx_dropped: TextUint
    disk_stats: dict[str, PathStats]
    storage_domains: dict[str, StorageDomainVitals]
    vm_count: int
    vm_active: int
    vm_migrating: int
    incoming_vm_migrations: int
    outgoing_vm_migrations: int
    ha_score: int
    ha_stats: HostedEngineStatus
    mom_status: str
    boot_time: TextUint | UnsetType = UNSET
    date_time: str
    elapsed_time: TextSeconds
    stats_age: Text2f
    generation_id: UUID = msgspec.field(name="generationID")
    v2v_jobs: dict[UUID, ImportJob] = msgspec.field(default_factory=dict, name="v2vJobs")


@dataclass(frozen=True)
class Machines:
    """Number and memory of the machines on this host. Memory in MiB.

    `committed`: maximum use by the running machines, including the overhead of their emulators; `resident`:
    their current use.
    """

    count: int = 0
    active: int = 0
    incoming: int = 0
    outgoing: int = 0
    committed: int = 0
    resident: int = 0


@dataclass(frozen=True)
class Nic:
    """An interface at the time of a sample. `is_trunk`: a NIC, counted in the totals of the host."""

    traffic: Traffic
    mac: str
    state: str
    speed: int
    is_trunk: bool


@dataclass(frozen=True)
class Sample:
    """The host at one moment: `at` in seconds since boot, `wall` in seconds since 1970."""

    at: float
    wall: float
    cpu: CpuTime
    cores: dict[int, CpuTime]
    nodes: dict[int, int]
    load: float | None
    own: ProcessTime | None
    ksmd: ProcessTime | None
    memory: Memory
    ksm: Ksm
    thp: str
    numa: dict[str, NumaNodeMemoryStats]
    nics: dict[str, Nic]
    free: dict[str, int]
    boot_time: int | None


def mem_available(memory: Memory, machines: Machines, reserve: int) -> int:
    """Return the MiB left for new machines if all here use what they may; below 0 if too much is promised.

    VDSM's reckoning: what is free, and what the machines already hold, less what they may hold and what the
    host keeps for itself.
    """
    return memory.available // 1024 + machines.resident - machines.committed - reserve


@dataclass(frozen=True)
class Daemon:
    """Facts of this run of the daemon. `started` in seconds since boot, `reserve` in MiB."""

    generation: str
    started: float
    reserve: int


def host_stats(
    before: Sample | None, now: Sample, machines: Machines, daemon: Daemon, at: float
) -> HostStats:
    """Return the load between two samples; without an earlier one, since boot.

    :param at: seconds since boot, now
    """
    cpu = cpu_percent(before.cpu if before else CpuTime(), now.cpu)
    user, system = _process_percent(before.own if before else None, now.own, before, now)
    ksmd = sum(_process_percent(before.ksmd if before else None, now.ksmd, before, now))
    trunks = [nic for nic in now.nics.values() if nic.is_trunk]
    rx_rate, tx_rate = _total_rates(before, now)
    return HostStats(
        cpu_user=cpu.user,
        cpu_sys=cpu.system,
        cpu_idle=cpu.idle,
        cpu_load=UNSET if now.load is None else now.load,
        cpu_user_vdsmd=user,
        cpu_sys_vdsmd=system,
        cpu_statistics=_cores(before, now),
        mem_used=now.memory.used_percent,
        mem_free=now.memory.available // 1024,
        mem_available=mem_available(now.memory, machines, daemon.reserve),
        mem_committed=machines.committed,
        mem_shared=now.ksm.shared // (1 << 20),
        anon_huge_pages=now.memory.anon_huge_pages // 1024,
        swap_total=now.memory.swap_total // 1024,
        swap_free=now.memory.swap_free // 1024,
        numa_node_mem_free=now.numa,
        ksm_state=now.ksm.running,
        ksm_pages=now.ksm.pages,
        ksm_cpu=round(ksmd),
        ksm_merge_across_nodes=now.ksm.merge_across_nodes,
        thp_state=now.thp,
        network={name: _interface(name, before, now) for name in now.nics},
        net_config_dirty=False,
        rx_rate=rx_rate,
        tx_rate=tx_rate,
        rx_dropped=sum(nic.traffic.rx_dropped for nic in trunks),
        tx_dropped=sum(nic.traffic.tx_dropped for nic in trunks),
        disk_stats={path: PathStats(free=free) for path, free in now.free.items()},
        storage_domains={},
        vm_count=machines.count,
        vm_active=machines.active,
        vm_migrating=machines.incoming + machines.outgoing,
        incoming_vm_migrations=machines.incoming,
        outgoing_vm_migrations=machines.outgoing,
        ha_score=0,
        ha_stats=_NO_HOSTED_ENGINE,
        mom_status="inactive",
        boot_time=UNSET if now.boot_time is None else now.boot_time,
        date_time=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S GMT"),
        elapsed_time=int(at - daemon.started),
        stats_age=max(0.0, at - now.at),
        generation_id=daemon.generation,
    )


_NO_HOSTED_ENGINE: Final = HostedEngineStatus(
    configured=False, score=0, local_maintenance=False, global_maintenance=False, active=False
)


def _cores(before: Sample | None, now: Sample) -> dict[str, CpuCoreStats]:
    found = {}
    for core, time in now.cores.items():
        percent = cpu_percent(before.cores.get(core, CpuTime()) if before else CpuTime(), time)
        found[str(core)] = CpuCoreStats(
            cpu_user=percent.user,
            cpu_sys=percent.system,
            cpu_idle=percent.idle,
            node_index=now.nodes.get(core, 0),
        )
    return found


def _process_percent(
    earlier: ProcessTime | None, later: ProcessTime | None, before: Sample | None, now: Sample
) -> tuple[float, float]:
    """Return user and system time in percent of one processor; since its start without an earlier reading."""
    if later is None:
        return 0.0, 0.0
    if earlier is None or before is None:
        earlier, since = ProcessTime(0, 0, later.since), later.since
    else:
        since = before.at
    ticks = max(now.at - since, 1 / TICKS) * TICKS
    return 100 * (later.user - earlier.user) / ticks, 100 * (later.system - earlier.system) / ticks


def _interface(name: str, before: Sample | None, now: Sample) -> HostNetworkInterfaceStats:
    nic = now.nics[name]
    rx, tx = _moved(name, before, now)
    return HostNetworkInterfaceStats(
        name=name,
        mac_addr=nic.mac,
        state=nic.state,
        speed=nic.speed,
        rx=nic.traffic.rx,
        tx=nic.traffic.tx,
        rx_rate=_rate(rx, nic.speed or _ASSUMED_SPEED, before, now),
        tx_rate=_rate(tx, nic.speed or _ASSUMED_SPEED, before, now),
        rx_errors=nic.traffic.rx_errors,
        tx_errors=nic.traffic.tx_errors,
        rx_dropped=nic.traffic.rx_dropped,
        tx_dropped=nic.traffic.tx_dropped,
        sample_time=now.wall,
    )


def _total_rates(before: Sample | None, now: Sample) -> tuple[float, float]:
    names = [name for name, nic in now.nics.items() if nic.is_trunk]
    if not names:
        return 0.0, 0.0
    moved = [_moved(name, before, now) for name in names]
    speed = sum(now.nics[name].speed or _ASSUMED_SPEED for name in names)
    return (
        _rate(sum(rx for rx, _ in moved), speed, before, now),
        _rate(sum(tx for _, tx in moved), speed, before, now),
    )


def _moved(name: str, before: Sample | None, now: Sample) -> tuple[int, int]:
    """Return bytes received and sent between the samples; a new or restarted interface starts from 0."""
    later = now.nics[name].traffic
    earlier = before.nics[name].traffic if before and name in before.nics else Traffic()
    if later.rx < earlier.rx or later.tx < earlier.tx:
        earlier = Traffic()
    return later.rx - earlier.rx, later.tx - earlier.tx


def _rate(moved: int, speed: int, before: Sample | None, now: Sample) -> float:
    """Return percent of `speed` Mbit/s."""
    seconds = max(now.at - (before.at if before else 0.0), 1 / TICKS)
    return 100 * moved * 8 / (seconds * speed * 1_000_000)
