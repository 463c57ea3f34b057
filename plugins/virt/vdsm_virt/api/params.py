"""What `VM.create` takes: VDSM's `vmParams`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from vdsm_core.types import UUID, Open, Request
from vdsm_virt.api.devices import AnyDevice
from vdsm_virt.api.scalars import (
    AbsolutePath,
    KeyMap,
    LooseBool,
    LooseInt,
    LooseUint,
    OptionalPath,
    Prose,
    SocketName,
    Word,
    patterned,
)

#: libvirt makes file names of a machine's name; see also `naming.check_machine_name`.
Name = Annotated[
    str,
    patterned(
        r"^(?!\.{1,2}$)[^/\x00-\x1f\x7f\ud800-\udfff\ufffe\uffff]+$",
        "one line of text without slashes, and neither '.' nor '..'",
        least=1,
        most=255,
    ),
]
CpuNumber = Annotated[str, patterned(r"^[0-9]{1,4}$", "the number of a processor")]
CpuType = Annotated[
    str, patterned(r"^[A-Za-z0-9_.,+ -]*$", "a CPU model and flags, such as Haswell,+vmx", most=1024)
]
MachineType = Annotated[str, patterned(r"^[A-Za-z0-9._-]*$", "a machine type, such as pc-q35-7.2", most=64)]
BootOrder = Annotated[str, patterned(r"^[acdn]{0,4}$", "at most four of the letters a, c, d and n")]
CpuSet = Annotated[str, patterned(r"^[0-9,^-]+$", "a set of processors, such as 0-3,8", most=1024)]

#: `x-cli` is the name that a command line gives to the member.
MemSize = Annotated[LooseUint, Meta(description="Memory, in MiB.", extra_json_schema={"x-cli": "memory"})]
Processors = Annotated[LooseUint, Meta(description="Processors.", extra_json_schema={"x-cli": "vcpus"})]


class NumaNode(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A NUMA cell of the guest: `cpus` is a set like "0-3,8", `memory` is in MiB."""

    cpus: CpuSet
    memory: LooseUint
    node_index: LooseUint | UnsetType = UNSET


class NumaTune(msgspec.Struct, frozen=True, kw_only=True):
    """On which NUMA nodes of the host the memory lies."""

    nodeset: CpuSet | UnsetType = UNSET
    mode: Literal["strict", "interleave", "preferred"] = "strict"


class KnownVmParams(Request, frozen=True):
    """The members of `vmParams` that mean something here; others are kept with the machine.

    Only `vmName` and `memSize` (MiB) are needed, or `xml`, a libvirt domain document that then stands for
    everything else. Numbers and truth values may be text. `devices` switches the old-style members
    (`hda`, `cdrom`, `macAddr`, ...) off, as in VDSM.
    """

    vm_id: UUID | UnsetType = UNSET
    vm_name: Name | UnsetType = UNSET
    vm_type: Literal["kvm"] = "kvm"
    xml: Annotated[str, Meta(min_length=1, max_length=1_000_000)] | UnsetType = UNSET
    launch_paused: LooseBool = False

    mem_size: MemSize | UnsetType = UNSET
    max_mem_size: LooseUint | UnsetType = UNSET
    max_mem_slots: LooseUint = 16
    mem_guaranteed_size: LooseUint | UnsetType = UNSET
    numa_tune: NumaTune | UnsetType = UNSET
    guest_numa_nodes: Annotated[list[NumaNode], Meta(max_length=1024)] = []

    smp: Processors = 1
    max_v_cpus: LooseUint | UnsetType = msgspec.field(name="maxVCpus", default=UNSET)
    smp_cores_per_socket: LooseUint = 1
    smp_threads_per_core: LooseUint = 1
    cpu_type: CpuType | UnsetType = UNSET
    cpu_shares: LooseUint | UnsetType = UNSET
    cpu_pinning: Annotated[dict[CpuNumber, CpuSet], Meta(max_length=4096)] = {}
    num_of_io_threads: LooseUint | UnsetType = UNSET

    kvm_enable: LooseBool | UnsetType = UNSET
    acpi_enable: LooseBool = True
    hyperv_enable: LooseBool = False
    pit_reinjection: LooseBool = True
    emulated_machine: MachineType | UnsetType = UNSET
    time_offset: LooseInt = 0
    tablet_enable: LooseBool = False
    smartcard_enable: LooseBool = False
    agent_channel_name: SocketName | UnsetType = UNSET

    boot: BootOrder | UnsetType = UNSET
    boot_menu_enable: LooseBool = False
    kernel: AbsolutePath | UnsetType = UNSET
    initrd: AbsolutePath | UnsetType = UNSET
    kernel_args: Word | UnsetType = UNSET

    devices: Annotated[list[AnyDevice], Meta(max_length=512)] | UnsetType = UNSET
    custom: Annotated[dict[Prose, Prose], Meta(max_length=256)] = {}

    display: Literal["vnc", "qxl", "qxlnc", "local"] | UnsetType = UNSET
    display_ip: Word | UnsetType = UNSET
    keyboard_layout: KeyMap | UnsetType = UNSET
    spice_secure_channels: Word | UnsetType = UNSET
    hda: AbsolutePath | UnsetType = UNSET
    hdb: AbsolutePath | UnsetType = UNSET
    hdc: AbsolutePath | UnsetType = UNSET
    hdd: AbsolutePath | UnsetType = UNSET
    cdrom: OptionalPath | UnsetType = UNSET
    floppy: AbsolutePath | UnsetType = UNSET
    mac_addr: Word | UnsetType = UNSET
    nic_model: Word | UnsetType = UNSET
    bridge: Word | UnsetType = UNSET
    sound_device: Literal["ac97", "es1370", "hda", "ich6", "pcspk", "sb16"] | UnsetType = UNSET


class VmParams(Open[KnownVmParams]):
    """A machine's parameters; members that are not known are kept."""


#: Members that the domain XML or the machine's record has anyway, or that hold secrets and bulk.
_NOT_KEPT = frozenset({"xml", "vmId", "vmName", "devices", "custom", "sysprepInf", "hiberVolHandle"})


def kept_members(params: VmParams) -> dict[str, Any]:
    """The unknown members that are kept with the machine: nothing that looks like a secret or like bulk."""
    return {
        name: value
        for name, value in params.unknown.items()
        if name not in _NOT_KEPT
        and not name.startswith("_X_")
        and not any(word in name.lower() for word in ("passw", "secret", "ticket", "token"))
    }
