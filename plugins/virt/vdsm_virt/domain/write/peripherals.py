"""Controllers, channels, consoles and the other small devices."""

from __future__ import annotations

from typing import Final
from xml.etree.ElementTree import Element

from msgspec import UnsetType

from vdsm_virt.api.devices import Balloon, Channel, Console, Controller, Rng, Smartcard, Sound, Watchdog
from vdsm_virt.api.scalars import given, truth, whole
from vdsm_virt.domain.elements import add

#: The channel on which QEMU's guest agent answers.
GUEST_AGENT: Final = "org.qemu.guest_agent.0"
#: The channel on which a guest's spice agent answers.
_SPICE_AGENT: Final = "com.redhat.spice.0"
#: Seconds between the guest's reports of its memory.
_BALLOON_PERIOD: Final = 5
_SOURCES: Final = {"random": "/dev/random", "urandom": "/dev/urandom", "hwrng": "/dev/hwrng"}
_MOST: Final = 2**31 - 1


def controller(parent: Element, spec: Controller, argument: str) -> None:
    """One `<controller>`."""
    index = None
    if not isinstance(spec.index, UnsetType):
        index = whole(spec.index, f"{argument}.index", 0, most=255)
    element = add(parent, "controller", type=spec.device, index=index, model=given(spec.model, "") or None)
    thread = whole(spec.spec_params.io_thread_id, f"{argument}.specParams.ioThreadId", 0, most=4096)
    if thread:
        add(element, "driver", iothread=thread)


def channel(parent: Element, spec: Channel) -> None:
    """One `<channel>` to a program in the guest."""
    element = add(parent, "channel", type=spec.device)
    path = given(spec.spec_params.path, "")
    if path and spec.device == "unix":
        add(element, "source", mode="bind", path=path)
    default = _SPICE_AGENT if spec.device == "spicevmc" else GUEST_AGENT
    add(element, "target", type="virtio", name=given(spec.name, default))


def console(parent: Element, spec: Console) -> None:
    """One `<console>`: a pseudo terminal, or a socket on which one viewer at a time is served."""
    options = spec.spec_params
    socket = truth(options.enable_socket, False) or not isinstance(options.path, UnsetType)
    element = add(parent, "console", type="unix" if socket else "pty")
    if socket:
        add(element, "source", mode="bind", path=options.path)
    add(element, "target", type=options.console_type, port=0)


def balloon(parent: Element, spec: Balloon) -> None:
    """`<memballoon>`, reporting statistics."""
    element = add(parent, "memballoon", model=spec.spec_params.model)
    if spec.spec_params.model != "none":
        add(element, "stats", period=_BALLOON_PERIOD)


def watchdog(parent: Element, spec: Watchdog) -> None:
    """`<watchdog>`."""
    add(parent, "watchdog", model=spec.spec_params.model.lower(), action=spec.spec_params.action)


def rng(parent: Element, spec: Rng, argument: str) -> None:
    """`<rng>`."""
    options = spec.spec_params
    element = add(parent, "rng", model="virtio")
    amount = whole(options.bytes, f"{argument}.specParams.bytes", 0, most=_MOST)
    if amount:
        period = whole(options.period, f"{argument}.specParams.period", 0, most=_MOST)
        add(element, "rate", bytes=amount, period=period or None)
    add(element, "backend", _SOURCES[options.source], model="random")


def sound(parent: Element, spec: Sound) -> None:
    """`<sound>`."""
    add(parent, "sound", model="ich6" if spec.device == "hda" else spec.device)


def smartcard(parent: Element, spec: Smartcard) -> None:
    """`<smartcard>`."""
    mode = spec.spec_params.mode
    add(parent, "smartcard", mode=mode, type="spicevmc" if mode == "passthrough" else None)
