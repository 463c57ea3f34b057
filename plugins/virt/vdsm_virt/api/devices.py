"""The devices that `VM.create` takes in `vmParams.devices`: VDSM's structs, by their member `type`.

Members that are not known are ignored, as VDSM did; a kind of device that is not known is refused.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from vdsm_core.types import UUID
from vdsm_virt.api.scalars import (
    AbsolutePath,
    Filled,
    KeyMap,
    LooseBool,
    LooseInt,
    LooseUint,
    OptionalPath,
    SocketName,
    Word,
    patterned,
)

Mac = Annotated[
    str,
    patterned(r"^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}$", "a MAC address, such as 52:54:00:12:34:56"),
]


class Device(msgspec.Struct, frozen=True, kw_only=True, rename="camel", tag_field="type"):
    """Base of the devices. `deviceId` is kept with the machine; libvirt knows the device by it."""

    device_id: UUID | UnsetType = UNSET


class IoTune(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of a disk, in bytes and in operations a second; 0 is none."""

    total_bytes_sec: LooseUint = 0
    read_bytes_sec: LooseUint = 0
    write_bytes_sec: LooseUint = 0
    total_iops_sec: LooseUint = 0
    read_iops_sec: LooseUint = 0
    write_iops_sec: LooseUint = 0


class DiskSpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Rarer properties of a disk."""

    io_tune: IoTune | UnsetType = UNSET
    pin_to_io_thread: LooseUint | UnsetType = UNSET


class Disk(Device, frozen=True, kw_only=True, tag="disk"):
    """A disk by its path, or by VDSM's ids, which a storage plugin turns into a path."""

    device: Literal["disk", "cdrom", "floppy", "lun"] = "disk"
    path: OptionalPath | UnsetType = UNSET
    iface: Literal["virtio", "ide", "scsi", "sata", "fdc", "usb"] | UnsetType = UNSET
    index: LooseUint | UnsetType = UNSET
    format: Literal["raw", "cow", "qcow2"] = "raw"
    disk_type: Literal["file", "block"] | UnsetType = UNSET
    readonly: LooseBool = False
    shared: LooseBool | Literal["exclusive", "shared", "none", "transient"] = False
    propagate_errors: LooseBool | Literal["on", "off", "report"] = False
    cache: Literal["none", "writeback", "writethrough", "directsync", "unsafe", "default"] = "none"
    serial: Word | UnsetType = UNSET
    boot_order: LooseUint | UnsetType = UNSET
    spec_params: DiskSpec = DiskSpec()
    pool_id: UUID | UnsetType = msgspec.field(name="poolID", default=UNSET)
    domain_id: UUID | UnsetType = msgspec.field(name="domainID", default=UNSET)
    image_id: UUID | UnsetType = msgspec.field(name="imageID", default=UNSET)
    volume_id: UUID | UnsetType = msgspec.field(name="volumeID", default=UNSET)
    guid: Word | UnsetType = msgspec.field(name="GUID", default=UNSET)
    uuid: Word | UnsetType = msgspec.field(name="UUID", default=UNSET)


class Bandwidth(msgspec.Struct, frozen=True, kw_only=True):
    """A limit of a NIC in one direction: KiB/s; `burst` in KiB."""

    average: LooseUint
    peak: LooseUint | UnsetType = UNSET
    burst: LooseUint | UnsetType = UNSET


class InterfaceSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of a NIC."""

    inbound: Bandwidth | UnsetType = UNSET
    outbound: Bandwidth | UnsetType = UNSET


class FilterParameter(msgspec.Struct, frozen=True, kw_only=True):
    """A variable of a network filter."""

    name: Filled
    value: Word


class Interface(Device, frozen=True, kw_only=True, tag="interface"):
    """A NIC on a bridge of the host (VDSM: the name of the network is that of its bridge).

    `device` "network" is a NIC on a network of libvirt's, "user" one behind QEMU's own network stack.
    """

    device: Literal["bridge", "network", "user"] = "bridge"
    network: Word | UnsetType = UNSET
    mac_addr: Mac | UnsetType = UNSET
    nic_model: Literal[
        "virtio", "pv", "rtl8139", "e1000", "e1000e", "ne2k_pci", "pcnet", "i82551", "i82557b", "i82559er"
    ] = "virtio"
    link_active: LooseBool = True
    boot_order: LooseUint | UnsetType = UNSET
    filter: Word | UnsetType = UNSET
    filter_parameters: Annotated[list[FilterParameter], Meta(max_length=256)] = []
    spec_params: InterfaceSpec = InterfaceSpec()


class GraphicsSpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Properties of a display."""

    key_map: KeyMap | UnsetType = UNSET
    display_ip: Word | UnsetType = UNSET
    spice_secure_channels: Word | UnsetType = UNSET
    copy_paste_enable: LooseBool = True
    file_transfer_enable: LooseBool = True


