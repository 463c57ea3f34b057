"""VDSM's older way to name devices: `hda`, `cdrom`, `display`, `macAddr` and similar members, as devices."""

from __future__ import annotations

import re
from typing import Any, Final, cast

from msgspec import UNSET, UnsetType

from vdsm_core.errors import InvalidArgument
from vdsm_virt.api.devices import (
    AnyDevice,
    Balloon,
    Disk,
    DiskSpec,
    Graphics,
    GraphicsSpec,
    Interface,
    OldDrive,
    Payload,
    Smartcard,
    Sound,
    Video,
)
from vdsm_virt.api.params import KnownVmParams
from vdsm_virt.api.scalars import given, truth

_MAC: Final = re.compile(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}")
#: The bridge of NICs of which only the MAC addresses are given: VDSM's `default_bridge`.
_DEFAULT_BRIDGE: Final = "ovirtmgmt"
_MODELS: Final = ("virtio", "pv", "rtl8139", "e1000", "ne2k_pci", "pcnet", "i82551", "i82557b", "i82559er")


#: Members of `OldDrive` that `Disk` has in another form.
_OWN: Final = ("if_", "iface", "boot", "boot_order")

#: A device, and the member of the request that it is from.
Placed = tuple[str, AnyDevice]


def devices(params: KnownVmParams) -> list[Placed]:
    """Return the devices of a machine: those it lists, or those of its old-style members.

    :raises InvalidArgument: a list in a member's text cannot be understood
    """
    if not isinstance(params.devices, UnsetType):
        listed: list[Placed] = [
            (f"vmParams.devices[{index}]", device) for index, device in enumerate(params.devices)
        ]
        return [*listed, *_sysprep(params), *_display(params, params.devices)]
    found: list[Placed] = [
        *_disks(params),
        *_drives(params),
        *_sysprep(params),
        *_nics(params),
        *_display(params, []),
    ]
    if not isinstance(params.sound_device, UnsetType):
        found.append(("vmParams.soundDevice", Sound(device=params.sound_device)))
    if truth(params.smartcard_enable, False):
        found.append(("vmParams.smartcardEnable", Smartcard()))
    return found


def with_defaults(found: list[Placed]) -> list[Placed]:
    """Return devices with the balloon that each machine has."""
    if any(isinstance(device, Balloon) for _, device in found):
        return found
    return [*found, ("vmParams", Balloon())]


def _disks(params: KnownVmParams) -> list[Placed]:
    drives = {"hda": params.hda, "hdb": params.hdb, "hdc": params.hdc, "hdd": params.hdd}
    disks: list[Placed] = [
        (f"vmParams.{name}", Disk(path=path, iface="ide", index=index))
        for index, (name, path) in enumerate(drives.items())
        if not isinstance(path, UnsetType)
    ]
    if not isinstance(params.cdrom, UnsetType):
        # Third place of the IDE bus, as VDSM had it, unless a disk is there.
        taken = not isinstance(params.hdc, UnsetType)
        drive = Disk(device="cdrom", path=params.cdrom, iface="ide", index=UNSET if taken else 2)
        disks.append(("vmParams.cdrom", drive))
    if not isinstance(params.floppy, UnsetType):
        disks.append(("vmParams.floppy", Disk(device="floppy", path=params.floppy)))
    return disks


def _drives(params: KnownVmParams) -> list[Placed]:
    """Return the disks that VDSM's command line sends: `drive=pool:...,domain:...,image:...,volume:...`."""
    found: list[Placed] = []
    for index, drive in enumerate(params.drives):
        members = {name: getattr(drive, name) for name in OldDrive.__struct_fields__ if name not in _OWN}
        iface = drive.if_ if isinstance(drive.iface, UnsetType) else drive.iface
        order: Any = index + 1 if truth(drive.boot, False) else drive.boot_order
        disk = Disk(**{**members, "iface": iface, "boot_order": order})
        found.append((f"vmParams.drives[{index}]", disk))
    return found


def _sysprep(params: KnownVmParams) -> list[Placed]:
    """Return the floppy with the answers for the first start of Windows."""
    if isinstance(params.sysprep_inf, UnsetType):
        return []
    payload = Payload(file={"sysprep.inf": params.sysprep_inf})
    floppy = Disk(device="floppy", spec_params=DiskSpec(vm_payload=payload))
    return [("vmParams.sysprepInf", floppy)]


def _nics(params: KnownVmParams) -> list[Placed]:
    bridges = _words(params.bridge)
    macs, models = _words(params.mac_addr), _words(params.nic_model)
    for position, mac in enumerate(macs):
        if not _MAC.fullmatch(mac):
            raise InvalidArgument(
                argument="vmParams.macAddr", reason=f"'{mac}' (number {position + 1}) is no MAC"
            )
    for model in models:
        if model not in _MODELS:
            raise InvalidArgument(argument="vmParams.nicModel", reason=f"'{model}' is none of {_MODELS}")
    if macs and not bridges:
        bridges = [_DEFAULT_BRIDGE]
    count = max(len(macs), len(bridges))
    nics = [
        Interface(
            network=bridges[min(index, len(bridges) - 1)],
            mac_addr=macs[index] if index < len(macs) else UNSET,
            nic_model=cast("Any", models[min(index, len(models) - 1)]) if models else "virtio",
        )
        for index in range(count)
    ]
    return [("vmParams.bridge", nic) for nic in nics]


def _display(params: KnownVmParams, listed: list[AnyDevice]) -> list[Placed]:
    """Return what `display` stands for: a server and a card, each unless it is listed."""
    display = given(params.display, "local")
    if display == "local":
        return []
    found: list[Placed] = []
    if not any(isinstance(device, Graphics) for device in listed):
        options = GraphicsSpec(
            key_map=params.keyboard_layout,
            display_ip=params.display_ip,
            spice_secure_channels=params.spice_secure_channels,
        )
        server = Graphics(device="vnc" if display == "vnc" else "spice", spec_params=options)
        found.append(("vmParams.display", server))
    if not any(isinstance(device, Video) for device in listed):
        found.append(("vmParams.display", Video(device="cirrus" if display == "vnc" else "qxl")))
    return found


def _words(text: str | UnsetType) -> list[str]:
    return [word.strip() for word in given(text, "").split(",") if word.strip()]
