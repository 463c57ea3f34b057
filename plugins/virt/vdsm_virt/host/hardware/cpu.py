"""The processors: how many, where, and what they can do."""

from __future__ import annotations

import os
from dataclasses import dataclass

from vdsm_core.types import Record
from vdsm_virt.host.tree import Tree, number_list

_CPUS = "sys/devices/system/cpu"


class CpuInfo(Record, frozen=True, kw_only=True, rename=None):
    """Position of one online logical processor in the topology."""

    cpu_id: int
    numa_cell_id: int
    socket_id: int
    die_id: int
    core_id: int


@dataclass(frozen=True)
class Processor:
    """The first processor in `/proc/cpuinfo`."""

    model: str
    mhz: float
    flags: tuple[str, ...]


def online(tree: Tree) -> list[int]:
    """Return numbers of the logical processors that are online."""
    return number_list(tree.text(f"{_CPUS}/online") or "")


def topology(tree: Tree) -> list[CpuInfo]:
    """Return the online logical processors, ascending."""
    return [_place(tree, cpu) for cpu in online(tree)]


def _place(tree: Tree, cpu: int) -> CpuInfo:
    # Absent or -1 means that the hardware has one only (no dies, or no NUMA).
    def place(name: str) -> int:
        return max(0, tree.integer(f"{_CPUS}/cpu{cpu}/topology/{name}") or 0)

    return CpuInfo(
        cpu_id=cpu,
        numa_cell_id=node_of(tree, cpu),
        socket_id=place("physical_package_id"),
        die_id=place("die_id"),
        core_id=place("core_id"),
    )


def node_of(tree: Tree, cpu: int) -> int:
    """Return the NUMA node of a logical processor; 0 on a kernel without NUMA."""
    names = (name for name in tree.names(f"{_CPUS}/cpu{cpu}") if name.startswith("node"))
    return next((int(name[4:]) for name in names if name[4:].isdigit()), 0)


def count_sockets(cpus: list[CpuInfo]) -> int:
    return len({cpu.socket_id for cpu in cpus})


def count_cores(cpus: list[CpuInfo]) -> int:
    """Return physical cores: hyper-threads of one core count once."""
    return len({(cpu.socket_id, cpu.die_id, cpu.core_id) for cpu in cpus})


def processor(tree: Tree) -> Processor:
    """Return model, speed now (MHz) and feature flags.

    The member names differ between architectures: x86 has `model name` and `flags`, ARM `Features`,
    POWER `cpu` and `clock` with the unit attached.
    """
    facts: dict[str, str] = {}
    for line in tree.lines("proc/cpuinfo"):
        if not line.strip() and facts:
            break
        key, _, value = line.partition(":")
        facts.setdefault(key.strip(), value.strip())
    mhz = facts.get("cpu MHz") or facts.get("clock", "").removesuffix("MHz") or "0"
    return Processor(
        model=facts.get("model name") or facts.get("cpu") or "",
        mhz=float(mhz),
        flags=tuple((facts.get("flags") or facts.get("Features") or "").split()),
    )


def own_affinity() -> list[int]:
    """Return logical processors this process may run on."""
    return sorted(os.sched_getaffinity(0))
