"""The QEMU processes of machines, as the kernel lists them."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Final

#: Where libvirt's QEMU driver keeps the process ids of the machines it runs.
_PID_FILES: Final = "run/libvirt/qemu"
#: Seconds for which a list of processes is used for the next machine that is looked up.
_LOOK: Final = 1.0
#: Ticks in a second of the kernel's times of processes.
_TICKS: Final = os.sysconf("SC_CLK_TCK")
#: Place of the start time among the members of /proc/PID/stat that follow the name: proc(5), member 22.
_STARTTIME: Final = 19


class QemuProcesses:
    """Finds the process of a machine: by libvirt's file, or by its id among the arguments of all processes.

    Another libvirtd's folder, or one that this daemon may not read, has no file for it.

    :param root: where the host's files are
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lock = threading.Lock()
        self._listed = float("-inf")
        self._by_id: dict[str, int] = {}

    def pid(self, vm_id: str, name: str) -> int:
        """Return the process id of a machine that runs; 0 if the kernel lists no such process."""
        try:
            number = int((self._root / _PID_FILES / f"{name}.pid").read_text())
        except (OSError, ValueError):
            return self._search(vm_id)
        return number if _vm_id(self._root / "proc" / str(number)) == vm_id else self._search(vm_id)

    def started(self, pid: int) -> float:
        """Return when a process was started, in seconds since 1970; 0 if there is none."""
        if not pid:
            return 0.0
        try:
            stat = (self._root / "proc" / str(pid) / "stat").read_text()
            uptime = float((self._root / "proc/uptime").read_text().split()[0])
            ticks = int(stat.rpartition(")")[2].split()[_STARTTIME])
        except (OSError, ValueError, IndexError):
            return 0.0
        return time.time() - uptime + ticks / _TICKS

    def _search(self, vm_id: str) -> int:
        with self._lock:
            now = time.monotonic()
            known = self._by_id.get(vm_id, 0)
            if known and _vm_id(self._root / "proc" / str(known)) == vm_id:
                return known
            if now - self._listed > _LOOK:
                self._by_id, self._listed = self._list(), now
            return self._by_id.get(vm_id, 0)

    def _list(self) -> dict[str, int]:
        try:
            entries = [entry for entry in (self._root / "proc").iterdir() if entry.name.isdigit()]
        except OSError:
            return {}
        found = ((_vm_id(entry), int(entry.name)) for entry in entries)
        return {vm_id: number for vm_id, number in found if vm_id}


def _vm_id(process: Path) -> str:
    """Return the id of the machine that a process runs; empty if it runs none."""
    try:
        arguments = (process / "cmdline").read_bytes().split(b"\0")
        return arguments[arguments.index(b"-uuid") + 1].decode("ascii", "replace").lower()
    except (OSError, ValueError, IndexError):
        return ""
