"""Processors."""

import pytest

from vdsm_virt.host.hardware import cpu

CPUS = "sys/devices/system/cpu"


def two_sockets_of_two_cores_of_two_threads():
    files = {f"{CPUS}/online": "0-7\n", f"{CPUS}/online2": ""}
    for number in range(8):
        place = f"{CPUS}/cpu{number}/topology"
        files[f"{place}/physical_package_id"] = f"{number % 2}\n"
        files[f"{place}/core_id"] = f"{number // 2 % 2}\n"
        files[f"{place}/die_id"] = "0\n"
        files[f"{CPUS}/cpu{number}/node{number % 2}/meminfo"] = ""
    return files


def test_threads_of_a_core_count_once(tree):
    """Cores of the same number on two sockets are two cores, threads of one core are one."""
    cpus = cpu.topology(tree(two_sockets_of_two_cores_of_two_threads()))
    assert (cpu.count_sockets(cpus), cpu.count_cores(cpus), len(cpus)) == (2, 4, 8)


def test_place_of_a_processor(tree):
    """Node, socket, die and core of a logical processor."""
    cpus = cpu.topology(tree(two_sockets_of_two_cores_of_two_threads()))
    assert cpus[7] == cpu.CpuInfo(cpu_id=7, numa_cell_id=1, socket_id=1, die_id=0, core_id=1)


def test_processor_without_dies_or_nodes_sits_in_the_first(tree):
    """-1 and an absent file mean there is one only."""
    files = {f"{CPUS}/online": "0", f"{CPUS}/cpu0/topology/die_id": "-1"}
    place = cpu.CpuInfo(cpu_id=0, numa_cell_id=0, socket_id=0, die_id=0, core_id=0)
    assert cpu.topology(tree(files)) == [place]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "model name\t: Xeon: the one\ncpu MHz\t\t: 2596.122\nflags\t\t: fpu vmx\n\nmodel name\t: other\n",
            cpu.Processor(model="Xeon: the one", mhz=2596.122, flags=("fpu", "vmx")),
        ),
        (
            "processor\t: 0\nFeatures\t: fp asimd\nCPU part\t: 0xd0c\n",
            cpu.Processor(model="", mhz=0.0, flags=("fp", "asimd")),
        ),
        (
            "processor\t: 0\ncpu\t\t: POWER9 (raw)\nclock\t\t: 3800.000000MHz\n",
            cpu.Processor(model="POWER9 (raw)", mhz=3800.0, flags=()),
        ),
    ],
    ids=["x86", "arm", "power"],
)
def test_first_processor_tells(tree, text, expected):
    """Each architecture spells model, speed and features its own way."""
    assert cpu.processor(tree({"proc/cpuinfo": text})) == expected
