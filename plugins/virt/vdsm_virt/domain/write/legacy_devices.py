"""VDSM's older way to name devices: `hda`, `cdrom`, `display`, `macAddr` and their kin, as devices."""

from __future__ import annotations

import re
from typing import Any, Final, cast

from msgspec import UNSET, UnsetType

from vdsm_core.errors import InvalidArgument
from vdsm_virt.api.devices import (
    AnyDevice,
    Balloon,
    Disk,
    Graphics,
    GraphicsSpec,
    Interface,
    Smartcard,
    Sound,
    Video,
)
from vdsm_virt.api.params import KnownVmParams
from vdsm_virt.api.scalars import given, truth

_MAC: Final = re.compile(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}")
_MODELS: Final = ("virtio", "pv", "rtl8139", "e1000", "ne2k_pci", "pcnet", "i82551", "i82557b", "i82559er")


def devices(params: KnownVmParams) -> list[AnyDevice]:
    """The devices of a machine: those it lists, or what its old-style members say.

    :raises InvalidArgument: a list in a member's text cannot be understood
    """
    if not isinstance(params.devices, UnsetType):
        return [*params.devices, *_display(params, params.devices)]
    found: list[AnyDevice] = [*_disks(params), *_nics(params), *_display(params, [])]
    if not isinstance(params.sound_device, UnsetType):
        found.append(Sound(device=params.sound_device))
    if truth(params.smartcard_enable, False):
        found.append(Smartcard())
    return found


def with_defaults(found: list[AnyDevice]) -> list[AnyDevice]:
    """The same, with the balloon that each machine has."""
    return found if any(isinstance(device, Balloon) for device in found) else [*found, Balloon()]


def _disks(params: KnownVmParams) -> list[Disk]:
    drives = (params.hda, params.hdb, params.hdc, params.hdd)
    disks = [
        Disk(path=path, iface="ide", index=index)
        for index, path in enumerate(drives)
        if not isinstance(path, UnsetType)
    ]
    if not isinstance(params.cdrom, UnsetType):
        # Third place of the IDE bus, as VDSM had it, unless a disk is there.
        taken = not isinstance(params.hdc, UnsetType)
        disks.append(Disk(device="cdrom", path=params.cdrom, iface="ide", index=UNSET if taken else 2))
    if not isinstance(params.floppy, UnsetType):
        disks.append(Disk(device="floppy", path=params.floppy))
    return disks


def _nics(params: KnownVmParams) -> list[Interface]:
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
        raise InvalidArgument(argument="vmParams.bridge", reason="NICs need a bridge")
    count = max(len(macs), len(bridges))
    return [
        Interface(
            network=bridges[min(index, len(bridges) - 1)],
            mac_addr=macs[index] if index < len(macs) else UNSET,
            nic_model=cast("Any", models[min(index, len(models) - 1)]) if models else "virtio",
        )
        for index in range(count)
    ]


def _display(params: KnownVmParams, listed: list[AnyDevice]) -> list[AnyDevice]:
    """What `display` asks for: a server and a card, each unless it is listed."""
    display = given(params.display, "local")
    if display == "local":
        return []
    found: list[AnyDevice] = []
    if not any(isinstance(device, Graphics) for device in listed):
        options = GraphicsSpec(
            key_map=params.keyboard_layout,
            display_ip=params.display_ip,
            spice_secure_channels=params.spice_secure_channels,
        )
        found.append(Graphics(device="vnc" if display == "vnc" else "spice", spec_params=options))
    if not any(isinstance(device, Video) for device in listed):
        found.append(Video(device="cirrus" if display == "vnc" else "qxl"))
    return found


def _words(text: str | UnsetType) -> list[str]:
    return [word.strip() for word in given(text, "").split(",") if word.strip()]
