"""Calls about the host, through libvirt's own test driver."""

from __future__ import annotations

import re

import pytest

from vdsm_core.hypervisor import Hypervisor, NodeInfo, NumaNode, OperationUnsupported


def test_node_info(hypervisor: Hypervisor) -> None:
    """The test driver's host: 2 cells, 2 sockets in each, 2 cores in each, 2 threads in each."""
    cells = (
        NumaNode(id=0, memory_kib=2 << 20, cpus=tuple(range(8))),
        NumaNode(id=1, memory_kib=4 << 20, cpus=tuple(range(8, 16))),
    )
    expected = NodeInfo(
        model="i686",
        cpus=16,
        mhz=1400,
        sockets=2,
        cores=2,
        threads=2,
        memory_kib=3 << 20,
        numa_nodes=cells,
    )
    assert expected == hypervisor.node.info()


def test_versions(hypervisor: Hypervisor) -> None:
    """Versions have three parts, and are those that the connection was found with."""
    status = hypervisor.status()
    for version in (hypervisor.node.libvirt_version(), hypervisor.node.hypervisor_version()):
        assert re.fullmatch(r"\d+\.\d+\.\d+", version)
    assert (status.libvirt_version, status.driver) == (hypervisor.node.libvirt_version(), "TEST")


def test_capabilities(hypervisor: Hypervisor) -> None:
    """The capabilities are libvirt's document."""
    assert hypervisor.node.capabilities_xml().startswith("<capabilities>")


def test_domain_capabilities(hypervisor: Hypervisor) -> None:
    """The test driver reports none."""
    with pytest.raises(OperationUnsupported):
        hypervisor.node.domain_capabilities_xml(virttype="test")
