"""How a machine is: VDSM's `RunningVmStats` and `ExitedVmStats`, in one struct."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from vdsm_core.types import UUID, Record, Text2f, TextBool, TextBytes, TextInt, TextUint
from vdsm_virt.api.definition import VmStatus
from vdsm_virt.api.device_stats import DiskStats, NicStats

#: Who uses the guest's desktop.
GuestSession = Literal["Unknown", "UserLoggedOn", "Locked", "Active", "LoggedOff"]


class DisplayInfo(Record, frozen=True):
    """Where a display server is reached. A port is -1 until libvirt has found one, or where there is none."""

    type: str
    port: int
    tls_port: int
    ip_address: str


class BalloonInfo(Record, frozen=True, gc=False):
    """The balloon, in KiB: what the guest has, what it may have, what it is promised."""

    balloon_cur: TextUint = msgspec.field(name="balloon_cur")
    balloon_max: TextUint = msgspec.field(name="balloon_max")
    balloon_min: TextUint = msgspec.field(name="balloon_min")
    balloon_target: TextUint = msgspec.field(name="balloon_target")


class MemoryStats(Record, frozen=True, gc=False):
    """What the guest's balloon driver reports: KiB; faults and swaps (KiB) a second."""

    mem_total: TextUint = msgspec.field(name="mem_total")
    mem_free: TextUint = msgspec.field(name="mem_free")
    mem_unused: TextUint = msgspec.field(name="mem_unused")
    mem_cached: TextUint = msgspec.field(name="mem_cached")
    swap_in: int = msgspec.field(name="swap_in")
    swap_out: int = msgspec.field(name="swap_out")
    majflt: int
    minflt: int
    pageflt: int


class GuestMountInfo(Record, frozen=True):
    """A file system within the guest, in bytes."""

    path: str
    fs: str
    total: TextBytes
    used: TextBytes


class GuestNetworkDeviceInfo(Record, frozen=True):
    """A network interface within the guest, and its addresses."""

    name: str
    hw: str
    inet: list[str]
    inet6: list[str]


class VmStats(Record, frozen=True, gc=False):
    """A machine now. Of one that is down there are only the first members, with `exit*`.

    `cpuUser`, `cpuSys` (the emulator's share) are percent of one processor of the host between the last two
    samples, `cpuIdle` what they leave of it, `cpuUsage` the processor time in nanoseconds so far.
    `memUsage` is percent of the guest's memory, by the guest's own report. `elapsedTime` in seconds since
    it was started, `statusTime` the Unix time in milliseconds at which these values were read, `statsAge`
    how many seconds ago that was. `monitorResponse` -1 and `notResponding` tell that the values are old,
    and why. A port is -1 where there is none (yet). `migrationProgress` (percent) is there while the machine
    leaves the host, `migrationError` if the last attempt to move it failed, until the next one.

    What only an agent within the guest could tell (`session`, `username`, `guest*`, `appsList`, `disksUsage`,
    `netIfaces`) is what VDSM tells while it hears of none: unknown, empty, -1 processors.
    """

    vm_id: UUID
    vm_name: str
    status: VmStatus
    exit_code: int | UnsetType = UNSET
    exit_reason: int | UnsetType = UNSET
    exit_message: str | UnsetType = UNSET
    time_offset: TextInt = 0
    vm_type: str | UnsetType = UNSET
    pause_code: str | UnsetType = UNSET
    monitor_response: TextInt | UnsetType = UNSET
    not_responding: str | UnsetType = UNSET
    stats_age: Text2f | UnsetType = UNSET
    status_time: TextUint | UnsetType = UNSET
    elapsed_time: TextUint | UnsetType = UNSET
    pid: TextUint | UnsetType = UNSET
    client_ip: str | UnsetType = UNSET
    kvm_enable: TextBool | UnsetType = UNSET
    acpi_enable: TextBool | UnsetType = UNSET
    boot: str | UnsetType = UNSET
    nice: TextInt | UnsetType = UNSET
    cpu_user: Text2f | UnsetType = UNSET
    cpu_sys: Text2f | UnsetType = UNSET
    cpu_idle: Text2f | UnsetType = UNSET
    cpu_usage: TextUint | UnsetType = UNSET
    cpu_actual: bool | UnsetType = UNSET
    vcpu_count: TextInt | UnsetType = UNSET
    mem_usage: TextUint | UnsetType = UNSET
    memory_stats: MemoryStats | UnsetType = UNSET
    balloon_info: BalloonInfo | UnsetType = UNSET
    network: dict[str, NicStats] | UnsetType = UNSET
    disks: dict[str, DiskStats] | UnsetType = UNSET
    display_info: list[DisplayInfo] | UnsetType = UNSET
    display_type: str | UnsetType = UNSET
    display_ip: str | UnsetType = UNSET
    display_port: TextInt | UnsetType = UNSET
    display_secure_port: TextInt | UnsetType = UNSET
    migration_progress: Annotated[int, Meta(ge=0, le=100)] | UnsetType = UNSET
    migration_error: str | UnsetType = UNSET
    session: GuestSession | UnsetType = UNSET
    username: str | UnsetType = UNSET
    guest_ips: str | UnsetType = msgspec.field(name="guestIPs", default=UNSET)
    guest_fqdn: str | UnsetType = msgspec.field(name="guestFQDN", default=UNSET)
    guest_cpu_count: int | UnsetType = msgspec.field(name="guestCPUCount", default=UNSET)
    apps_list: list[str] | UnsetType = UNSET
    disks_usage: list[GuestMountInfo] | UnsetType = UNSET
    net_ifaces: list[GuestNetworkDeviceInfo] | UnsetType = UNSET
