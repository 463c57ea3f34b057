"""The id of this host for engines."""

from __future__ import annotations

import re
import uuid
from typing import Final

from msgspec import UNSET, UnsetType

from vdsm_core.types import UUID_PATTERN
from vdsm_virt.host.system.libvirt_config import setting
from vdsm_virt.host.tree import Tree

#: Where VDSM's deployment stores an id that was chosen for the host.
_CHOSEN: Final = "etc/vdsm/vdsm.id"
#: libvirt's own daemons, the one and the many, take an id from these.
_LIBVIRT_CONFIGS: Final = ("etc/libvirt/libvirtd.conf", "etc/libvirt/virtqemud.conf")
#: Name space of the ids derived from a machine-id; drawn at random for this purpose.
_MACHINE_ID_SPACE: Final = uuid.UUID("5b0d2a1e-6f0c-4f0e-9d58-2f4f1c6d7a10")
#: What firmware of careless vendors holds instead of an id: all digits alike.
_PLACEHOLDER = re.compile(r"^([0-9a-fA-F])\1*$")


def host_uuid(tree: Tree, libvirt_uuid: str | None) -> str | UnsetType:
    """Return the host's id, which is the same after a reboot; absent when nothing on the host gives one.

    The first of these that is there:

    1. `/etc/vdsm/vdsm.id`, an id that was chosen;
    2. libvirt's host id, if its configuration sets `host_uuid`: a choice as well;
    3. the firmware's id, unless it is a placeholder of one repeated digit;
    4. an id derived (RFC 9562, version 5) from `/etc/machine-id`, which systemd asks not to show;
    5. libvirt's host id, the last resort: without the firmware's id it differs at each start.
    """
    candidates = (
        tree.text(_CHOSEN),
        libvirt_uuid if _libvirt_is_told(tree) else None,
        tree.text("sys/class/dmi/id/product_uuid"),
        _derived(tree),
        libvirt_uuid,
    )
    return next((text.lower() for text in candidates if text and _is_id(text)), UNSET)


def _libvirt_is_told(tree: Tree) -> bool:
    return any(setting(tree, config, "host_uuid") is not None for config in _LIBVIRT_CONFIGS)


def _derived(tree: Tree) -> str | None:
    machine_id = tree.text("etc/machine-id")
    return str(uuid.uuid5(_MACHINE_ID_SPACE, machine_id)) if machine_id else None


def _is_id(text: str) -> bool:
    return bool(re.match(UUID_PATTERN, text)) and not _PLACEHOLDER.match(text.replace("-", ""))
