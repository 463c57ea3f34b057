"""The devices that `VM.create` accepts in `vmParams.devices`: VDSM's structs, by their member `type`.

Unknown members are ignored, as in VDSM; an unknown `type` is refused.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from vdsm_core.secret import Secret
from vdsm_core.types import UUID
from vdsm_virt.api.host_devices import NodeDeviceName
from vdsm_virt.api.scalars import (
    AbsolutePath,
    Filled,
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

Mac = Annotated[
    str,
    patterned(r"^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}$", "a MAC address, such as 52:54:00:12:34:56"),
]


#: A number of an address, as libvirt spells it.
_Number = LooseUint | Annotated[str, patterned(r"^0x[0-9a-fA-F]{1,8}$", "a hexadecimal number", maximum=10)]


class Address(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Place of a device on a bus of the guest, in libvirt's terms. Numbers are decimal, or text with `0x`."""

    type: Literal["pci", "drive", "virtio-serial", "usb", "ccid", "dimm"] | UnsetType = UNSET
    domain: _Number | UnsetType = UNSET
    bus: _Number | UnsetType = UNSET
    slot: _Number | UnsetType = UNSET
    function: _Number | UnsetType = UNSET
    multifunction: Literal["on", "off"] | UnsetType = UNSET
    controller: _Number | UnsetType = UNSET
    target: _Number | UnsetType = UNSET
    unit: _Number | UnsetType = UNSET
    port: _Number | UnsetType = UNSET
    base: _Number | UnsetType = UNSET


class Device(msgspec.Struct, frozen=True, kw_only=True, rename="camel", tag_field="type"):
    """Base of the devices.

    `deviceId` is stored with the machine, `address` is the place in the guest, `custom` are for hooks.
    """

    device_id: UUID | UnsetType = UNSET
    address: Address | UnsetType = UNSET
    custom: Annotated[dict[Prose, Prose], Meta(max_length=64)] = {}


