"""Abilities of the hypervisor, from its capabilities and domain capabilities documents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol
from xml.etree.ElementTree import Element  # the type only; defusedxml parses

from defusedxml import ElementTree

from vdsm_core.errors import OperationFailed


class HypervisorFacts(Protocol):
    """The part of `Hypervisor.node` that this package reads."""

    def capabilities_xml(self, *, timeout: float | None = None) -> str: ...

    def domain_capabilities_xml(self, *, timeout: float | None = None) -> str: ...

    def libvirt_version(self) -> str: ...

    def hypervisor_version(self) -> str: ...


#: Seconds for libvirt to answer. Asked for the first time, it starts each emulator to see what that can do;
#: on a host where KVM answers badly this was seen to take 16 s.
_PROBE_DEADLINE: Final = 60.0


@dataclass(frozen=True)
class Virtualization:
    """The documents' facts.

    `tsc_frequency` is in Hz. `domain_types` are those of guests of the host's own architecture. `libvirt` and
    `emulator` are versions in dotted form.
    """

    uuid: str | None
    domain_types: frozenset[str]
    machines: tuple[str, ...]
    cpu_models: tuple[str, ...]
    tsc_frequency: str | None
    tsc_scaling: bool | None
    libvirt: str
    emulator: str | None

    @property
    def is_qemu(self) -> bool:
        return bool(self.domain_types & {"qemu", "kvm"})


def read(node: HypervisorFacts) -> Virtualization:
    """Read the documents and versions that libvirt reports.

    :raises HypervisorUnavailable: libvirt is not reached
    :raises HypervisorDeadline: libvirt did not answer in time
    """
    capabilities = ElementTree.fromstring(node.capabilities_xml(timeout=_PROBE_DEADLINE))
    guests = _own_guests(capabilities)
    counter = capabilities.find("host/cpu/counter[@name='tsc']")
    scaling = counter.get("scaling") if counter is not None else None
    return Virtualization(
        uuid=capabilities.findtext("host/uuid"),
        domain_types=frozenset(domain.get("type", "") for guest in guests for domain in guest.iter("domain")),
        machines=tuple(dict.fromkeys(m.text for guest in guests for m in guest.iter("machine") if m.text)),
        cpu_models=_usable_models(node),
        tsc_frequency=counter.get("frequency") if counter is not None else None,
        tsc_scaling=None if scaling is None else scaling == "yes",
        libvirt=node.libvirt_version(),
        emulator=_emulator_version(node),
    )


def _own_guests(capabilities: Element) -> list[Element]:
    arch = capabilities.findtext("host/cpu/arch")
    return [
        guest
        for guest in capabilities.findall("guest")
        if guest.findtext("os_type") == "hvm" and guest.find(f"arch[@name='{arch}']") is not None
    ]


def _usable_models(node: HypervisorFacts) -> tuple[str, ...]:
    """Return CPU models that a guest can be given on this host."""
    try:
        document = node.domain_capabilities_xml(timeout=_PROBE_DEADLINE)
    except OperationFailed:
        # libvirt's test driver, for one, has no such document.
        return ()
    models = ElementTree.fromstring(document).iterfind("cpu/mode[@name='custom']/model[@usable='yes']")
    return tuple(model.text for model in models if model.text)


def _emulator_version(node: HypervisorFacts) -> str | None:
    try:
        return node.hypervisor_version()
    except OperationFailed:
        # libvirt's QEMU driver without any QEMU installed.
        return None
