"""A domain document that the client made itself, VDSM's `xml` parameter."""

from __future__ import annotations

import re
from typing import Final
from xml.etree.ElementTree import Element

from msgspec import UnsetType

from vdsm_core.errors import InvalidArgument
from vdsm_core.types import UUID_PATTERN
from vdsm_virt.api.params import KnownVmParams
from vdsm_virt.api.scalars import truth
from vdsm_virt.domain.accelerator import DomainKind
from vdsm_virt.domain.elements import parse

ARGUMENT: Final = "vmParams.xml"


def read(text: str) -> Element:
    """The document.

    :raises InvalidArgument: it is none
    """
    try:
        domain = parse(text)
    except ValueError as error:
        raise InvalidArgument(argument=ARGUMENT, reason=str(error)) from None
    if domain.tag != "domain":
        raise InvalidArgument(argument=ARGUMENT, reason=f"its root is <{domain.tag[:40]}>, not <domain>")
    return domain


def uuid(domain: Element) -> str:
    """The machine's id in the document, in lower case; empty if there is none.

    :raises InvalidArgument: it is no UUID
    """
    text = (domain.findtext("uuid") or "").strip().lower()
    if text and not re.match(UUID_PATTERN, text):
        raise InvalidArgument(argument=ARGUMENT, reason=f"<uuid> is '{text[:60]}', which is no UUID")
    return text


def name(domain: Element) -> str:
    """The machine's name in the document.

    :raises InvalidArgument: it has none
    """
    text = domain.findtext("name") or ""
    if not text.strip():
        raise InvalidArgument(argument=ARGUMENT, reason="<name> is missing")
    return text


def settle_type(domain: Element, params: KnownVmParams, kind: DomainKind) -> None:
    """Give the document a type that runs here, where its author leaves that open.

    libvirt's test driver knows no type but its own; `kvmEnable` false asks for emulation in any case.
    """
    if kind.is_test:
        domain.set("type", kind.emulated)
        for element in domain.findall("os/type"):
            element.attrib.pop("arch", None)
            element.attrib.pop("machine", None)
    elif domain.get("type") is None or not isinstance(params.kvm_enable, UnsetType):
        domain.set("type", kind.domain_type(accelerate=truth(params.kvm_enable, True)))
