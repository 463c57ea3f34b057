"""A machine's definition, read back from libvirt's XML: the same for machines of ours and of others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from xml.etree.ElementTree import Element

import msgspec
from msgspec import UNSET, UnsetType

from vdsm_virt.api.definition import VmDefinition
from vdsm_virt.api.kept import kept_custom, kept_members
from vdsm_virt.api.stats import DisplayInfo
from vdsm_virt.domain import metadata, run
from vdsm_virt.domain.metadata import Metadata
from vdsm_virt.domain.read.devices import (
    devices_hash,
    in_kib,
    read_devices,
    read_host_addresses,
    read_macs,
)
from vdsm_virt.domain.read.tuning import TuningFacts, read_tuning
from vdsm_virt.domain.run import Run

#: The channel of the QEMU guest agent, while a guest has it open.
_AGENT_PORT: Final = "devices/channel/target[@name='org.qemu.guest_agent.0']"
_AGENT: Final = f"{_AGENT_PORT}[@state='connected']"
#: The channels of oVirt's guest agent: that of VDSM's own documents, and that of newer engines.
_OVIRT_PORTS: Final = ("ovirt-guest-agent.0", "com.redhat.rhevm.vdsm")
_BOOT: Final = {"fd": "a", "hd": "c", "cdrom": "d", "network": "n"}


class Details(msgspec.Struct, frozen=True, kw_only=True):
    """The content of a domain's XML. `definition` lacks the status, which is not in it.

    `macs` are the MACs of the NICs by their interface on the host, `images` the image ids of disks by target.
    `memory` is in MiB. `run` is the mark of the newest run in the document. `agent`: the guest has a QEMU
    guest agent, which is connected. `agent_port`: the machine has a channel for it; `ovirt_port`: the name of
    that for oVirt's agent, empty without one. `host_addresses` are those of `read_host_addresses`, `hash` is
    that of `devices_hash`.
    """

    definition: VmDefinition
    metadata: Metadata | None
    run: Run | None = None
    displays: list[DisplayInfo] = []
    macs: dict[str, str] = {}
    images: dict[str, str] = {}
    memory: int = 0
    vcpus: int = 0
    time_offset: int = 0
    kvm: bool = False
    acpi: bool = False
    tuning: TuningFacts = TuningFacts()
    host_addresses: frozenset[tuple[str, ...]] = frozenset()
    hash: str = ""
    agent: bool = False
    agent_port: bool = False
    ovirt_port: str = ""


def read(domain: Element, vm_id: str, kept_names: Sequence[str] = ()) -> Details:
    """Return everything that a document holds.

    :param kept_names: shell patterns of the custom properties that are shown
    """
    kept = metadata.read(domain)
    facts = kept or Metadata(custom=metadata.foreign_custom(domain))
    displays = _displays(domain)
    size = _mib(domain.find("memory"))
    now, maximum = _vcpus(domain)
    kvm, acpi = domain.get("type") == "kvm", domain.find("features/acpi") is not None
    offset = _number(domain.find("clock"), "adjustment")
    devices = read_devices(domain, facts)
    definition = VmDefinition(
        vm_id=vm_id,
        vm_name=domain.findtext("name") or "",
        status="Down",
        vm_type="qemu" if domain.get("type") == "qemu" else "kvm",
        arch=_attribute(domain, "os/type", "arch"),
        emulated_machine=_attribute(domain, "os/type", "machine"),
        kvm_enable=kvm,
        acpi_enable=acpi,
        hyperv_enable=domain.find("features/hyperv") is not None,
        pit_reinjection=_attribute(domain, "clock/timer[@name='pit']", "tickpolicy") != "discard",
        smartcard_enable=domain.find("devices/smartcard") is not None,
        boot_menu_enable=_attribute(domain, "os/bootmenu", "enable") == "yes",
        # The host's setting holds for all machines: they are asked of the kernel for each of them.
        transparent_huge_pages=domain.find("memoryBacking/hugepages") is None,
        mem_size=size,
        max_mem_size=_mib(domain.find("maxMemory")) or size,
        max_mem_slots=_number(domain.find("maxMemory"), "slots"),
        mem_guaranteed_size=facts.guaranteed_memory or size,
        smp=now,
        max_v_cpus=maximum,
        smp_cores_per_socket=_number(domain.find("cpu/topology"), "cores") or 1,
        smp_threads_per_core=_number(domain.find("cpu/topology"), "threads") or 1,
        num_of_io_threads=int(domain.findtext("iothreads") or 0),
        cpu_type=_cpu_type(domain),
        cpu_shares=_text(domain, "cputune/shares"),
        nice=0,
        time_offset=offset,
        boot="".join(_BOOT.get(boot.get("dev", ""), "") for boot in domain.findall("os/boot")) or UNSET,
        kernel=_text(domain, "os/kernel"),
        initrd=_text(domain, "os/initrd"),
        kernel_args=_text(domain, "os/cmdline"),
        client_ip=facts.client_ip,
        create_time=int(facts.created),
        guest_ips="",
        devices=devices,
        # Of a machine of ours, the properties that are not shown were never stored.
        custom=facts.custom if kept is not None else kept_custom(facts.custom, kept_names),
        kept=kept_members(facts.kept),
        **_display_members(domain, displays),
    )
    return Details(
        definition=definition,
        metadata=kept,
        run=run.read(domain),
        displays=displays,
        macs=read_macs(domain),
        images={name: ids["imageID"] for name, ids in facts.devices.items() if "imageID" in ids},
        memory=size,
        vcpus=now,
        time_offset=offset,
        kvm=kvm,
        acpi=acpi,
        tuning=read_tuning(domain),
        host_addresses=read_host_addresses(domain),
        hash=devices_hash(domain, facts),
        agent=domain.find(_AGENT) is not None,
        agent_port=domain.find(_AGENT_PORT) is not None,
        ovirt_port=_ovirt_port(domain),
    )


def _ovirt_port(domain: Element) -> str:
    ports = {
        target.get("name")
        for target in domain.findall("devices/channel[@type='unix']/target[@type='virtio']")
    }
    return next((name for name in _OVIRT_PORTS if name in ports), "")


def _displays(domain: Element) -> list[DisplayInfo]:
    return [
        DisplayInfo(
            type=element.get("type", ""),
            port=_port(element, "port"),
            tls_port=_port(element, "tlsPort"),
            ip_address=_listening(element),
        )
        for element in domain.findall("devices/graphics")
        if element.get("type") in ("vnc", "spice")
    ]


def _port(element: Element, name: str) -> int:
    return _number(element, name) if element.get(name) else -1


def _listening(element: Element) -> str:
    listen = element.find("listen")
    return (listen.get("address") if listen is not None else None) or element.get("listen") or "127.0.0.1"


def _display_members(domain: Element, displays: list[DisplayInfo]) -> dict[str, Any]:
    if not displays:
        return {}
    first = displays[0]
    keymap = next((e.get("keymap") for e in domain.findall("devices/graphics") if e.get("keymap")), None)
    return {
        "display": "qxl" if first.type == "spice" else "vnc",
        "display_ip": first.ip_address,
        "display_port": first.port,
        "display_secure_port": first.tls_port,
        "keyboard_layout": keymap or UNSET,
    }


def _cpu_type(domain: Element) -> str | UnsetType:
    cpu = domain.find("cpu")
    if cpu is None:
        return UNSET
    mode = cpu.get("mode", "custom")
    model = cpu.findtext("model") if mode == "custom" else mode
    if not model:
        return UNSET
    signs = {"require": "+", "force": "+", "disable": "-", "forbid": "-"}
    features = [
        signs[feature.get("policy", "require")] + feature.get("name", "")
        for feature in cpu.findall("feature")
        if feature.get("policy", "require") in signs
    ]
    return ",".join([model, *features])


def _vcpus(domain: Element) -> tuple[int, int]:
    element = domain.find("vcpu")
    if element is None or not element.text:
        return 1, 1
    maximum = int(element.text)
    return int(element.get("current", maximum)), maximum


def _mib(element: Element | None) -> int:
    return in_kib(element) // 1024


def _number(element: Element | None, attribute: str) -> int:
    text = element.get(attribute) if element is not None else None
    try:
        return int(text or 0)
    except ValueError:
        # The clock's adjustment may be "reset".
        return 0


def _attribute(domain: Element, path: str, name: str) -> str | UnsetType:
    element = domain.find(path)
    return UNSET if element is None else element.get(name) or UNSET


def _text(domain: Element, path: str) -> str | UnsetType:
    return domain.findtext(path) or UNSET
