"""libvirt's document of a snapshot."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from xml.etree.ElementTree import Element

import msgspec

from vdsm_virt.domain.elements import add, to_text


class NewVolume(msgspec.Struct, frozen=True):
    """The volume that a disk writes to after a snapshot.

    :ivar path: of the file or device
    :ivar kind: "file" or "block"
    """

    path: str
    kind: str = "file"


def snapshot(volumes: Mapping[str, NewVolume], others: Iterable[str], memory: str) -> str:
    """Return the document.

    :param volumes: the new volumes by the name of their disk; they exist, as qcow2
    :param others: names of the disks that are not in the snapshot
    :param memory: path of the file for the memory; empty for none
    """
    root = Element("domainsnapshot")
    add(root, "memory", snapshot="external" if memory else "no", file=memory or None)
    disks = add(root, "disks")
    for name, volume in volumes.items():
        disk = add(disks, "disk", name=name, snapshot="external", type=volume.kind)
        add(disk, "driver", type="qcow2")
        add(disk, "source", **{"dev" if volume.kind == "block" else "file": volume.path})
    for name in others:
        add(disks, "disk", name=name, snapshot="no")
    return to_text(root)
