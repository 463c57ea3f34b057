"""Controllers, channels, consoles and the other small devices."""

from __future__ import annotations

from typing import Final
from xml.etree.ElementTree import Element

from msgspec import UnsetType

from vdsm_virt.api.devices import (
    Balloon,
    Channel,
    Console,
    Controller,
    Memory,
    Redir,
    Rng,
    Smartcard,
    Sound,
    Tpm,
    Watchdog,
)
from vdsm_virt.api.scalars import given, truth, whole
from vdsm_virt.domain.elements import add

#: The channel on which QEMU's guest agent answers.
GUEST_AGENT: Final = "org.qemu.guest_agent.0"
#: The channel on which oVirt's guest agent answers, unless `agentChannelName` names another one.
OVIRT_AGENT: Final = "com.redhat.rhevm.vdsm"
#: The channel on which a guest's spice agent answers.
_SPICE_AGENT: Final = "com.redhat.spice.0"
#: Seconds between the guest's reports of its memory.
_BALLOON_PERIOD: Final = 5
#: The folder of VDSM's console proxy (ovirt-vmconsole).
_CONSOLES: Final = "/run/ovirt-vmconsole-console"
#: Ports of a virtio-serial controller, as VDSM makes it.
_SERIAL_PORTS: Final = 16
_SOURCES: Final = {"random": "/dev/random", "urandom": "/dev/urandom", "hwrng": "/dev/hwrng"}
_MAX: Final = 2**31 - 1
#: MiB that fit libvirt's KiB in 63 bits, and more than any host has.
_MAX_MODULE: Final = 2**40
#: More cells than any guest has.
_MAX_CELL: Final = 1023


def controller(parent: Element, spec: Controller, argument: str) -> None:
    """Add one `<controller>`."""
    index = None
    if not isinstance(spec.index, UnsetType):
        index = whole(spec.index, f"{argument}.index", 0, maximum=255)
    element = add(
        parent,
        "controller",
        type=spec.device,
        index=index,
        model=given(spec.model, "") or None,
        ports=_SERIAL_PORTS if spec.device == "virtio-serial" else None,
    )
    thread = whole(spec.spec_params.io_thread_id, f"{argument}.specParams.ioThreadId", 0, maximum=4096)
    if thread:
        add(element, "driver", iothread=thread)


def channel(parent: Element, spec: Channel) -> None:
    """Add one `<channel>` to a program in the guest."""
    element = add(parent, "channel", type=spec.device)
    path = given(spec.spec_params.path, "")
    if path and spec.device == "unix":
        add(element, "source", mode="bind", path=path)
    default = _SPICE_AGENT if spec.device == "spicevmc" else GUEST_AGENT
    add(element, "target", type="virtio", name=given(spec.name, default))


def console(parent: Element, spec: Console) -> None:
    """Add one `<console>`: a pseudo terminal, or a socket on which one viewer at a time is served."""
    options = spec.spec_params
    socket = truth(options.enable_socket, False) or not isinstance(options.path, UnsetType)
    element = add(parent, "console", type="unix" if socket else "pty")
    if socket:
        add(element, "source", mode="bind", path=options.path)
    add(element, "target", type=options.console_type, port=0)


def console_socket(vm_id: str) -> str:
    """Return the path of the socket of a machine's console: where VDSM's console proxy looks for it."""
    return f"{_CONSOLES}/{vm_id}.sock"


def place_consoles(devices: Element, vm_id: str) -> None:
    """Give each socket of a console without a path the one that is the machine's own."""
    for source in devices.findall("console[@type='unix']/source"):
        if source.get("path") is None:
            source.set("path", console_socket(vm_id))


def balloon(parent: Element, spec: Balloon) -> None:
    """Add `<memballoon>`, reporting statistics."""
    element = add(parent, "memballoon", model=spec.spec_params.model)
    if spec.spec_params.model != "none":
        add(element, "stats", period=_BALLOON_PERIOD)


def watchdog(parent: Element, spec: Watchdog) -> None:
    """Add `<watchdog>`."""
    add(parent, "watchdog", model=spec.spec_params.model.lower(), action=spec.spec_params.action)


def rng(parent: Element, spec: Rng, argument: str) -> None:
    """Add `<rng>`."""
    options = spec.spec_params
    element = add(parent, "rng", model="virtio")
    amount = whole(options.bytes, f"{argument}.specParams.bytes", 0, maximum=_MAX)
    if amount:
        period = whole(options.period, f"{argument}.specParams.period", 0, maximum=_MAX)
        add(element, "rate", bytes=amount, period=period or None)
    add(element, "backend", _SOURCES[options.source], model="random")


def sound(parent: Element, spec: Sound) -> None:
    """Add `<sound>`."""
    add(parent, "sound", model="ich6" if spec.device == "hda" else spec.device)


def smartcard(parent: Element, spec: Smartcard) -> None:
    """Add `<smartcard>`."""
    mode = spec.spec_params.mode
    add(parent, "smartcard", mode=mode, type="spicevmc" if mode == "passthrough" else None)


def redirected(parent: Element, spec: Redir) -> None:
    """Add one `<redirdev>`: a USB port of the guest for devices of the viewer."""
    add(parent, "redirdev", bus="usb", type=spec.device)


def memory(parent: Element, spec: Memory, argument: str) -> None:
    """Add one `<memory>`: a module of memory.

    :raises InvalidArgument: its size is out of range
    """
    target = add(add(parent, "memory", model="dimm"), "target")
    size = whole(spec.size, f"{argument}.size", 0, minimum=1, maximum=_MAX_MODULE)
    add(target, "size", size, unit="MiB")
    add(target, "node", whole(spec.node, f"{argument}.node", 0, maximum=_MAX_CELL))


def tpm(parent: Element, spec: Tpm) -> None:
    """Add `<tpm>`: the TPM of the host."""
    options = spec.spec_params
    backend = add(add(parent, "tpm", model=options.model), "backend", type=options.mode)
    add(backend, "device", path=options.path)
