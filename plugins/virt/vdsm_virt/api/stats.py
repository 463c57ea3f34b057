"""Statistics of a machine: VDSM's `RunningVmStats` and `ExitedVmStats`, in one struct."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from vdsm_core.types import UUID, Record, Text2f, TextBool, TextBytes, TextInt, TextUint
from vdsm_virt.api.definition import VmStatus
from vdsm_virt.api.device_stats import DiskStats, DiskTuneStats, NicStats

#: State of the session on the guest's desktop.
GuestSession = Literal["Unknown", "UserLoggedOn", "Locked", "Active", "LoggedOff"]


class DisplayInfo(Record, frozen=True):
    """Address and ports of a display server. A port is -1 until libvirt has assigned it, or for none."""

    type: str
    port: TextInt
    tls_port: TextInt
    ip_address: str


class BalloonInfo(Record, frozen=True, gc=False):
    """The balloon, in KiB: current, maximum, guaranteed and target memory of the guest.

    `ballooning_enabled` is whether the machine has a balloon.
    """

    balloon_cur: TextUint = msgspec.field(name="balloon_cur")
    balloon_max: TextUint = msgspec.field(name="balloon_max")
    balloon_min: TextUint = msgspec.field(name="balloon_min")
    balloon_target: TextUint = msgspec.field(name="balloon_target")
    ballooning_enabled: bool = msgspec.field(name="ballooning_enabled", default=True)


class MemoryStats(Record, frozen=True, gc=False):
    """Memory statistics of the guest's balloon driver: sizes in KiB, swaps in KiB/s, faults per second."""

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
    """A file system within the guest; sizes in bytes."""

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


class GuestOsInfo(Record, frozen=True):
    """The guest's operating system, as it names itself. `type` is `linux` or `windows`."""

    type: str
    arch: str
    kernel: str
    distribution: str
    version: str
    codename: str


class GuestTimezone(Record, frozen=True):
    """The guest's time zone: its name, and its offset from UTC in minutes, positive east of Greenwich."""

    offset: int
    zone: str


class GuestDisk(Record, frozen=True):
    """A disk within the guest: the guest's name of its device."""

    name: str


class GuestPciDevice(Record, frozen=True):
    """A PCI device within the guest, and its driver; ids are those of the PCI registry."""

    device_id: int = msgspec.field(name="device_id")
    vendor_id: int = msgspec.field(name="vendor_id")
    driver_name: str = msgspec.field(name="driver_name")
    driver_version: str = msgspec.field(name="driver_version", default="")
    driver_date: str = msgspec.field(name="driver_date", default="")


class GuestContainer(Record, frozen=True):
    """A container that runs within the guest, as its agent reports it."""

    id: str
    names: list[str]
    image: str
    status: str
    command: str


class WatchdogEvent(Record, frozen=True):
    """What the guest's watchdog did last: the Unix time in seconds, and the action."""

    time: float
    action: str


class BlockJob(Record, frozen=True):
    """A block job: `cur` of `end` bytes are done; `bandwidth` is its limit in MiB/s, 0 for none.

    `drive` is the disk's target, `imgUUID` its image.
    """

    id: UUID
    job_type: str
    block_job_type: str
    drive: str
    img_uuid: str = msgspec.field(name="imgUUID")
    bandwidth: int
    cur: TextUint
    end: TextUint


class VmStats(Record, frozen=True, gc=False):
    """Statistics of a machine. For one that is down, only the first members and `exit*` are present.

    `cpuUser` and `cpuSys` (of the emulator) are percent of one processor of the host between the last two
    samples, `cpuIdle` is the remainder, `cpuUsage` the total processor time in nanoseconds. `memUsage` is
    percent of the guest's memory, as the guest reports it. `elapsedTime` is in seconds since the start,
    `statusTime` the Unix time in milliseconds at which the values were read, or the status began if that was
    later, `statsAge` the age of the values in seconds. "Powering up" is the status of a guest with a channel
    for an agent until it answers; see `agent_patience` in `[plugin.virt]`.
    If `monitorResponse` is -1, the values are outdated, and `notResponding` is the reason. A port is -1
    until it is assigned, or for none. `migrationProgress` (percent) is present during an outgoing migration,
    `migrationError` after a failed one, until the next. `hash` changes when a device does: clients read the
    definition again then.

    `vcpuQuota` and `vcpuPeriod` (microseconds) are absent if they are not set, `vcpuUserLimit` (percent)
    without a policy, `ioTune` has the disks with limits. `cdrom` is the path of the image in the first drive.
    `vmJobs` are the block jobs by their ids. `lastLogin` and `lastLogout` are Unix times in seconds.

    Members that need an agent within the guest (`session`, `username`, `guest*`, `appsList`, `disksUsage`,
    `netIfaces`) have the values that VDSM returns without an agent: unknown, empty, -1 processors.
    """

    vm_id: UUID
    vm_name: str
    status: VmStatus
    exit_code: int | UnsetType = UNSET
    exit_reason: int | UnsetType = UNSET
    exit_message: str | UnsetType = UNSET
    time_offset: TextInt = 0
    vm_type: str | UnsetType = UNSET
    hash: str | UnsetType = UNSET
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
    vm_jobs: dict[str, BlockJob] | UnsetType = UNSET
    session: GuestSession | UnsetType = UNSET
    username: str | UnsetType = UNSET
    guest_ips: str | UnsetType = msgspec.field(name="guestIPs", default=UNSET)
    guest_fqdn: str | UnsetType = msgspec.field(name="guestFQDN", default=UNSET)
    guest_cpu_count: int | UnsetType = msgspec.field(name="guestCPUCount", default=UNSET)
    apps_list: list[str] | UnsetType = UNSET
    disks_usage: list[GuestMountInfo] | UnsetType = UNSET
    net_ifaces: list[GuestNetworkDeviceInfo] | UnsetType = UNSET
    guest_name: str | UnsetType = UNSET
    guest_os: str | UnsetType = UNSET
    guest_os_info: GuestOsInfo | UnsetType = UNSET
    guest_timezone: GuestTimezone | UnsetType = UNSET
    guest_containers: list[GuestContainer] | UnsetType = UNSET
    disk_mapping: dict[str, GuestDisk] | UnsetType = UNSET
    pci_devices: list[GuestPciDevice] | UnsetType = msgspec.field(name="pci_devices", default=UNSET)
    last_login: float | UnsetType = UNSET
    last_logout: float | UnsetType = UNSET
    last_user: str | UnsetType = UNSET
    watchdog_event: WatchdogEvent | UnsetType = UNSET
    io_tune: list[DiskTuneStats] | UnsetType = UNSET
    vcpu_quota: TextInt | UnsetType = UNSET
    vcpu_period: int | UnsetType = UNSET
    vcpu_user_limit: int | UnsetType = UNSET
    cdrom: str | UnsetType = UNSET
    nvram_hash: str | UnsetType = UNSET
    tpm_hash: str | UnsetType = UNSET
