"""The user as whom libvirt's system daemon runs emulators, and what that user may open.

A device that root can open may be closed to them: then libvirt offers KVM, and no guest can use it.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import Final

from vdsm_core.config import is_service
from vdsm_virt.host.system.libvirt_config import setting
from vdsm_virt.host.tree import Tree

#: What distributions build libvirt with: Debian's name, and that of Fedora and its kin.
_DEFAULT_USERS: Final = ("libvirt-qemu", "qemu")
_CONFIG: Final = "etc/libvirt/qemu.conf"


@dataclass(frozen=True)
class EmulatorUser:
    uid: int
    gids: frozenset[int]


def emulator_user(tree: Tree) -> EmulatorUser | None:
    """Return the user that `qemu.conf` names, or else the distribution's; None when the host has neither."""
    chosen = (setting(tree, _CONFIG, "user") or "").strip('"').removeprefix("+")
    if chosen in {"root", "0"}:
        return EmulatorUser(0, frozenset({0}))
    accounts = {row[0]: row for row in (line.split(":") for line in tree.lines("etc/passwd")) if len(row) > 3}
    by_uid = {row[2]: row for row in accounts.values()}
    candidates = (chosen,) if chosen else _DEFAULT_USERS
    found = (accounts.get(name) or by_uid.get(name) for name in candidates)
    account = next((row for row in found if row is not None), None)
    if account is None:
        return None
    return EmulatorUser(int(account[2]), frozenset({int(account[3]), *_supplementary(tree, account[0])}))


def may_open(tree: Tree, path: str) -> bool:
    """Return whether emulators can read and write a file, by its owner, group and mode; no access lists.

    A daemon that is neither root nor a service uses libvirt's session daemon, which runs emulators as the
    same user: then, and on a host without such a user, this is no evidence against it.
    """
    try:
        status = (tree.root / path).stat()
    except OSError:
        return False
    user = emulator_user(tree)
    if user is None or user.uid == 0 or not (os.geteuid() == 0 or is_service()):
        return True
    if user.uid == status.st_uid:
        wanted = stat.S_IRUSR | stat.S_IWUSR
    elif status.st_gid in user.gids:
        wanted = stat.S_IRGRP | stat.S_IWGRP
    else:
        wanted = stat.S_IROTH | stat.S_IWOTH
    return status.st_mode & wanted == wanted


def _supplementary(tree: Tree, name: str) -> list[int]:
    rows = (line.split(":") for line in tree.lines("etc/group"))
    return [int(row[2]) for row in rows if len(row) > 3 and name in row[3].split(",")]