class Graphics(Device, frozen=True, kw_only=True, tag="graphics"):
    """A display server. It listens on the host's loopback unless `specParams.displayIp` says otherwise."""

    device: Literal["vnc", "spice"]
    spec_params: GraphicsSpec = GraphicsSpec()


class VideoSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Memory of a video card in KiB."""

    vram: LooseUint | UnsetType = UNSET
    ram: LooseUint | UnsetType = UNSET
    vgamem: LooseUint | UnsetType = UNSET
    heads: LooseUint | UnsetType = UNSET


class Video(Device, frozen=True, kw_only=True, tag="video"):
    """A video card. "std" is libvirt's "vga"."""

    device: Literal["qxl", "cirrus", "std", "vga", "vmware", "virtio", "bochs", "none"] = "std"
    spec_params: VideoSpec = VideoSpec()


class Sound(Device, frozen=True, kw_only=True, tag="sound"):
    """A sound card."""

    device: Literal["ac97", "es1370", "hda", "ich6", "ich9", "pcspk", "sb16"] = "ich6"


class ControllerSpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Properties of a controller."""

    io_thread_id: LooseUint | UnsetType = UNSET


class Controller(Device, frozen=True, kw_only=True, tag="controller"):
    """A controller that other devices hang on."""

    device: Literal["ccid", "fdc", "ide", "sata", "scsi", "usb", "virtio-serial"]
    model: Annotated[str, Meta(pattern=r"^[A-Za-z0-9-]+$", max_length=64)] | UnsetType = UNSET
    index: LooseUint | UnsetType = UNSET
    spec_params: ControllerSpec = ControllerSpec()


class BalloonSpec(msgspec.Struct, frozen=True, kw_only=True):
    """The balloon's model; "none" is no balloon."""

    model: Literal["virtio", "none"] = "virtio"


class Balloon(Device, frozen=True, kw_only=True, tag="balloon"):
    """The memory balloon. A machine has one even if it is not asked for."""

    device: Literal["memballoon"] = "memballoon"
    spec_params: BalloonSpec = BalloonSpec()


class ChannelSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Where the channel ends on the host."""

    path: AbsolutePath | UnsetType = UNSET


class Channel(Device, frozen=True, kw_only=True, tag="channel"):
    """A channel to a program in the guest. A machine has that of the guest agent in any case."""

    device: Literal["unix", "spicevmc"] = "unix"
    name: SocketName | UnsetType = UNSET
    spec_params: ChannelSpec = ChannelSpec()


class ConsoleSpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """`path` is that of the socket, if it shall be one."""

    console_type: Literal["serial", "virtio"] = "virtio"
    enable_socket: LooseBool = False
    path: AbsolutePath | UnsetType = UNSET


class Console(Device, frozen=True, kw_only=True, tag="console"):
    """A text console: a pseudo terminal of the host, or a socket."""

    device: Literal["console"] = "console"
    spec_params: ConsoleSpec = ConsoleSpec()


class WatchdogSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What the watchdog is, and what it does when the guest does not feed it."""

    model: Literal["i6300esb", "ib700", "IB700"] = "i6300esb"
    action: Literal["none", "reset", "shutdown", "poweroff", "pause", "dump", "inject-nmi"] = "none"


class Watchdog(Device, frozen=True, kw_only=True, tag="watchdog"):
    """A watchdog."""

    device: Literal["watchdog"] = "watchdog"
    spec_params: WatchdogSpec = WatchdogSpec()


class RngSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Where randomness comes from, and how much of it: `bytes` in each `period` of milliseconds."""

    source: Literal["random", "urandom", "hwrng"] = "urandom"
    bytes: LooseUint | UnsetType = UNSET
    period: LooseInt | UnsetType = UNSET


class Rng(Device, frozen=True, kw_only=True, tag="rng"):
    """A source of random numbers."""

    device: Literal["virtio"] = "virtio"
    spec_params: RngSpec = RngSpec()


class SmartcardSpec(msgspec.Struct, frozen=True, kw_only=True):
    """How the reader is served: "host" by the host's own, "passthrough" by the viewer's."""

    mode: Literal["host", "passthrough"] = "passthrough"


class Smartcard(Device, frozen=True, kw_only=True, tag="smartcard"):
    """A smartcard reader."""

    device: Literal["smartcard"] = "smartcard"
    spec_params: SmartcardSpec = SmartcardSpec()


AnyDevice = (
    Disk
    | Interface
    | Graphics
    | Video
    | Sound
    | Controller
    | Balloon
    | Channel
    | Console
    | Watchdog
    | Rng
    | Smartcard
)
