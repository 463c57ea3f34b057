"""Names that libvirt makes file names of: a machine's name, and the names of its channels.

libvirt joins them to its state directories unchecked: a machine `..` makes it remove the folders of other
machines. They are refused here, for parameters, domain documents, and documents that hooks changed.
"""

from __future__ import annotations

import re
from typing import Final
from xml.etree.ElementTree import Element

from vdsm_core.errors import InvalidArgument

#: Bytes of a machine's name in UTF-8. A file name has at most 255; libvirt appends up to ".xml.new" (8).
MAX_NAME_BYTES: Final = 247
#: Bytes of a channel's name in UTF-8: the path of its socket has at most 107, most of which libvirt needs.
MAX_CHANNEL_BYTES: Final = 64
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")


def check_machine_name(name: str, argument: str) -> str:
    """Return a machine's name.

    :raises InvalidArgument: libvirt cannot make a file name of it
    """
    return _check(name, argument, "a machine's name", MAX_NAME_BYTES)


def check_document(domain: Element, argument: str) -> None:
    """Check every name in a domain document that libvirt makes a file name of.

    :raises InvalidArgument: one is not acceptable
    """
    name = domain.findtext("name")
    if name is not None:
        check_machine_name(name, argument)
    for target in domain.findall("devices/channel/target"):
        channel = target.get("name")
        if channel is not None:
            _check(channel, argument, "a channel's name", MAX_CHANNEL_BYTES)


def _check(name: str, argument: str, what: str, limit: int) -> str:
    if reason := _fault(name, limit):
        raise InvalidArgument(argument=argument, reason=f"{what} {name[:60]!a} {reason}")
    return name


def _fault(name: str, limit: int) -> str:
    """Return why a name cannot be part of a file name; empty if it can."""
    if not name.strip():
        return "is empty"
    if name in (".", ".."):
        return "is not allowed: libvirt makes file names of it, and this one is a folder"
    if "/" in name:
        return "has a slash: libvirt makes file names of it"
    if _CONTROL.search(name):
        return "has a control character"
    if _SURROGATE.search(name):
        return "has a lone surrogate, which is no character"
    size = len(name.encode())
    return f"has {size} bytes in UTF-8, at most {limit} are allowed" if size > limit else ""
