"""The screen and the keyboard of a domain, and QEMU's monitor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import libvirt

from vdsm_core.errors import ResourceExhausted
from vdsm_core.hypervisor.connection.caller import Caller
from vdsm_core.hypervisor.domains.qemu import monitor_command

#: Bytes of an image at most: a screen of 4096 x 4096 pixels, uncompressed.
MAX_SCREENSHOT: Final = 64 * 2**20
_CHUNK: Final = 262_144


class Screens:
    """Looks at screens, presses keys, and talks to QEMU.

    `timeout` and the errors that every method raises are those of `Caller.call_domain`.
    """

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def screenshot(self, uuid: str, *, timeout: float | None = None) -> tuple[str, bytes]:
        """Return the MIME type and the bytes of an image of the first screen.

        :raises OperationInvalid: the domain is not active
        :raises OperationUnsupported: it has no screen
        :raises ResourceExhausted: the image has more than `MAX_SCREENSHOT` bytes
        """
        return self._caller.call_domain(uuid, _screenshot, "screenshot", timeout=timeout)

    def press(
        self, uuid: str, keys: Sequence[int], milliseconds: int, *, timeout: float | None = None
    ) -> None:
        """Press keys of the first keyboard together, and release them.

        :param keys: Linux key codes (linux/input-event-codes.h)
        :param milliseconds: how long they are held
        :raises OperationInvalid: the domain is not active
        """
        self._caller.call_domain(
            uuid,
            lambda domain: domain.sendKey(
                libvirt.VIR_KEYCODE_SET_LINUX, milliseconds, list(keys), len(keys), 0
            ),
            "press",
            timeout=timeout,
        )

    def monitor(self, uuid: str, command: str, *, human: bool, timeout: float | None = None) -> str:
        """Return what QEMU's monitor answers to a command. libvirt marks the domain as tainted by it.

        :param command: JSON of QMP; with `human`, a line of the human monitor
        :raises OperationInvalid: the domain is not active
        :raises OperationUnsupported: the driver is not QEMU's
        """
        return self._caller.call_domain(
            uuid,
            lambda domain: monitor_command(domain, command, human=human),
            "monitor",
            timeout=timeout,
        )


def _screenshot(domain: Any) -> tuple[str, bytes]:
    stream = domain.connect().newStream()
    try:
        kind = str(domain.screenshot(stream, 0))
        image = _received(stream)
        stream.finish()
    except BaseException:
        stream.abort()
        raise
    return kind, image


def _received(stream: Any) -> bytes:
    image = bytearray()
    while chunk := stream.recv(_CHUNK):
        image += chunk
        if len(image) > MAX_SCREENSHOT:
            raise ResourceExhausted(reason=f"the screenshot has more than {MAX_SCREENSHOT} bytes")
    return bytes(image)
