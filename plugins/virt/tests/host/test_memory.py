"""Memory, KSM, huge pages, NUMA."""

import resource

import pytest

from vdsm_virt.host.hardware import memory, numa

MEMINFO = (
    "MemTotal:       1000000 kB\nMemFree:         100000 kB\nMemAvailable:    250000 kB\n"
    "Buffers:          10000 kB\nCached:           90000 kB\nAnonHugePages:     4096 kB\n"
    "SwapTotal:         2048 kB\nSwapFree:          1024 kB\nHugePages_Total:       3\n"
)


def test_meminfo(tree):
    """Sizes stay in KiB, used is what cannot be had without swapping."""
    read = memory.memory(tree({"proc/meminfo": MEMINFO}))
    assert read == memory.Memory(
        total=1000000, available=250000, anon_huge_pages=4096, swap_total=2048, swap_free=1024
    )
    assert read.used_percent == 75


def test_old_kernels_do_not_tell_what_is_available(tree):
    """Without MemAvailable, free memory and caches stand for it."""
    old = "\n".join(line for line in MEMINFO.splitlines() if "Available" not in line)
    assert memory.memory(tree({"proc/meminfo": old})).available == 200000


@pytest.mark.parametrize(("run", "running"), [("0", False), ("1", True), ("2", False)])
def test_ksm(tree, run, running):
    """Only 1 is merging: 2 takes the merged pages apart."""
    ksm = memory.ksm(
        tree(
            {
                "sys/kernel/mm/ksm/run": run,
                "sys/kernel/mm/ksm/pages_to_scan": "100",
                "sys/kernel/mm/ksm/pages_sharing": "256",
                "sys/kernel/mm/ksm/merge_across_nodes": "1",
            }
        )
    )
    assert ksm == memory.Ksm(running, 100, merge_across_nodes=True, shared=256 * resource.getpagesize())


def test_kernel_without_ksm_merges_nothing(tree):
    """All values are then neutral."""
    assert memory.ksm(tree({})) == memory.Ksm(running=False, pages=0, merge_across_nodes=False, shared=0)


@pytest.mark.parametrize(
    ("text", "expected"), [("always [madvise] never\n", "madvise"), ("[always] madvise never", "always")]
)
def test_transparent_huge_pages(tree, text, expected):
    """The choice in brackets is in force."""
    read = memory.transparent_hugepages(tree({"sys/kernel/mm/transparent_hugepage/enabled": text}))
    assert read == expected


def test_kernel_without_transparent_huge_pages_never_uses_them(tree):
    """The file is absent then."""
    assert memory.transparent_hugepages(tree({})) == "never"


@pytest.fixture
def two_nodes(tree):
    files = {
        "sys/devices/system/node/online": "0-1\n",
        "sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages": "12",
        "sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages": "0",
    }
    for node in (0, 1):
        folder = f"sys/devices/system/node/node{node}"
        files |= {
            f"{folder}/cpulist": f"{node * 2}-{node * 2 + 1}\n",
            f"{folder}/distance": "10 21\n" if node == 0 else "21 10\n",
            f"{folder}/meminfo": f"\nNode {node} MemTotal:  4096000 kB\nNode {node} MemFree:  1024000 kB\n"
            f"Node {node} HugePages_Total:     0\n",
            f"{folder}/hugepages/hugepages-2048kB/nr_hugepages": "8",
            f"{folder}/hugepages/hugepages-2048kB/free_hugepages": "5",
        }
    return tree(files)


def test_nodes(two_nodes):
    """Processors, memory in MiB, and huge pages by size in KiB."""
    assert numa.nodes(two_nodes)["1"] == numa.NumaNode(
        cpus=[2, 3], total_memory=4000, hugepages={"2048": numa.NumaNodeHugePages(total_pages=8)}
    )
    assert numa.distances(two_nodes) == {"0": [10, 21], "1": [21, 10]}


def test_memory_of_nodes(two_nodes):
    """Free in MiB, used in percent."""
    assert numa.memory_stats(two_nodes)["0"] == numa.NumaNodeMemoryStats(
        mem_free=1000, mem_percent=75, hugepages={"2048": numa.NumaNodeHugePagesStats(free_pages=5)}
    )


def test_huge_page_sizes_ascend(two_nodes):
    """By number, not by name."""
    assert numa.hugepage_sizes(two_nodes) == [2048, 1048576]


@pytest.mark.parametrize(("value", "expected"), [("0", 0), ("1", 1), ("2", 0), ("3", 1), (None, 2)])
def test_numa_balancing(tree, value, expected):
    """Bit 0 counts; a kernel that has no such setting is not known."""
    files = {} if value is None else {"proc/sys/kernel/numa_balancing": value}
    assert numa.balancing(tree(files)) == expected
