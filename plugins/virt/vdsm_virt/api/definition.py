"""Description of a machine: VDSM's `VmDefinition` and `VMFullInfo` in one struct, and its short form."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from vdsm_core.types import UUID, Record, TextBool, TextInt, TextUint

VmStatus = Literal[
    "Down",
    "Migration Destination",
    "Migration Source",
    "Paused",
    "Powering down",
    "Powering up",
    "RebootInProgress",
    "Restoring state",
    "Saving State",
    "Up",
    "WaitForLaunch",
]


#: "kvm" runs with the help of the hardware, "qemu" is emulated.
VmType = Literal["kvm", "qemu"]


class DeviceAddress(Record, frozen=True):
    """Address of a device on its bus, in libvirt's terms: `type` "pci", "drive", "virtio-serial", ..."""

    type: str
    domain: str | UnsetType = UNSET
    bus: str | UnsetType = UNSET
    slot: str | UnsetType = UNSET
    function: str | UnsetType = UNSET
    controller: str | UnsetType = UNSET
    target: str | UnsetType = UNSET
    unit: str | UnsetType = UNSET
    port: str | UnsetType = UNSET


class VmDevice(Record, frozen=True):
    """One device, as libvirt reports it. Its members depend on `deviceType`.

    `name` is a disk's target (`vda`) or a NIC's interface on the host (`vnet0`); `network` the bridge or
    libvirt network of a NIC, empty if it is unplugged; `mtu` its MTU in bytes; `hostdev` the device of the
    host that it is; `size` the MiB of a memory module, `node` its NUMA cell in the guest. `port` and
    `tlsPort` are those of a display, -1 for none. `custom` are the custom properties that are kept.
    """

    device_type: str
    device: str
    type: str
    alias: str | UnsetType = UNSET
    device_id: str | UnsetType = UNSET
    address: DeviceAddress | UnsetType = UNSET
    boot_order: int | UnsetType = UNSET
    name: str | UnsetType = UNSET
    model: str | UnsetType = UNSET
    custom: dict[str, str] | UnsetType = UNSET

    path: str | UnsetType = UNSET
    iface: str | UnsetType = UNSET
    format: str | UnsetType = UNSET
    disk_type: str | UnsetType = UNSET
    serial: str | UnsetType = UNSET
    readonly: bool | UnsetType = UNSET
    shared: bool | UnsetType = UNSET
    propagate_errors: str | UnsetType = UNSET
    pool_id: str | UnsetType = msgspec.field(name="poolID", default=UNSET)
    domain_id: str | UnsetType = msgspec.field(name="domainID", default=UNSET)
    image_id: str | UnsetType = msgspec.field(name="imageID", default=UNSET)
    volume_id: str | UnsetType = msgspec.field(name="volumeID", default=UNSET)

    network: str | UnsetType = UNSET
    mac_addr: str | UnsetType = UNSET
    nic_model: str | UnsetType = UNSET
    link_active: bool | UnsetType = UNSET
    filter: str | UnsetType = UNSET
    filter_parameters: list[dict[str, str]] | UnsetType = UNSET
    mtu: int | UnsetType = UNSET
    port_isolated: bool | UnsetType = UNSET
    hostdev: str | UnsetType = UNSET

    size: int | UnsetType = UNSET
    node: int | UnsetType = UNSET

    port: int | UnsetType = UNSET
    tls_port: int | UnsetType = UNSET
    spec_params: dict[str, Any] | UnsetType = UNSET


class VmDefinition(Record, frozen=True):
    """A machine. The short form has only id, name, status and `statusTime`.

    `statusTime` is the Unix time in milliseconds at which the machine got its status or its pause code.
    Memory is in MiB, `timeOffset` in seconds. `smp` is the number of online processors, `maxVCpus` its
    maximum. `createTime` is the Unix time in seconds at which this daemon created it. `kept` are the unknown
    creation parameters. `arch` is libvirt's name. `exit*` are present for a machine that is down.
    """

    vm_id: UUID
    vm_name: str
    status: VmStatus
    status_time: TextUint | UnsetType = UNSET
    pause_code: str | UnsetType = UNSET
    exit_code: int | UnsetType = UNSET
    exit_reason: int | UnsetType = UNSET
    exit_message: str | UnsetType = UNSET
    vm_type: VmType | UnsetType = UNSET
    arch: str | UnsetType = UNSET
    emulated_machine: str | UnsetType = UNSET
    kvm_enable: TextBool | UnsetType = UNSET
    acpi_enable: TextBool | UnsetType = UNSET
    hyperv_enable: TextBool | UnsetType = UNSET
    pit_reinjection: TextBool | UnsetType = UNSET
    smartcard_enable: TextBool | UnsetType = UNSET
    boot_menu_enable: TextBool | UnsetType = UNSET
    transparent_huge_pages: TextBool | UnsetType = UNSET
    mem_size: int | UnsetType = UNSET
    smp: TextUint | UnsetType = UNSET
    max_mem_size: int | UnsetType = UNSET
    max_mem_slots: int | UnsetType = UNSET
    mem_guaranteed_size: int | UnsetType = UNSET
    max_v_cpus: TextUint | UnsetType = msgspec.field(name="maxVCpus", default=UNSET)
    smp_cores_per_socket: TextUint | UnsetType = UNSET
    smp_threads_per_core: TextUint | UnsetType = UNSET
    num_of_io_threads: int | UnsetType = UNSET
    cpu_type: str | UnsetType = UNSET
    cpu_shares: str | UnsetType = UNSET
    nice: TextInt | UnsetType = UNSET
    time_offset: TextInt | UnsetType = UNSET
    boot: str | UnsetType = UNSET
    kernel: str | UnsetType = UNSET
    initrd: str | UnsetType = UNSET
    kernel_args: str | UnsetType = UNSET
    pid: TextUint | UnsetType = UNSET
    client_ip: str | UnsetType = UNSET
    create_time: TextUint | UnsetType = UNSET
    display: str | UnsetType = UNSET
    display_ip: str | UnsetType = UNSET
    display_port: TextInt | UnsetType = UNSET
    display_secure_port: TextInt | UnsetType = UNSET
    keyboard_layout: str | UnsetType = UNSET
    guest_ips: str | UnsetType = msgspec.field(name="guestIPs", default=UNSET)
    devices: list[VmDevice] | UnsetType = UNSET
    custom: dict[str, str] | UnsetType = UNSET
    kept: dict[str, Any] | UnsetType = UNSET
