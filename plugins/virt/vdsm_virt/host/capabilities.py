"""The facts of the host, put together for `Host.getCapabilities` and `Host.getHardwareInfo`."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypedDict, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from vdsm_core.errors import VdsmError
from vdsm_core.types import Record, Text2f, TextBool, TextInt, TextMiB, TextUint, TitleBool
from vdsm_virt.host.hardware import cpu, dmi, hba, memory, numa
from vdsm_virt.host.hardware.cpu import CpuInfo
from vdsm_virt.host.hardware.hba import HbaInventory
from vdsm_virt.host.hardware.numa import NumaNode
from vdsm_virt.host.network.addresses import kernel_addresses
from vdsm_virt.host.network.links import Links
from vdsm_virt.host.network.network import (
    AddressSource,
    Inventory,
    NetInfoBond,
    NetInfoBridge,
    NetInfoNic,
    NetInfoVlan,
    Network,
)
from vdsm_virt.host.system import hypervisor, kernel, kvm, software
from vdsm_virt.host.system.hypervisor import HypervisorFacts, Virtualization
from vdsm_virt.host.system.identity import host_uuid
from vdsm_virt.host.system.software import OsVersion, SoftwarePackageInfo
from vdsm_virt.host.tree import Tree

log = logging.getLogger(__name__)
T = TypeVar("T")


class SELinuxStatus(Record, frozen=True, kw_only=True):
    """State of SELinux. `mode`: 1 enforcing, 0 permissive, -1 disabled."""

    mode: TextInt


class HookScriptInfo(Record, frozen=True, kw_only=True):
    """A hook script. 3.1 clients read `md5`, later ones `checksum`; both are the digest of its file."""

    checksum: str | UnsetType = UNSET
    md5: str | UnsetType = UNSET


class Capabilities(Record, frozen=True, kw_only=True):
    """Hardware, software, network and capabilities of the host.

    Memory is in MiB. `cpuSpeed` is in MHz, `tscFrequency` in Hz, `hugepages` are sizes in KiB.
    `kvmEnabled`: KVM is usable, and libvirt offers it. `cpuFlags` are the flags of the processor, then each
    CPU model that a guest can have, prefixed with `model_`. `lastClientIface` is the interface of the route
    to the caller, `management_ip` the host's address on it. `hooks`: the scripts of each hook point.
    `reservedMem` is the memory reserved for the host, `guestOverhead` the memory of a guest beyond its own.
    `kdumpStatus`: 1 ready, 0 not ready, -1 unknown. `autoNumaBalancing`: 0 off, 1 on, 2 unknown.
    """

    # Processors
    cpu_cores: TextUint
    cpu_flags: str
    cpu_model: str
    cpu_sockets: TextUint
    cpu_speed: Text2f
    cpu_threads: TextUint
    cpu_topology: list[CpuInfo]
    online_cpus: str
    vdsm_to_cpus_affinity: list[int]
    # Memory
    auto_numa_balancing: TextUint
    guest_overhead: TextMiB
    hugepages: list[int]
    mem_size: TextMiB
    numa_node_distance: dict[str, list[int]]
    numa_nodes: dict[str, NumaNode]
    reserved_mem: TextMiB
    # Virtualization
    emulated_machines: list[str]
    hostdev_passthrough: TextBool
    kvm_enabled: TextBool
    nested_virtualization: bool
    rng_sources: list[str]
    tsc_frequency: str | UnsetType = UNSET
    tsc_scaling: bool | UnsetType = UNSET
    vm_types: list[str]
    vnc_encrypted: TextBool
    # Network
    bondings: dict[str, NetInfoBond]
    bridges: dict[str, NetInfoBridge]
    last_client: str
    last_client_iface: str
    management_ip: str = msgspec.field(name="management_ip")
    nameservers: list[str]
    net_config_dirty: TitleBool
    networks: dict[str, NetInfoBridge]
    nics: dict[str, NetInfoNic]
    supports_ipv6: bool = msgspec.field(name="supportsIPv6")
    vlans: dict[str, NetInfoVlan]
    # Storage adapters
    hba_inventory: HbaInventory = msgspec.field(name="HBAInventory")
    iscsi_initiator_name: str = msgspec.field(name="ISCSIInitiatorName")
    # System
    boot_uuid: str | UnsetType = msgspec.field(default=UNSET, name="boot_uuid")
    fips_enabled: bool
    kdump_status: int
    kernel_args: str | UnsetType = UNSET
    operating_system: OsVersion
    packages2: dict[str, SoftwarePackageInfo]
    realtime_kernel: bool
    selinux: SELinuxStatus
    uuid: str | UnsetType = UNSET
    # This software
    additional_features: list[str]
    cluster_levels: list[str]
    hooks: dict[str, dict[str, HookScriptInfo]]
    hosted_engine_deployed: bool
    software_revision: str = msgspec.field(name="software_revision")
    software_version: str = msgspec.field(name="software_version")
    supported_engines: list[str] = msgspec.field(name="supportedENGINEs")
    supported_protocols: list[str]
    supported_rhevms: list[str] = msgspec.field(name="supportedRHEVMs")
    version_name: str = msgspec.field(name="version_name")


@dataclass(frozen=True)
class Promises:
    """What an engine can expect of the host: configured, not read from it.

    The defaults are VDSM's: 256 MiB for the host and 65 MiB for each QEMU process (options
    `host_mem_reserve`, `extra_mem_reserve` and `guest_ram_overhead`), and the levels of the XML-RPC API
    from 3.1 to 3.6.
    """

    host_reserve: int = 256
    extra_reserve: int = 65
    guest_overhead: int = 65
    cluster_levels: tuple[str, ...] = ("3.0", "3.1", "3.2", "3.3", "3.4", "3.5", "3.6")
    engines: tuple[str, ...] = ("3.0", "3.1", "3.2", "3.3", "3.4", "3.5", "3.6")
    protocols: tuple[str, ...] = ("2.2", "2.3")


#: A kind of machine, not whether KVM helps it: VDSM has this one and engines insist on it.
_VM_TYPES: Final = ("kvm",)


class HostFacts:
    """Reads the host below the tree's root, and the hypervisor."""

    def __init__(
        self,
        source: HypervisorFacts,
        tree: Tree,
        *,
        addresses: AddressSource = kernel_addresses,
        fake_nics: Sequence[str] = (),
        promises: Promises | None = None,
    ) -> None:
        self._source = source
        self._tree = tree
        self._network = Network(tree, Links(tree, fake_nics), addresses)
        self._promises = promises or Promises()
        self._lock = threading.Lock()
        self._fixed: _Fixed | None = None
        self._beginning = threading.Lock()
        self._refreshing = False
        self._wanted = False

    def refresh(self) -> None:
        """Read anew what is kept: libvirt or the emulator may be another after a reconnect or an upgrade.

        libvirt can take many seconds to look at its emulators. Callers are served with the old facts
        meanwhile, and afterwards, too, if this fails.

        :raises HypervisorUnavailable: libvirt is not there to be asked
        :raises HypervisorDeadline: libvirt does not answer
        """
        with self._lock:
            self._fixed = self._read()

    def refresh_soon(self) -> None:
        """Refresh on a thread of its own. At the start it spares the first caller the wait."""
        with self._beginning:
            self._wanted = True
            if self._refreshing:
                return
            self._refreshing = True
        threading.Thread(target=self._refresh, name="host-facts", daemon=True).start()

    def _refresh(self) -> None:
        while self._take_wish():
            try:
                self.refresh()
            except VdsmError as error:
                log.info("The capabilities of the host are read when they are asked for: %s", error)
            except Exception:
                # The first caller meets it, too, and gets an incident for it.
                log.exception("Cannot read the capabilities of the host")

    def _take_wish(self) -> bool:
        with self._beginning:
            self._refreshing, self._wanted = self._wanted, False
            return self._refreshing

    def hardware(self) -> dmi.HardwareInformation:
        """Return DMI identity of the host."""
        return dmi.hardware(self._tree)

    def uuid(self) -> str | UnsetType:
        """Return the host's id, see `identity.host_uuid`.

        :raises HypervisorUnavailable: the hypervisor was never reached
        """
        return self._kept().uuid

    def capabilities(self, client_address: str | None = None) -> Capabilities:
        """Return all facts now; those of libvirt, KVM and the package database are kept until `refresh`.

        :param client_address: IP address of the caller; None over a unix socket
        :raises HypervisorUnavailable: the hypervisor was never reached
        :raises HypervisorDeadline: it does not answer
        :raises OSError: the kernel does not return the addresses
        """
        tree, fixed, promises = self._tree, self._kept(), self._promises
        inventory = self._network.inventory(client_address)
        cpus = cpu.topology(tree)
        processor = cpu.processor(tree)
        version, revision = _version_parts(software.own_version())
        return Capabilities(
            cpu_cores=cpu.count_cores(cpus),
            cpu_flags=",".join((*processor.flags, *(f"model_{m}" for m in fixed.virtualization.cpu_models))),
            cpu_model=processor.model,
            cpu_sockets=cpu.count_sockets(cpus),
            cpu_speed=processor.mhz,
            cpu_threads=len(cpus),
            cpu_topology=cpus,
            online_cpus=",".join(str(place.cpu_id) for place in cpus),
            vdsm_to_cpus_affinity=cpu.own_affinity(),
            auto_numa_balancing=numa.balancing(tree),
            guest_overhead=promises.guest_overhead,
            hugepages=numa.hugepage_sizes(tree),
            mem_size=memory.memory(tree).total // 1024,
            numa_node_distance=numa.distances(tree),
            numa_nodes=numa.nodes(tree),
            reserved_mem=promises.host_reserve + promises.extra_reserve,
            emulated_machines=list(fixed.virtualization.machines),
            hostdev_passthrough=kernel.iommu(tree),
            kvm_enabled=fixed.kvm_enabled,
            nested_virtualization=kvm.nested(tree),
            rng_sources=kernel.random_sources(tree),
            tsc_frequency=fixed.virtualization.tsc_frequency or UNSET,
            tsc_scaling=_or_unset(fixed.virtualization.tsc_scaling),
            vm_types=list(_VM_TYPES),
            vnc_encrypted=kernel.vnc_encrypted(tree),
            last_client=client_address or "",
            last_client_iface=inventory.client_interface,
            management_ip=inventory.client_side_address,
            # Nothing changes the network through this API yet, so nothing is unsaved.
            net_config_dirty=False,
            hba_inventory=hba.inventory(tree),
            iscsi_initiator_name=hba.initiator_name(tree),
            boot_uuid=_or_unset(kernel.boot_id(tree)),
            fips_enabled=kernel.fips(tree),
            kdump_status=kernel.kdump(tree),
            kernel_args=_or_unset(kernel.arguments(tree)),
            operating_system=software.operating_system(tree),
            packages2=fixed.packages,
            realtime_kernel=kernel.realtime(tree),
            selinux=SELinuxStatus(mode=kernel.selinux(tree)),
            uuid=fixed.uuid,
            additional_features=[],
            # No plugin runs scripts yet.
            hooks={},
            cluster_levels=list(promises.cluster_levels),
            hosted_engine_deployed=False,
            software_revision=revision,
            software_version=version,
            supported_engines=list(promises.engines),
            supported_protocols=list(promises.protocols),
            supported_rhevms=list(promises.engines),
            version_name="vdsm",
            **_network_members(inventory),
        )

    def _kept(self) -> _Fixed:
        if self._fixed is not None:
            return self._fixed
        with self._lock:
            if self._fixed is None:
                self._fixed = self._read()
            return self._fixed

    def _read(self) -> _Fixed:
        virtualization = hypervisor.read(self._source)
        return _Fixed(
            virtualization=virtualization,
            kvm_enabled="kvm" in virtualization.domain_types and kvm.usable(self._tree),
            packages=software.packages(self._tree, virtualization),
            uuid=host_uuid(self._tree, virtualization.uuid),
        )


