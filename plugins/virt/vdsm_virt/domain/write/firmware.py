"""What the machine is when it is switched on: machine type, boot order, clock, features."""

from __future__ import annotations

from xml.etree.ElementTree import Element

from msgspec import UnsetType

from vdsm_virt.api.params import KnownVmParams
from vdsm_virt.api.scalars import given, truth
from vdsm_virt.domain.accelerator import DomainKind
from vdsm_virt.domain.elements import add, yes_no

#: VDSM's letters (those of QEMU's -boot) and libvirt's words.
_BOOT = {"a": "fd", "c": "hd", "d": "cdrom", "n": "network"}


def boot(domain: Element, params: KnownVmParams, kind: DomainKind, *, ordered: bool) -> None:
    """Add `<os>`.

    :param ordered: devices carry the order themselves; libvirt takes only one of the two ways
    """
    system = add(domain, "os")
    machine = given(params.emulated_machine, "") or None
    add(system, "type", "hvm", arch=kind.arch, machine=None if kind.is_test else machine)
    add_if_given(system, "kernel", params.kernel)
    add_if_given(system, "initrd", params.initrd)
    add_if_given(system, "cmdline", params.kernel_args)
    if not ordered:
        for letter in dict.fromkeys(given(params.boot, "")):
            add(system, "boot", dev=_BOOT[letter])
    if truth(params.boot_menu_enable, False):
        add(system, "bootmenu", enable=yes_no(True), timeout=10_000)


def features(domain: Element, params: KnownVmParams) -> None:
    """Add `<features>` and `<clock>`."""
    hyperv = truth(params.hyperv_enable, False)
    if truth(params.acpi_enable, True) or hyperv:
        element = add(domain, "features")
        if truth(params.acpi_enable, True):
            add(element, "acpi")
        if hyperv:
            enlightened = add(element, "hyperv")
            add(enlightened, "relaxed", state="on")
            add(enlightened, "vapic", state="on")
            # 8191 is what Microsoft's specification recommends, and libvirt's documentation with it.
            add(enlightened, "spinlocks", state="on", retries=8191)
    clock = add(domain, "clock", offset="variable", adjustment=int(params.time_offset))
    if hyperv:
        add(clock, "timer", name="hypervclock", present="yes")
    add(clock, "timer", name="rtc", tickpolicy="catchup")
    add(clock, "timer", name="pit", tickpolicy="delay" if truth(params.pit_reinjection, True) else "discard")


def add_if_given(parent: Element, tag: str, text: str | UnsetType) -> None:
    """Add a child with text, unless the text is absent or empty."""
    if not isinstance(text, UnsetType) and text:
        add(parent, tag, text)
