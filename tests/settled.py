"""What a test has left behind: threads, child processes, listening sockets."""

from __future__ import annotations

import threading
import time
from collections.abc import Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

#: libvirt has one event loop for each process, and no way to take it away again.
LASTING_THREADS = frozenset({"libvirt-events"})

_LISTEN = "0A"  # TCP_LISTEN in /proc/net/tcp (include/net/tcp_states.h)
_ACCEPTS = 0x10000  # __SO_ACCEPTCON in /proc/net/unix (include/uapi/linux/net.h)


@dataclass(frozen=True)
class Held:
    """What this process holds at one moment."""

    threads: Set[str] = field(default_factory=frozenset)
    children: Set[str] = field(default_factory=frozenset)
    listening: Set[str] = field(default_factory=frozenset)

    @classmethod
    def now(cls) -> Self:
        """Look."""
        return cls(_threads(), _children(), _listening())

    def left_since(self, grace: float = 2.0) -> dict[str, list[str]]:
        """What has come and not gone since this moment, once `grace` seconds for ending are over."""
        deadline = time.monotonic() + grace
        while left := Held.now()._without(self):
            if time.monotonic() > deadline:
                return left
            time.sleep(0.01)
        return {}

    def _without(self, before: Held) -> dict[str, list[str]]:
        kinds = {
            "threads": self.threads - before.threads,
            "child processes": self.children - before.children,
            "listening sockets": self.listening - before.listening,
        }
        return {kind: sorted(left) for kind, left in kinds.items() if left}


def _threads() -> Set[str]:
    return {
        f"{thread.name} ({thread.ident})"
        for thread in threading.enumerate()
        if thread.is_alive() and thread.name not in LASTING_THREADS
    }


def _children() -> Set[str]:
    # Each thread has a list of its own (proc(5)).
    lists = Path("/proc/self/task").glob("*/children")
    return {f"{_name(pid)} ({pid})" for path in lists for pid in _pids(path)}


def _pids(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []  # the thread has ended meanwhile


def _name(pid: str) -> str:
    try:
        return Path("/proc", pid, "comm").read_text("utf-8", "replace").strip()
    except OSError:
        return "ended"


def _listening() -> Set[str]:
    sockets = set()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            target = str(entry.readlink())
        except OSError:
            continue  # the folder's own descriptor
        if target.startswith("socket:["):
            sockets.add(target[8:-1])
    return (
        {f"{address} ({inode})" for inode, address in _listeners() if inode in sockets} if sockets else set()
    )


def _listeners() -> list[tuple[str, str]]:
    found = []
    for table in ("tcp", "tcp6"):
        for columns in _rows(table):
            if columns[3] == _LISTEN:
                found.append((columns[9], f"{table} {columns[1]}"))
    for columns in _rows("unix"):
        if int(columns[3], 16) & _ACCEPTS:
            found.append((columns[6], f"unix {' '.join(columns[7:])}"))
    return found


def _rows(table: str) -> list[list[str]]:
    path = Path("/proc/self/net", table)
    return [line.split() for line in path.read_text().splitlines()[1:]] if path.exists() else []
