"""The members of open dictionaries that are stored with a machine and shown to every role.

They are a list, not a guess at what looks like a secret: libvirt's read-only socket shows the metadata of
machines to local users, and the state store holds replies for days.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

import msgspec

from vdsm_core.types import TypeMismatch, convert
from vdsm_virt.api.scalars import LooseBool, LooseInt, LooseUint, patterned

_Name = Annotated[str, patterned(r"^[A-Za-z0-9_.-]*$", "a name", maximum=64)]
_Addresses = Annotated[str, patterned(r"^[0-9A-Fa-f:., ]*$", "addresses", maximum=1024)]

#: Members of VDSM's `vmParams` that mean nothing here, and the shape in which each is kept.
KEPT: Final[Mapping[str, Any]] = {
    "nice": LooseInt,
    "transparentHugePages": LooseBool,
    "spiceMonitors": LooseUint,
    "displayNetwork": _Name,
    "displayPort": LooseInt,
    "displaySecurePort": LooseInt,
    "tdf": LooseBool,
    "guestIPs": _Addresses,
    "clientIp": _Addresses,
    "serial": _Name,
    "copyPasteEnable": LooseBool,
    "fileTransferEnable": LooseBool,
    "volatileFloppy": LooseBool,
    "elapsedTimeOffset": LooseUint,
}


def kept_members(unknown: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members of `vmParams` that are kept: those of `KEPT`, if they have its shape."""
    kept = {}
    for name, shape in KEPT.items():
        if name in unknown:
            try:
                kept[name] = msgspec.to_builtins(convert(unknown[name], shape))
            except TypeMismatch:
                continue
    return kept


def kept_custom(custom: Mapping[str, str], patterns: Sequence[str]) -> dict[str, str]:
    """Return the custom properties whose names match one of some shell patterns."""
    return {
        name: value
        for name, value in custom.items()
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
    }


def kept_device_custom(
    devices: Mapping[str, Mapping[str, str]], patterns: Sequence[str]
) -> dict[str, dict[str, str]]:
    """Return the custom properties of devices that are kept, without devices that have none of them."""
    kept = {key: kept_custom(custom, patterns) for key, custom in devices.items()}
    return {key: custom for key, custom in kept.items() if custom}
