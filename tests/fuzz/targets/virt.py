"""What clients say of machines: parameters, and domain documents."""

from __future__ import annotations

import contextlib

import msgspec

from vdsm_core.errors import VdsmError
from vdsm_core.types import TypeMismatch, convert
from vdsm_virt.api.params import VmParams
from vdsm_virt.domain.elements import check_shape, parse, to_text
from vdsm_virt.domain.metadata import read as read_metadata
from vdsm_virt.domain.read.devices import read_macs
from vdsm_virt.domain.write import client_xml
from vdsm_virt.guest.facts import GuestFacts
from vdsm_virt.guest.ovirt_messages import BadMessage, decode, merged
from vdsm_virt.saved import pickled


def vm_params(data: bytes) -> None:
    """Whatever JSON stands for `vmParams`: parameters, or a mismatch that names a place."""
    try:
        plain = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return
    for text in (False, True):
        with contextlib.suppress(TypeMismatch):
            convert(plain, VmParams, text=text)


def domain_xml(data: bytes) -> None:
    """A client's domain document is refused, or read without a fault, and survives writing."""
    try:
        domain = client_xml.read(data.decode("utf-8", errors="replace"))
        client_xml.uuid(domain)
        client_xml.name(domain)
    except VdsmError:
        return
    read_metadata(domain)
    read_macs(domain)
    check_shape(parse(to_text(domain)))


def saved_parameters(data: bytes) -> None:
    """A volume of a saved machine is refused, or is plain data, which survives writing."""
    try:
        found = pickled.decode(data)
    except pickled.UnsafePickle:
        return
    pickled.decode(pickled.encode({"value": found}))


def desktop_agent(data: bytes) -> None:
    """What a guest sends as oVirt's agent is refused, or becomes facts that can be shown."""
    facts = GuestFacts()
    for line in data.split(b"\n"):
        try:
            known = merged(facts.ovirt("a"), decode(line), 1.0, 2.0)
        except BadMessage:
            continue
        facts.change_ovirt("a", lambda _before, known=known: known)  # type: ignore[misc]
    msgspec.json.encode(facts.members("a"))
