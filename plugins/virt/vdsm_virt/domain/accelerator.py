"""What kind of domain this hypervisor runs: with KVM, with emulation, or libvirt's test driver."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final, Literal

import msgspec

from vdsm_core.hypervisor import Hypervisor
from vdsm_virt.domain.elements import parse

Accelerator = Literal["auto", "kvm", "tcg"]

#: Seconds for libvirt to answer: asked for the first time, it starts each emulator to see what that can do.
_PROBE_DEADLINE: Final = 60.0


class DomainKind(msgspec.Struct, frozen=True, kw_only=True):
    """`accelerated` is the domain type of a machine with hardware help, `emulated` of one without."""

    arch: str
    accelerated: str
    emulated: str

    @property
    def is_test(self) -> bool:
        """Whether the machines only pretend to run."""
        return self.accelerated == "test"

    def domain_type(self, *, accelerate: bool) -> str:
        """Return the attribute `type` of `<domain>`."""
        return self.accelerated if accelerate else self.emulated


class AcceleratorProbe:
    """Finds out the kind of domains, once for each connection.

    :param accelerator: "auto" takes KVM where it works, "kvm" insists, "tcg" never takes it
    :param kvm_works: whether this process could make a KVM machine
    """

    def __init__(
        self, hypervisor: Hypervisor, accelerator: Accelerator, kvm_works: Callable[[], bool]
    ) -> None:
        self._hypervisor = hypervisor
        self._accelerator = accelerator
        self._kvm_works = kvm_works
        self._lock = threading.Lock()
        self._kind: DomainKind | None = None

    def forget(self) -> None:
        """Ask again next time: the hypervisor may be another."""
        self._kind = None

    def get(self) -> DomainKind:
        """Return the kind of domains on this host.

        :raises HypervisorUnavailable: libvirt is not reached
        :raises HypervisorDeadline: it does not answer
        """
        with self._lock:
            if self._kind is None:
                self._kind = self._ask()
            return self._kind

    def _ask(self) -> DomainKind:
        capabilities = parse(self._hypervisor.node.capabilities_xml(timeout=_PROBE_DEADLINE))
        arch = capabilities.findtext("host/cpu/arch") or ""
        guests = [
            guest
            for guest in capabilities.findall("guest")
            if guest.find(f"arch[@name='{arch}']") is not None
        ]
        types = {domain.get("type") for guest in guests for domain in guest.iter("domain")}
        if "test" in types:
            return DomainKind(arch=arch, accelerated="test", emulated="test")
        if self._accelerator == "kvm" or (
            self._accelerator == "auto" and "kvm" in types and self._kvm_works()
        ):
            return DomainKind(arch=arch, accelerated="kvm", emulated="qemu")
        return DomainKind(arch=arch, accelerated="qemu", emulated="qemu")
