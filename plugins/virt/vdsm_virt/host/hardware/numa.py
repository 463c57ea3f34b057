"""NUMA nodes, their memory and huge pages. From `/sys/devices/system/node` and `/sys/kernel/mm/hugepages`."""

from __future__ import annotations

from vdsm_core.types import Record, TextMiB, TextUint
from vdsm_virt.host.tree import Tree, number_list

_NODES = "sys/devices/system/node"
_HUGEPAGES = "sys/kernel/mm/hugepages"


class NumaNodeHugePages(Record, frozen=True, kw_only=True):
    """Number of huge pages of one size on a node."""

    total_pages: TextUint


class NumaNodeHugePagesStats(Record, frozen=True, kw_only=True):
    """Number of unused huge pages of one size on a node."""

    free_pages: TextUint


class NumaNode(Record, frozen=True, kw_only=True):
    """A NUMA node. `hugepages` is keyed by the page size in KiB."""

    cpus: list[int]
    total_memory: TextMiB
    hugepages: dict[str, NumaNodeHugePages]


class NumaNodeMemoryStats(Record, frozen=True, kw_only=True):
    """Memory of a NUMA node: free in MiB, used in percent. `hugepages` is keyed by the page size in KiB."""

    mem_free: TextMiB
    mem_percent: int
    hugepages: dict[str, NumaNodeHugePagesStats]


def nodes(tree: Tree) -> dict[str, NumaNode]:
    """Return nodes by number; none on a kernel without NUMA."""
    return {
        str(node): NumaNode(
            cpus=number_list(tree.text(f"{_NODES}/node{node}/cpulist") or ""),
            total_memory=_memory(tree, node).get("MemTotal", 0) // 1024,
            hugepages={
                size: NumaNodeHugePages(total_pages=pages)
                for size, pages in _pages(tree, node, "nr_hugepages").items()
            },
        )
        for node in _numbers(tree)
    }


def distances(tree: Tree) -> dict[str, list[int]]:
    """Return, for each node, its distance to every node, 10 being its own memory (ACPI SLIT)."""
    return {
        str(node): [int(word) for word in (tree.text(f"{_NODES}/node{node}/distance") or "").split()]
        for node in _numbers(tree)
    }


def memory_stats(tree: Tree) -> dict[str, NumaNodeMemoryStats]:
    """Return free memory of each node."""
    stats = {}
    for node in _numbers(tree):
        memory = _memory(tree, node)
        total, free = memory.get("MemTotal", 0), memory.get("MemFree", 0)
        stats[str(node)] = NumaNodeMemoryStats(
            mem_free=free // 1024,
            mem_percent=100 - round(100 * free / total) if total else 0,
            hugepages={
                size: NumaNodeHugePagesStats(free_pages=pages)
                for size, pages in _pages(tree, node, "free_hugepages").items()
            },
        )
    return stats


def hugepage_sizes(tree: Tree) -> list[int]:
    """Return sizes of huge pages that the kernel can hand out, in KiB."""
    return sorted(_size(name) for name in tree.names(_HUGEPAGES))


def balancing(tree: Tree) -> int:
    """Return whether NUMA is balanced: 0 off, 1 on, 2 unknown to the kernel.

    Bit 0 of the sysctl is the balancing of VDSM's age; bit 1, memory tiering, is another feature
    (Documentation/admin-guide/sysctl/kernel.rst).
    """
    value = tree.integer("proc/sys/kernel/numa_balancing")
    return 2 if value is None else value & 1


def _numbers(tree: Tree) -> list[int]:
    return number_list(tree.text(f"{_NODES}/online") or "")


def _memory(tree: Tree, node: int) -> dict[str, int]:
    """Return total and free memory in KiB. A line reads `Node 0 MemTotal:  24684100 kB`."""
    rows = (line.split() for line in tree.lines(f"{_NODES}/node{node}/meminfo"))
    return {row[2].rstrip(":"): int(row[3]) for row in rows if len(row) >= 4}


def _pages(tree: Tree, node: int, count: str) -> dict[str, int]:
    folder = f"{_NODES}/node{node}/hugepages"
    return {str(_size(name)): tree.integer(f"{folder}/{name}/{count}") or 0 for name in tree.names(folder)}


def _size(name: str) -> int:
    return int(name.removeprefix("hugepages-").removesuffix("kB"))
