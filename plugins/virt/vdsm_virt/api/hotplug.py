"""Parameters of the verbs that plug devices of running machines in and out, and change them.

Members that are not known are ignored, as in VDSM.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from vdsm_core.secret import Secret
from vdsm_core.types import UUID
from vdsm_virt.api.devices import FilterParameter, HostDevice, Interface, InterfaceSpec, Memory
from vdsm_virt.api.scalars import Filled, LooseBool, LooseInt, LooseUint, Prose, Word

#: Characters of a document of one device.
MAX_DOCUMENT = 262_144
#: VDSM's form of 4.2 and later: any root, with `devices`, which has one device, and `metadata` of oVirt.
DeviceDocument = Annotated[str, Meta(min_length=1, max_length=MAX_DOCUMENT)]


class DisplayPassword(Secret, max_length=60):
    """A password of a display: at most 8 bytes for VNC, 60 for SPICE."""


class HotplugNicParams(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A NIC: `nic` in VDSM's form up to 4.1, or `xml`. To unplug, `nic` needs its MAC or `deviceId`."""

    vm_id: UUID | UnsetType = UNSET
    nic: Interface | UnsetType = UNSET
    xml: DeviceDocument | UnsetType = UNSET


class HotplugMemoryParams(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A module of memory: `memory` in VDSM's form up to 4.1, or `xml`.

    `memGuaranteedSize` (MiB) becomes the guaranteed memory of the machine.
    """

    vm_id: UUID | UnsetType = UNSET
    memory: Memory | UnsetType = UNSET
    xml: DeviceDocument | UnsetType = UNSET
    mem_guaranteed_size: LooseUint | UnsetType = UNSET


#: A device of the host: a document, libvirt's name of the device, or VDSM's struct.
HostDeviceSpec = Annotated[str, Meta(min_length=1, max_length=MAX_DOCUMENT)] | HostDevice


class UpdateDeviceParams(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A change of a NIC or of a display, by `deviceType`; or of the NIC in `xml`.

    Of a NIC, named by its `alias`: the members that are given are changed. `network` is the bridge, empty
    unplugs the NIC; `mtu` is in bytes; an empty `filter` removes the filter; empty limits in `specParams`
    remove a limit; `custom` are for the hooks. Of a display, named by `graphicsType`: its password, and the
    seconds for which it is valid (`ttl`, 0 is forever).
    """

    device_type: Filled | UnsetType = UNSET
    xml: DeviceDocument | UnsetType = UNSET
    alias: Filled | UnsetType = UNSET
    link_active: LooseBool | UnsetType = UNSET
    network: Word | UnsetType = UNSET
    mtu: LooseUint | UnsetType = UNSET
    filter: Word | UnsetType = UNSET
    filter_parameters: Annotated[list[FilterParameter], Meta(max_length=256)] = []
    port_mirroring: Annotated[list[Word], Meta(max_length=64)] = []
    port_isolated: LooseBool | UnsetType = UNSET
    custom: Annotated[dict[Prose, Prose], Meta(max_length=64)] = {}
    spec_params: InterfaceSpec = InterfaceSpec()
    graphics_type: Literal["vnc", "spice"] | UnsetType = UNSET
    password: DisplayPassword | UnsetType = UNSET
    ttl: LooseInt | UnsetType = UNSET
    existing_conn_action: Literal["disconnect", "keep", "fail"] | UnsetType = UNSET
    disconnect_action: Word | UnsetType = UNSET
    console_disconnect_action_delay: LooseUint | UnsetType = UNSET
    params: Annotated[dict[Word, Word], Meta(max_length=16)] = {}