class IoTune(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of a disk, in bytes per second and operations per second; 0: no limit."""

    total_bytes_sec: LooseUint = 0
    read_bytes_sec: LooseUint = 0
    write_bytes_sec: LooseUint = 0
    total_iops_sec: LooseUint = 0
    read_iops_sec: LooseUint = 0
    write_iops_sec: LooseUint = 0


#: Where a file of a payload stands in the image: names and folders, from its top.
PayloadPath = Annotated[
    str,
    patterned(
        r"^(?!(.*/)?\.{1,2}(/|$))[^/\x00-\x1f\x7f]{1,200}(/[^/\x00-\x1f\x7f]{1,200})*$",
        "a relative path without '.' and '..'",
        maximum=1024,
    ),
]


class PayloadContent(Secret, max_length=1_000_000):
    """Content of a file of a payload, in base64. Passwords and keys of guests are among it."""


class Payload(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Files to make an image of, for a CD-ROM or a floppy.

    :ivar file: content of each file, in base64, by its path in the image
    :ivar vol_id: label of the image
    """

    file: Annotated[dict[PayloadPath, PayloadContent], Meta(max_length=256)] = {}
    vol_id: Annotated[str, patterned(r"^[A-Za-z0-9_. -]*$", "a label", maximum=32)] | UnsetType = UNSET


class DiskSpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Further properties of a disk.

    :ivar io_tune: limits of its rates
    :ivar pin_to_io_thread: number of the machine's I/O thread that serves it, from 1
    :ivar vm_payload: files to make the image of, in place of a path
    """

    io_tune: IoTune | UnsetType = UNSET
    pin_to_io_thread: LooseUint | UnsetType = UNSET
    vm_payload: Payload | UnsetType = UNSET


class Disk(Device, frozen=True, kw_only=True, tag="disk"):
    """A disk, given by its path, or by VDSM's ids, which a storage plugin resolves to a path.

    :ivar index: number on its bus, from 0; without it, the first free one behind those that are given
    :ivar format: layout of the image; "cow" is qcow2. Storage's own knowledge replaces it
    :ivar shared: "shared" lets several machines write, "exclusive" takes the volume's lease, "transient"
        discards what is written when the machine ends
    :ivar propagate_errors: "on" reports a full image to the guest as an error, "report" reports every error;
        "off" pauses the machine
    :ivar cache: how QEMU caches; "writethrough" for a transient disk, whatever is given
    :ivar sgio: SCSI commands that the guest may send to a LUN
    :ivar discard: pass on what the guest discards
    :ivar address: ignored; libvirt chooses the address
    :ivar optional: start the machine without the medium if its image does not exist
    """

    device: Literal["disk", "cdrom", "floppy", "lun"] = "disk"
    path: OptionalPath | UnsetType = UNSET
    iface: Literal["virtio", "ide", "scsi", "sata", "fdc", "usb"] | UnsetType = UNSET
    index: LooseUint | UnsetType = UNSET
    format: Literal["raw", "cow", "qcow2"] = "raw"
    disk_type: Literal["file", "block"] | UnsetType = UNSET
    readonly: LooseBool = False
    shared: LooseBool | Literal["exclusive", "shared", "none", "transient"] = False
    propagate_errors: LooseBool | Literal["on", "off", "report"] = False
    cache: Literal["none", "writeback", "writethrough", "directsync", "unsafe", "default"] | UnsetType = UNSET
    serial: Word | UnsetType = UNSET
    boot_order: LooseUint | UnsetType = UNSET
    sgio: Literal["filtered", "unfiltered"] | UnsetType = UNSET
    discard: LooseBool = False
    optional: LooseBool = False
    alias: Word | UnsetType = UNSET
    name: Word | UnsetType = UNSET
    spec_params: DiskSpec = DiskSpec()
    pool_id: UUID | UnsetType = msgspec.field(name="poolID", default=UNSET)
    domain_id: UUID | UnsetType = msgspec.field(name="domainID", default=UNSET)
    image_id: UUID | UnsetType = msgspec.field(name="imageID", default=UNSET)
    volume_id: UUID | UnsetType = msgspec.field(name="volumeID", default=UNSET)
    guid: Word | UnsetType = msgspec.field(name="GUID", default=UNSET)
    uuid: Word | UnsetType = msgspec.field(name="UUID", default=UNSET)


class OldDrive(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A disk in `vmParams.drives`, as VDSM's command line sends it. Other members are ignored.

    :ivar if_: its bus; `iface` is the newer name
    :ivar boot: boot from it
    """

    if_: Literal["virtio", "ide", "scsi", "sata", "usb"] | UnsetType = msgspec.field(name="if", default=UNSET)
    iface: Literal["virtio", "ide", "scsi", "sata", "usb"] | UnsetType = UNSET
    index: LooseUint | UnsetType = UNSET
    path: OptionalPath | UnsetType = UNSET
    format: Literal["raw", "cow", "qcow2"] = "raw"
    boot: LooseBool = False
    boot_order: LooseUint | UnsetType = UNSET
    readonly: LooseBool = False
    shared: LooseBool | Literal["exclusive", "shared", "none", "transient"] = False
    propagate_errors: LooseBool | Literal["on", "off", "report"] = False
    cache: Literal["none", "writeback", "writethrough", "directsync", "unsafe", "default"] | UnsetType = UNSET
    serial: Word | UnsetType = UNSET
    pool_id: UUID | UnsetType = msgspec.field(name="poolID", default=UNSET)
    domain_id: UUID | UnsetType = msgspec.field(name="domainID", default=UNSET)
    image_id: UUID | UnsetType = msgspec.field(name="imageID", default=UNSET)
    volume_id: UUID | UnsetType = msgspec.field(name="volumeID", default=UNSET)
    guid: Word | UnsetType = msgspec.field(name="GUID", default=UNSET)
    uuid: Word | UnsetType = msgspec.field(name="UUID", default=UNSET)


class Bandwidth(msgspec.Struct, frozen=True, kw_only=True):
    """A limit of a NIC in one direction: `average` and `peak` in KiB/s, `burst` in KiB. Empty: no limit."""

    average: LooseUint | UnsetType = UNSET
    peak: LooseUint | UnsetType = UNSET
    burst: LooseUint | UnsetType = UNSET


class InterfaceSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of a NIC; of a virtual function, the VLAN tag of its frames."""

    inbound: Bandwidth | UnsetType = UNSET
    outbound: Bandwidth | UnsetType = UNSET
    vlan_id: LooseUint | UnsetType = msgspec.field(name="vlanid", default=UNSET)


class FilterParameter(msgspec.Struct, frozen=True, kw_only=True):
    """A variable of a network filter."""

    name: Filled
    value: Word


class Interface(Device, frozen=True, kw_only=True, tag="interface"):
    """A NIC on a bridge of the host (VDSM: the name of the network is that of its bridge; empty: unplugged).

    `device` "network" is a NIC on a libvirt network, "user" one on QEMU's user-mode network, "hostdev" a
    virtual function of the host, `hostdev` by libvirt's name. `mtu` is in bytes. With `portIsolated`, the
    bridge forwards nothing between this NIC and others that have it. `portMirroring` is refused. Of `custom`,
    `queues` (of virtio) and `sndbuf` (bytes) are applied.
    """

    device: Literal["bridge", "network", "user", "hostdev"] = "bridge"
    network: Word | UnsetType = UNSET
    mac_addr: Mac | UnsetType = UNSET
    nic_model: Literal[
        "virtio", "pv", "rtl8139", "e1000", "e1000e", "ne2k_pci", "pcnet", "i82551", "i82557b", "i82559er"
    ] = "virtio"
    link_active: LooseBool = True
    boot_order: LooseUint | UnsetType = UNSET
    filter: Word | UnsetType = UNSET
    filter_parameters: Annotated[list[FilterParameter], Meta(max_length=256)] = []
    port_mirroring: Annotated[list[Word], Meta(max_length=64)] = []
    mtu: LooseUint | UnsetType = UNSET
    port_isolated: LooseBool | UnsetType = UNSET
    hostdev: NodeDeviceName | UnsetType = UNSET
    spec_params: InterfaceSpec = InterfaceSpec()


class GraphicsSpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Properties of a display."""

    key_map: KeyMap | UnsetType = UNSET
    display_ip: Word | UnsetType = UNSET
    spice_secure_channels: Word | UnsetType = UNSET
    copy_paste_enable: LooseBool = True
    file_transfer_enable: LooseBool = True


class Graphics(Device, frozen=True, kw_only=True, tag="graphics"):
    """A display server. It listens on the host's loopback unless `specParams.displayIp` is given."""

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
    """A controller to which other devices are attached."""

    device: Literal["ccid", "fdc", "ide", "sata", "scsi", "usb", "virtio-serial"]
    model: Annotated[str, Meta(pattern=r"^[A-Za-z0-9-]+$", max_length=64)] | UnsetType = UNSET
    index: LooseUint | UnsetType = UNSET
    spec_params: ControllerSpec = ControllerSpec()


class BalloonSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Model of the balloon; "none": no balloon."""

    model: Literal["virtio", "none"] = "virtio"


class Balloon(Device, frozen=True, kw_only=True, tag="balloon"):
    """The memory balloon. A machine has one by default."""

    device: Literal["memballoon"] = "memballoon"
    spec_params: BalloonSpec = BalloonSpec()


class ChannelSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Socket of a channel on the host."""

    path: AbsolutePath | UnsetType = UNSET


class Channel(Device, frozen=True, kw_only=True, tag="channel"):
    """A channel to a program in the guest. A machine always has the channel of the guest agent."""

    device: Literal["unix", "spicevmc"] = "unix"
    name: SocketName | UnsetType = UNSET
    spec_params: ChannelSpec = ChannelSpec()


class ConsoleSpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Properties of a console. `path` is that of the socket, if `enableSocket` is set."""

    console_type: Literal["serial", "virtio"] = "virtio"
    enable_socket: LooseBool = False
    path: AbsolutePath | UnsetType = UNSET


class Console(Device, frozen=True, kw_only=True, tag="console"):
    """A text console: a pseudo terminal of the host, or a socket."""

    device: Literal["console"] = "console"
    spec_params: ConsoleSpec = ConsoleSpec()


class WatchdogSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Model of a watchdog, and its action on a timeout."""

    model: Literal["i6300esb", "ib700", "IB700"] = "i6300esb"
    action: Literal["none", "reset", "shutdown", "poweroff", "pause", "dump", "inject-nmi"] = "none"


class Watchdog(Device, frozen=True, kw_only=True, tag="watchdog"):
    """A watchdog device."""

    device: Literal["watchdog"] = "watchdog"
    spec_params: WatchdogSpec = WatchdogSpec()


class RngSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Source of random numbers, and its limit: `bytes` in each `period` of milliseconds."""

    source: Literal["random", "urandom", "hwrng"] = "urandom"
    bytes: LooseUint | UnsetType = UNSET
    period: LooseInt | UnsetType = UNSET


class Rng(Device, frozen=True, kw_only=True, tag="rng"):
    """A source of random numbers."""

    device: Literal["virtio"] = "virtio"
    spec_params: RngSpec = RngSpec()


class SmartcardSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Backend of a reader: "host" is a reader of the host, "passthrough" that of the viewer."""

    mode: Literal["host", "passthrough"] = "passthrough"


class Smartcard(Device, frozen=True, kw_only=True, tag="smartcard"):
    """A smartcard reader."""

    device: Literal["smartcard"] = "smartcard"
    spec_params: SmartcardSpec = SmartcardSpec()


class Redir(Device, frozen=True, kw_only=True, tag="redir"):
    """A USB port to which the viewer's devices are redirected."""

    device: Literal["spicevmc"] = "spicevmc"


class Memory(Device, frozen=True, kw_only=True, tag="memory"):
    """A module of memory: `size` in MiB beside `memSize`, `node` the NUMA cell of the guest."""

    device: Literal["memory"] = "memory"
    size: LooseUint
    node: LooseUint = 0


class TpmSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Model of a TPM, and the device of the host that it is."""

    mode: Literal["passthrough"] = "passthrough"
    path: AbsolutePath = "/dev/tpm0"
    model: Literal["tpm-tis"] = "tpm-tis"


class Tpm(Device, frozen=True, kw_only=True, tag="tpm"):
    """The TPM of the host."""

    device: Literal["tpm"] = "tpm"
    spec_params: TpmSpec = TpmSpec()


class HostDevice(Device, frozen=True, kw_only=True, tag="hostdev"):
    """A device of the host. `device` is libvirt's name of it, as `Host.hostdevListByCaps` lists it."""

    device: NodeDeviceName
    boot_order: LooseUint | UnsetType = UNSET


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
    | Redir
    | Memory
    | Tpm
    | HostDevice
)
