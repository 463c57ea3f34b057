"""Display servers and video cards."""

from __future__ import annotations

from secrets import token_hex
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
#: The longest password of each kind of display server that has passwords.
PASSWORD_BYTES: Final = {"vnc": 8, "spice": 60}
#: A time that is over, in libvirt's spelling.
EXPIRED: Final = "1970-01-01T00:00:01"
_MAX_MEMORY: Final = 2**21  # KiB; more than any card's


def graphics(parent: Element, spec: Graphics, argument: str) -> None:
    """Add one `<graphics>`, on a port that libvirt finds.

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


def protect(domain: Element) -> None:
    """Give every display server without a password a random one that has expired already.

    So no viewer gets in until `VM.setTicket` sets a password. Without one, QEMU admits every viewer.
    """
    for element in domain.findall("devices/graphics"):
        if element.get("type") in PASSWORD_BYTES and element.get("passwd") is None:
            element.set("passwd", token_hex(PASSWORD_BYTES[element.get("type", "")] // 2))
            element.set("passwdValidTo", EXPIRED)


def video(parent: Element, spec: Video, argument: str) -> None:
    """Add one `<video>`."""
    options = spec.spec_params
    names = ["vram", "ram", "vgamem", "heads"] if spec.device == "qxl" else ["vram", "heads"]
    numbers = {
        name: whole(getattr(options, name), f"{argument}.specParams.{name}", 0, maximum=_MAX_MEMORY) or None
        for name in names
    }
    if spec.device == "none":
        numbers = {}
    add(
        add(parent, "video"), "model", type="vga" if spec.device in ("std", "vga") else spec.device, **numbers
    )
