"""Identity of the machine from the firmware (DMI)."""

from __future__ import annotations

import msgspec
from msgspec import UNSET, UnsetType

from vdsm_core.types import Record
from vdsm_virt.host.tree import Tree

_DMI = "sys/class/dmi/id"


class HardwareInformation(Record, frozen=True, kw_only=True):
    """DMI identity of the host. Members that the firmware does not report are absent."""

    system_manufacturer: str | UnsetType = UNSET
    system_product_name: str | UnsetType = UNSET
    system_version: str | UnsetType = UNSET
    system_serial_number: str | UnsetType = UNSET
    system_uuid: str | UnsetType = msgspec.field(default=UNSET, name="systemUUID")
    system_family: str | UnsetType = UNSET


def hardware(tree: Tree) -> HardwareInformation:
    """Return what DMI has. Serial number and UUID are readable by root only; they are absent otherwise."""

    def fact(name: str) -> str | UnsetType:
        return tree.text(f"{_DMI}/{name}") or UNSET

    return HardwareInformation(
        system_manufacturer=fact("sys_vendor"),
        system_product_name=fact("product_name"),
        system_version=fact("product_version"),
        system_serial_number=fact("product_serial"),
        system_uuid=fact("product_uuid"),
        system_family=fact("product_family"),
    )
