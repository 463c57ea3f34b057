"""Passwords of displays that run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from xml.etree.ElementTree import Element

from vdsm_core.errors import InvalidArgument
from vdsm_core.secret import Secret
from vdsm_virt.domain.write.displays import PASSWORD_BYTES


def fill(display: Element, password: Secret, ttl: int, existing: str) -> None:
    """Put a password into the element of a display.

    :param ttl: seconds until it expires; 0 is never
    :param existing: what happens to viewers that are connected; VNC keeps them in any case
    :raises InvalidArgument: the display has no passwords, or none of this length
    """
    kind = display.get("type", "")
    if kind not in PASSWORD_BYTES:
        raise InvalidArgument(argument="vmID", reason=f"its display of type '{kind}' has no password")
    size = len(password.reveal().encode())
    if not 0 < size <= PASSWORD_BYTES[kind]:
        raise InvalidArgument(
            argument="password", reason=f"a password of {kind} has 1 to {PASSWORD_BYTES[kind]} bytes"
        )
    display.set("passwd", password.reveal())
    display.attrib.pop("passwdValidTo", None)
    display.attrib.pop("connected", None)
    if ttl:
        until = datetime.now(UTC) + timedelta(seconds=ttl)
        display.set("passwdValidTo", until.strftime("%Y-%m-%dT%H:%M:%S"))
    if kind == "spice":
        display.set("connected", existing)
