"""What a machine's domain remembers for us, in an XML element of our own namespace."""

from __future__ import annotations

from typing import Any, Final
from xml.etree.ElementTree import Element, register_namespace

import msgspec

from vdsm_virt.domain.elements import add, to_text

#: The name of our element's namespace, and the prefix that it is written with.
URI: Final = "urn:vdsm:machine:1"
PREFIX: Final = "vdsm"
_TAG: Final = f"{{{URI}}}machine"
_EXIT: Final = f"{{{URI}}}exit"
#: oVirt's engine puts custom properties here in the domain XML that it sends.
_OVIRT_CUSTOM: Final = "metadata/{http://ovirt.org/vm/1.0}vm/{http://ovirt.org/vm/1.0}custom"

register_namespace(PREFIX, URI)


class Exit(msgspec.Struct, frozen=True):
    """How a machine ended: `code` 0 normally, 1 by an error; `reason` by VDSM's numbers (`Reason`)."""

    code: int
    reason: int
    message: str


class Metadata(msgspec.Struct, frozen=True, kw_only=True):
    """`created` in seconds since 1970, `guaranteed_memory` in MiB.

    `devices` are VDSM's ids of disks by libvirt's target, `kept` the parameters without a meaning here.
    """

    created: float = 0.0
    client_ip: str = ""
    guaranteed_memory: int = 0
    custom: dict[str, str] = {}
    devices: dict[str, dict[str, str]] = {}
    kept: dict[str, Any] = {}
    exit: Exit | None = None


def write(metadata: Metadata) -> Element:
    """Our element."""
    root = Element(_TAG)
    facts = msgspec.to_builtins(msgspec.structs.replace(metadata, exit=None))
    del facts["exit"]
    for name, value in facts.items():
        # JSON in ASCII: any character of a client's text survives XML, which has no control characters.
        add(root, f"{{{URI}}}{name}", _ascii(value))
    if metadata.exit is not None:
        add(root, _EXIT, _ascii(msgspec.to_builtins(metadata.exit)))
    return root


def write_text(metadata: Metadata) -> str:
    """Our element as XML for libvirt to put its namespace and prefix on."""
    root = write(metadata)
    for element in root.iter():
        element.tag = _local(element)
    return to_text(root)


def read(domain: Element) -> Metadata | None:
    """What the domain remembers; None if it is none of ours."""
    root = domain.find(f"metadata/{_TAG}")
    if root is None:
        return None
    facts = {}
    for child in root:
        try:
            facts[_local(child)] = msgspec.json.decode(child.text or "")
        except msgspec.DecodeError:
            # Somebody edited it by hand: what cannot be understood is as good as absent.
            continue
    try:
        return msgspec.convert(facts, Metadata)
    except msgspec.ValidationError:
        return Metadata()


def foreign_custom(domain: Element) -> dict[str, str]:
    """Custom properties in a domain document of an engine."""
    custom = domain.find(_OVIRT_CUSTOM)
    return {} if custom is None else {child.tag.rpartition("}")[2]: child.text or "" for child in custom}


def _local(element: Element) -> str:
    return element.tag.rpartition("}")[2]


def _ascii(value: Any) -> str:
    text = msgspec.json.encode(value).decode()
    return "".join(c if c.isascii() and c != "\x7f" else _escape(c) for c in text)


def _escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))
