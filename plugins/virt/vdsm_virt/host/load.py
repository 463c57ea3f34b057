"""Counters of load: processors, processes, interfaces, and the rates between two readings.

Counters of processor time are in ticks (`USER_HZ`), which is how the kernel shows them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final

from vdsm_virt.host.tree import Tree

#: Ticks per second of the times in `/proc`.
TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class CpuTime:
    """Ticks since boot. `user` contains low-priority work and guests, `system` interrupts."""

    user: int = 0
    system: int = 0
    total: int = 0


@dataclass(frozen=True)
class CpuPercent:
    """Shares of a time, of 100. `idle` is the rest, as in VDSM: waiting for disks and stolen time, too."""

    user: float
    system: float
    idle: float


@dataclass(frozen=True)
class ProcessTime:
    """Ticks of one process since its start; `since` is the start, in seconds since boot."""

    user: int
    system: int
    since: float


@dataclass(frozen=True)
class Traffic:
    """What an interface has carried since it exists, in bytes and packets."""

    rx: int = 0
    rx_errors: int = 0
    rx_dropped: int = 0
    tx: int = 0
    tx_errors: int = 0
    tx_dropped: int = 0


def cpu_times(tree: Tree) -> tuple[CpuTime, dict[int, CpuTime]]:
    """Return the times of all processors together, and of each online one (`/proc/stat`, proc(5))."""
    whole, each = CpuTime(), {}
    for line in tree.lines("proc/stat"):
        name, *fields = line.split()
        if not name.startswith("cpu"):
            break
        # The fields after steal are guests' time, already counted in user and nice.
        user, nice, system, idle, iowait, irq, softirq, steal = map(int, fields[:8])
        busy = user + nice, system + irq + softirq
        time = CpuTime(*busy, total=sum(busy) + idle + iowait + steal)
        if name == "cpu":
            whole = time
        else:
            each[int(name[3:])] = time
    return whole, each


def cpu_percent(before: CpuTime, now: CpuTime) -> CpuPercent:
    """Return the shares between two readings. Without a tick between them, the shares since boot."""
    if now.total <= before.total:
        before = CpuTime()
    total = max(1, now.total - before.total)
    # Counters of a processor that was taken off and on again may step back.
    user = min(100.0, max(0.0, 100 * (now.user - before.user) / total))
    system = min(100.0 - user, max(0.0, 100 * (now.system - before.system) / total))
    return CpuPercent(user=user, system=system, idle=100.0 - user - system)


def process_time(tree: Tree, pid: str) -> ProcessTime | None:
    """Return the times of a process (`self` or a number); None if there is no such process."""
    text = tree.text(f"proc/{pid}/stat")
    if not text:
        return None
    # The second field, the name in brackets, may itself hold spaces and brackets. Numbers of proc(5) minus 3.
    fields = text.rpartition(")")[2].split()
    return ProcessTime(user=int(fields[11]), system=int(fields[12]), since=int(fields[19]) / TICKS)


def kernel_thread(tree: Tree, name: str) -> str | None:
    """Return the process number of a kernel thread. Reads all processes: call it once."""
    pids = sorted((pid for pid in tree.names("proc") if pid.isdigit()), key=int)
    return next((pid for pid in pids if tree.text(f"proc/{pid}/comm") == name), None)


def traffic(tree: Tree) -> dict[str, Traffic]:
    """Return counters of every interface, from `/proc/net/dev`: one file for all."""
    found = {}
    for line in tree.lines("proc/net/dev")[2:]:
        name, _, fields = line.rpartition(":")
        rx, _, rx_errors, rx_dropped, *_, tx, _, tx_errors, tx_dropped, _, _, _, _ = map(int, fields.split())
        found[name.strip()] = Traffic(rx, rx_errors, rx_dropped, tx, tx_errors, tx_dropped)
    return found
