"""Parameters of `VM.create`: VDSM's `vmParams`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from vdsm_core.types import UUID, Open, Request
from vdsm_virt.api.definition import VmType
from vdsm_virt.api.devices import AnyDevice, OldDrive, PayloadContent
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

#: libvirt derives file names from a machine's name; see also `naming.check_machine_name`.
Name = Annotated[
    str,
    patterned(
        r"^(?!\.{1,2}$)[^/\x00-\x1f\x7f\ud800-\udfff\ufffe\uffff]+$",
        "one line of text without slashes, and neither '.' nor '..'",
        minimum=1,
        maximum=255,
    ),
]
CpuNumber = Annotated[str, patterned(r"^[0-9]{1,4}$", "the number of a processor")]
CpuType = Annotated[
    str, patterned(r"^[A-Za-z0-9_.,+ -]*$", "a CPU model and flags, such as Haswell,+vmx", maximum=1024)
]
MachineType = Annotated[
    str, patterned(r"^[A-Za-z0-9._-]*$", "a machine type, such as pc-q35-7.2", maximum=64)
]
BootOrder = Annotated[str, patterned(r"^[acdn]{0,4}$", "at most four of the letters a, c, d and n")]
CpuSet = Annotated[str, patterned(r"^[0-9,^-]+$", "a set of processors, such as 0-3,8", maximum=1024)]

#: VDSM's words.
ResumeBehavior = Literal["auto_resume", "leave_paused", "kill"]

#: A volume by VDSM's ids; other members are ignored.
VolumeSpec = Annotated[dict[str, Any], Meta(max_length=32)]

#: `x-cli` is the name of the member on a command line.
MemSize = Annotated[LooseUint, Meta(description="Memory, in MiB.", extra_json_schema={"x-cli": "memory"})]
Processors = Annotated[LooseUint, Meta(description="Processors.", extra_json_schema={"x-cli": "vcpus"})]


class NumaNode(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A NUMA cell of the guest: `cpus` is a set like "0-3,8", `memory` is in MiB."""

    cpus: CpuSet
    memory: LooseUint
    node_index: LooseUint | UnsetType = UNSET


class NumaTune(msgspec.Struct, frozen=True, kw_only=True):
    """NUMA nodes of the host from which the memory is allocated."""

    nodeset: CpuSet | UnsetType = UNSET
    mode: Literal["strict", "interleave", "preferred"] = "strict"


class KnownVmParams(Request, frozen=True):
    """The members of `vmParams` that are used. Of others, those in `kept.KEPT` are stored with the machine.

    Only `vmName` and `memSize` (MiB) are required, or `xml`, a libvirt domain document that replaces
    everything else. Numbers and booleans may be text. With `devices`, the old-style members (`hda`, `cdrom`,
    `macAddr`, ...) are ignored, as in VDSM.
    """

    vm_id: UUID | UnsetType = UNSET
    vm_name: Name | UnsetType = UNSET
    vm_type: VmType = "kvm"
    xml: Annotated[str, Meta(min_length=1, max_length=1_000_000)] | UnsetType = UNSET
    launch_paused: LooseBool = False
    #: What becomes of the machine once an I/O error has paused it: it goes on when its storage is back, stays
    #: paused, or is destroyed after a while.
    resume_behavior: ResumeBehavior | UnsetType = UNSET
    #: The volumes of a hibernated machine: six ids, joined by commas; its own definition replaces the rest.
    hiber_vol_handle: Word | UnsetType = UNSET
    #: The same by `poolID`, `domainID`, `imageID` and `volumeID`, also for the memory of a snapshot.
    memory_dump_volume: VolumeSpec | UnsetType = UNSET
    memory_conf_volume: VolumeSpec | UnsetType = UNSET

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
    drives: Annotated[list[OldDrive], Meta(max_length=512)] = []
    sysprep_inf: PayloadContent | UnsetType = UNSET
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
    """Parameters of a machine; some unknown members are stored with it (`kept.KEPT`), the rest is ignored."""
