"""Scratch volumes of backups, and the folder of the sockets that backups are read from."""

from __future__ import annotations

import contextlib
import logging
import os
import pwd
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final

from vdsm_virt.host.system.emulator_user import EmulatorUser

log = logging.getLogger(__name__)

#: Seconds for qemu-img to create an empty volume.
_CREATE: Final = 30.0
#: Bytes that the path of a unix socket may have (sun_path of unix(7), less the final zero).
_SOCKET_PATH: Final = 107


class Scratch:
    """Creates and removes the files that a backup needs beside its volumes.

    :param transient: folder of volumes that are thrown away, as VDSM's `transient_disks`
    :param sockets: folder of the NBD sockets
    :param emulator: returns the user of the emulators, who creates the sockets
    """

    def __init__(self, transient: Path, sockets: Path, emulator: Callable[[], EmulatorUser | None]) -> None:
        self._transient = transient
        self._sockets = sockets
        self._emulator = emulator

    def socket(self, backup_id: str) -> str:
        """Return the path of a backup's socket."""
        return str(self._sockets / backup_id)

    def path(self, vm_id: str, name: str) -> Path:
        """Return the path of a volume that is thrown away."""
        return self._transient / vm_id / name

    def open_folder(self, backup_id: str) -> None:
        """Have the emulators' user able to create the socket of a backup.

        :raises OSError: the folder cannot be made
        :raises ValueError: its path is too long
        """
        if len(os.fsencode(self.socket(backup_id))) > _SOCKET_PATH:
            raise ValueError(f"the path {self.socket(backup_id)} is too long for a socket")
        self._sockets.mkdir(mode=0o770, parents=True, exist_ok=True)
        user = self._emulator()
        if user is None or user.uid == os.geteuid():
            return
        try:
            os.chown(self._sockets, -1, pwd.getpwuid(user.uid).pw_gid)
            self._sockets.chmod(0o2770)
        except (OSError, KeyError) as error:
            log.warning("Emulators may not be able to create sockets in %s: %s", self._sockets, error)

    def create(self, vm_id: str, name: str, size: int) -> Path:
        """Create an empty volume, in place of one of this name.

        :param size: bytes
        :raises OSError: it cannot be written, or qemu-img is not installed
        :raises ValueError: qemu-img refuses
        """
        path = self.path(vm_id, name)
        path.parent.mkdir(mode=0o770, parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        command = ["qemu-img", "create", "-q", "-f", "qcow2", str(path), str(size)]
        done = subprocess.run(  # noqa: S603 - a fixed program, and a path of ours
            command, capture_output=True, text=True, timeout=_CREATE, check=False
        )
        if done.returncode:
            raise ValueError(f"qemu-img: {done.stderr.strip()}")
        path.chmod(0o660)
        return path

    def remove(self, vm_id: str, backup_id: str) -> None:
        """Remove everything of a backup; what is not there is no error."""
        folder = self._transient / vm_id
        for path in folder.glob(f"{backup_id}.*"):
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # others are in it, or it is not there
            folder.rmdir()
        Path(self.socket(backup_id)).unlink(missing_ok=True)
