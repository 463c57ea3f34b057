"""Display servers and video cards."""

from __future__ import annotations

from typing import Final
from xml.etree.ElementTree import Element

from vdsm_core.errors import InvalidArgument
from vdsm_virt.api.devices import Graphics, Video
from vdsm_virt.api.scalars import given, truth, whole
from vdsm_virt.domain.elements import add, yes_no

_LOOPBACK: Final = "127.0.0.1"
#: spice.h: the channels that can be made secure one by one.
_CHANNELS: Final = frozenset(
    {"main", "display", "inputs", "cursor", "playback", "record", "smartcard", "usbredir"}
)
_MOST_MEMORY: Final = 2**21  # KiB; more than any card's


def graphics(parent: Element, spec: Graphics, argument: str) -> None:
    """One `<graphics>`, on a port that libvirt finds.

    :raises InvalidArgument: a channel is not known
    """
    options = spec.spec_params
    address = given(options.display_ip, "") or _LOOPBACK
    element = add(
        parent, "graphics", type=spec.device, autoport="yes", keymap=given(options.key_map, "") or None
    )
    add(element, "listen", type="address", address=address)
    if spec.device != "spice":
        return
    for name in filter(None, given(options.spice_secure_channels, "").split(",")):
        channel = name.strip().removeprefix("s") if name.strip() not in _CHANNELS else name.strip()
        if channel not in _CHANNELS:
            raise InvalidArgument(
                argument=f"{argument}.specParams.spiceSecureChannels", reason=f"there is no channel '{name}'"
            )
        add(element, "channel", name=channel, mode="secure")
    if not truth(options.copy_paste_enable, True):
        add(element, "clipboard", copypaste=yes_no(False))
    if not truth(options.file_transfer_enable, True):
        add(element, "filetransfer", enable=yes_no(False))


def video(parent: Element, spec: Video, argument: str) -> None:
    """One `<video>`."""
    options = spec.spec_params
    names = ["vram", "ram", "vgamem", "heads"] if spec.device == "qxl" else ["vram", "heads"]
    numbers = {
        name: whole(getattr(options, name), f"{argument}.specParams.{name}", 0, most=_MOST_MEMORY) or None
        for name in names
    }
    if spec.device == "none":
        numbers = {}
    add(
        add(parent, "video"), "model", type="vga" if spec.device in ("std", "vga") else spec.device, **numbers
    )