@dataclass(frozen=True)
class _Fixed:
    """What does not change while the host and libvirt stay up, and is expensive to find out."""

    virtualization: Virtualization
    kvm_enabled: bool
    packages: dict[str, SoftwarePackageInfo]
    uuid: str | UnsetType


class _NetworkMembers(TypedDict):
    nics: dict[str, NetInfoNic]
    bridges: dict[str, NetInfoBridge]
    bondings: dict[str, NetInfoBond]
    vlans: dict[str, NetInfoVlan]
    networks: dict[str, NetInfoBridge]
    nameservers: list[str]
    supports_ipv6: bool


def _network_members(inventory: Inventory) -> _NetworkMembers:
    return {
        "nics": inventory.nics,
        "bridges": inventory.bridges,
        "bondings": inventory.bondings,
        "vlans": inventory.vlans,
        # Networks are what was set up through this API, not what was found on the host.
        "networks": {},
        "nameservers": inventory.nameservers,
        "supports_ipv6": inventory.supports_ipv6,
    }


def _or_unset(value: T | None) -> T | UnsetType:
    return UNSET if value is None else value


def _version_parts(version: str) -> tuple[str, str]:
    """Return VDSM's version and revision: 0.1.0 is revision 0 of version 0.1."""
    major, _, rest = version.partition(".")
    minor, _, revision = rest.partition(".")
    return f"{major}.{minor}".strip("."), revision
