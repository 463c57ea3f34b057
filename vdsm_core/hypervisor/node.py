"""The host, as libvirt reports it: capabilities, processors and memory, versions."""

from __future__ import annotations

from typing import Any

import libvirt
from defusedxml import ElementTree

from vdsm_core.hypervisor import enum_names
from vdsm_core.hypervisor.connection.caller import Caller
from vdsm_core.hypervisor.models import NodeInfo, NumaNode


class Node:
    """Reads what libvirt reports about the host.

    `timeout` and the errors that every method raises are those of `Caller.call`.
    """

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def capabilities_xml(self, *, timeout: float | None = None) -> str:
        """Return libvirt's capabilities document of the host."""
        return self._caller.call(
            lambda connection: str(connection.getCapabilities()), "capabilities", timeout=timeout
        )

    def domain_capabilities_xml(
        self,
        *,
        arch: str | None = None,
        machine: str | None = None,
        virttype: str | None = None,
        emulator: str | None = None,
        timeout: float | None = None,
    ) -> str:
        """Return the domain capabilities document; libvirt chooses what is not given.

        :raises OperationUnsupported: the driver has no such document (libvirt's test driver)
        """
        return self._caller.call(
            lambda connection: str(connection.getDomainCapabilities(emulator, arch, machine, virttype, 0)),
            "domain_capabilities",
            timeout=timeout,
        )

    def info(self, *, timeout: float | None = None) -> NodeInfo:
        """Return the processors and the memory of the host."""
        return self._caller.call(_node_info, "node_info", timeout=timeout)

    def libvirt_version(self, *, timeout: float | None = None) -> str:
        """Return the version of libvirt at the other end, as "x.y.z"."""
        return self._caller.call(
            lambda connection: enum_names.version(connection.getLibVersion()),
            "libvirt_version",
            timeout=timeout,
        )

    def hypervisor_version(self, *, timeout: float | None = None) -> str:
        """Return the version of the hypervisor below libvirt, as "x.y.z"."""
        return self._caller.call(
            lambda connection: enum_names.version(connection.getVersion()),
            "hypervisor_version",
            timeout=timeout,
        )


def _node_info(connection: Any) -> NodeInfo:
    model, memory_mib, cpus, mhz, _nodes, sockets, cores, threads = connection.getInfo()
    return NodeInfo(
        model=model,
        cpus=cpus,
        mhz=mhz,
        sockets=sockets,
        cores=cores,
        threads=threads,
        memory_kib=_memory_kib(connection) or memory_mib * 1024,
        numa_nodes=_numa_nodes(connection.getCapabilities()),
    )


def _memory_kib(connection: Any) -> int:
    try:
        # The binding rounds the figure of getInfo down to MiB.
        return int(connection.getMemoryStats(libvirt.VIR_NODE_MEMORY_STATS_ALL_CELLS, 0)["total"])
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_SUPPORT:
            raise
        return 0


def _numa_nodes(capabilities: str) -> tuple[NumaNode, ...]:
    cells = ElementTree.fromstring(capabilities).iterfind("./host/topology/cells/cell")
    return tuple(
        NumaNode(
            id=int(cell.get("id", "0")),
            memory_kib=int(cell.findtext("memory", "0")),
            cpus=tuple(int(cpu.get("id", "0")) for cpu in cell.iterfind("./cpus/cpu")),
        )
        for cell in cells
    )
