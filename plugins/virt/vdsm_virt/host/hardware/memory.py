"""Memory of the host: sizes, same-page merging (KSM), transparent huge pages."""

from __future__ import annotations

import re
import resource
from dataclasses import dataclass

from vdsm_virt.host.tree import Tree

_KSM = "sys/kernel/mm/ksm"


@dataclass(frozen=True)
class Memory:
    """In KiB, as `/proc/meminfo` counts. `available` is what can be had without swapping."""

    total: int
    available: int
    anon_huge_pages: int
    swap_total: int
    swap_free: int

    @property
    def used_percent(self) -> int:
        return 100 - round(100 * self.available / self.total) if self.total else 0


@dataclass(frozen=True)
class Ksm:
    """`running`: merging now; `pages`: scanned per round; `shared`: bytes that merging saves."""

    running: bool
    pages: int
    merge_across_nodes: bool
    shared: int


def memory(tree: Tree) -> Memory:
    facts = {}
    for line in tree.lines("proc/meminfo"):
        key, _, value = line.partition(":")
        facts[key] = int(value.split()[0])
    # MemAvailable came with Linux 3.14; the sum is what VDSM took.
    available = facts.get("MemAvailable")
    if available is None:
        available = facts.get("MemFree", 0) + facts.get("Buffers", 0) + facts.get("Cached", 0)
    return Memory(
        total=facts.get("MemTotal", 0),
        available=available,
        anon_huge_pages=facts.get("AnonHugePages", 0),
        swap_total=facts.get("SwapTotal", 0),
        swap_free=facts.get("SwapFree", 0),
    )


def ksm(tree: Tree) -> Ksm:
    """Return how KSM stands. A kernel without it merges nothing: all values are 0 and false."""

    def value(name: str) -> int:
        return tree.integer(f"{_KSM}/{name}") or 0

    return Ksm(
        running=value("run") == 1,  # 2 is "stop, and unmerge all"
        pages=value("pages_to_scan"),
        merge_across_nodes=value("merge_across_nodes") == 1,
        shared=value("pages_sharing") * resource.getpagesize(),
    )


def transparent_hugepages(tree: Tree) -> str:
    """Return `always`, `madvise` or `never`; a kernel without the feature never uses them.

    The file lists the choices with the one in force in brackets.
    """
    chosen = re.search(r"\[(\w+)\]", tree.text("sys/kernel/mm/transparent_hugepage/enabled") or "")
    return chosen[1] if chosen else "never"
