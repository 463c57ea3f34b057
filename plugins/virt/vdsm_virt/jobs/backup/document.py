"""libvirt's documents of backups and checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from xml.etree.ElementTree import Element

import msgspec

from vdsm_virt.domain.elements import add, parse, to_text

#: Elements of a checkpoint's document that are passed on to libvirt, below its root and below a disk list.
_CHECKPOINT: Final = ("name", "description", "creationTime")
_DISK: Final = ("name", "checkpoint", "bitmap", "size")


class DiskBackup(msgspec.Struct, frozen=True, kw_only=True):
    """One disk of a backup.

    :ivar target: libvirt's name of the disk, which is also the name of its NBD export
    :ivar image_id: key of the disk in results
    :ivar checkpoint: whether its changes are recorded from this backup on
    :ivar mode: "full", "incremental", or empty: libvirt decides by the backup
    :ivar scratch: path of the volume for old contents
    :ivar scratch_kind: "file" or "block"
    :ivar capacity: bytes that the guest sees
    """

    target: str
    image_id: str
    checkpoint: bool = False
    mode: str = ""
    scratch: str = ""
    scratch_kind: str = "file"
    capacity: int = 0


def backup(disks: Sequence[DiskBackup], socket: str, since: str) -> str:
    """Return the document of a backup in pull mode.

    :param socket: path of the NBD server's unix socket
    :param since: checkpoint whose changes are backed up; empty for everything
    """
    root = Element("domainbackup", mode="pull")
    if since:
        add(root, "incremental", since)
    add(root, "server", transport="unix", socket=socket)
    parent = add(root, "disks")
    for disk in disks:
        incremental = disk.mode == "incremental" or (not disk.mode and bool(since))
        element = add(
            parent,
            "disk",
            name=disk.target,
            type=disk.scratch_kind,
            backup="yes",
            backupmode=disk.mode or None,
            incremental=since if incremental else None,
        )
        add(element, "driver", type="qcow2")
        add(element, "scratch", **{"dev" if disk.scratch_kind == "block" else "file": disk.scratch})
    return to_text(root)


def checkpoint(
    name: str, disks: Sequence[DiskBackup], *, parent: str = "", created: int | None = None
) -> str | None:
    """Return the document of a checkpoint; None if it records the changes of no disk.

    :param parent: the checkpoint before it; libvirt needs that only for one that is defined again
    :param created: Unix time in seconds, likewise
    """
    recorded = [disk for disk in disks if disk.checkpoint]
    if not name or not recorded:
        return None
    root = Element("domaincheckpoint")
    add(root, "name", name)
    if created is not None:
        add(root, "creationTime", created)
    if parent:
        add(add(root, "parent"), "name", parent)
    listed = add(root, "disks")
    for disk in recorded:
        add(listed, "disk", name=disk.target, checkpoint="bitmap", bitmap=name)
    return to_text(root)


def clean_checkpoint(text: str, name: str) -> str:
    """Return a client's document of a checkpoint, reduced to what it may say.

    :raises ValueError: it is no document of this checkpoint
    """
    root = parse(text)
    if root.tag != "domaincheckpoint":
        raise ValueError(f"its root is '{root.tag}', expected 'domaincheckpoint'")
    if root.findtext("name") != name:
        raise ValueError(f"it is about checkpoint '{root.findtext('name')}', expected '{name}'")
    clean = Element("domaincheckpoint")
    for tag in _CHECKPOINT:
        if found := root.findtext(tag):
            add(clean, tag, found)
    if before := root.findtext("parent/name"):
        add(add(clean, "parent"), "name", before)
    disks = add(clean, "disks")
    for disk in root.iterfind("disks/disk"):
        add(disks, "disk", **{key: value for key, value in disk.attrib.items() if key in _DISK})
    return to_text(clean)
