"""From `vmParams` to a plan: the domain document and everything else that a launch needs."""

from __future__ import annotations

import time
import uuid
from typing import Any, Final
from xml.etree.ElementTree import Element

import msgspec
from msgspec import UnsetType

from vdsm_core.errors import InvalidArgument
from vdsm_core.types import BLANK_UUID
from vdsm_virt.api.params import KnownVmParams, VmParams, kept_members
from vdsm_virt.api.scalars import truth, whole
from vdsm_virt.domain import metadata
from vdsm_virt.domain.accelerator import DomainKind
from vdsm_virt.domain.elements import under
from vdsm_virt.domain.metadata import Metadata
from vdsm_virt.domain.write import client_xml, document
from vdsm_virt.domain.write.disks import UNPREPARED
from vdsm_virt.machine.naming import check_document, check_machine_name

#: Bytes, as JSON, of everything that is kept in a machine's domain: every list of machines carries it.
MAX_METADATA_BYTES: Final = 131_072


class LaunchPlan(msgspec.Struct, frozen=True, kw_only=True):
    """A machine that is to be. `disks`: VDSM's ids of those that a plugin has to prepare, by target."""

    id: str
    name: str
    domain: Element
    metadata: Metadata
    paused: bool = False
    disks: dict[str, dict[str, str]] = {}


def plan(params: VmParams, vm_id: str, kind: DomainKind, client_ip: str) -> LaunchPlan:
    """Check the parameters and write the document.

    :param vm_id: VDSM's argument beside `vmParams`; empty if it was not given
    :raises MissingArgument: the name or the memory
    :raises InvalidArgument: they contradict each other or cannot be expressed
    """
    known = params.known
    if isinstance(known.xml, UnsetType):
        return _from_members(params, _one_id(vm_id, known, ""), kind, client_ip)
    domain = client_xml.read(known.xml)
    chosen = _one_id(vm_id, known, client_xml.uuid(domain))
    return _from_xml(params, domain, chosen, kind, client_ip)


def _from_members(params: VmParams, vm_id: str, kind: DomainKind, client_ip: str) -> LaunchPlan:
    known = params.known
    # VDSM called a machine without a name after its id.
    name = f"n{vm_id}" if isinstance(known.vm_name, UnsetType) else known.vm_name
    check_machine_name(name, "vmParams.vmName")
    built = document.build(known, vm_id, name, kind)
    check_document(built.element, "vmParams.devices")
    facts = _metadata(params, client_ip, dict(known.custom), built.disks)
    _embed(built.element, facts)
    return LaunchPlan(
        id=vm_id,
        name=name,
        domain=built.element,
        metadata=facts,
        paused=truth(known.launch_paused, False),
        disks={target: ids for target, ids in built.disks.items() if _is_unprepared(built.element, target)},
    )


def _from_xml(params: VmParams, domain: Element, vm_id: str, kind: DomainKind, client_ip: str) -> LaunchPlan:
    known = params.known
    name = client_xml.name(domain)
    check_document(domain, client_xml.ARGUMENT)
    if not isinstance(known.vm_name, UnsetType) and known.vm_name != name:
        raise InvalidArgument(
            argument="vmParams.vmName", reason=f"the domain document's name is '{name}', another one"
        )
    client_xml.settle_type(domain, known, kind)
    under(domain, "uuid").text = vm_id
    custom = {**metadata.foreign_custom(domain), **known.custom}
    facts = _metadata(params, client_ip, custom, {})
    _embed(domain, facts)
    return LaunchPlan(
        id=vm_id, name=name, domain=domain, metadata=facts, paused=truth(known.launch_paused, False)
    )


def _one_id(argument: str, known: KnownVmParams, in_xml: str) -> str:
    """The id that all who give one agree on; a new one if nobody does.

    :raises InvalidArgument: they do not agree
    """
    member = "" if isinstance(known.vm_id, UnsetType) else known.vm_id
    given = {"vmID": argument.lower(), "vmParams.vmId": member.lower(), "vmParams.xml": in_xml}
    ids = {place: text for place, text in given.items() if text and text != BLANK_UUID}
    if len(set(ids.values())) > 1:
        first, second = list(ids.items())[:2]
        raise InvalidArgument(
            argument=second[0], reason=f"its id {second[1]} is not {first[0]}'s, {first[1]}"
        )
    return next(iter(ids.values()), None) or str(uuid.uuid4())


def _metadata(
    params: VmParams, client_ip: str, custom: dict[str, str], disks: dict[str, dict[str, str]]
) -> Metadata:
    guaranteed = whole(params.known.mem_guaranteed_size, "vmParams.memGuaranteedSize", 0, most=2**40)
    facts = Metadata(
        created=round(time.time(), 3),
        client_ip=client_ip,
        guaranteed_memory=guaranteed,
        custom=custom,
        devices=disks,
        kept=_plain(kept_members(params)),
    )
    size = len(msgspec.json.encode(facts))
    if size > MAX_METADATA_BYTES:
        raise InvalidArgument(
            argument="vmParams",
            reason=f"custom properties and unknown members that are kept with the machine have {size} bytes, "
            f"at most {MAX_METADATA_BYTES} are allowed",
        )
    return facts


def _plain(members: dict[str, Any]) -> dict[str, Any]:
    """What of unknown members JSON can hold: a text protocol may bring bytes or dates."""
    kept = {}
    for name, value in members.items():
        try:
            kept[name] = msgspec.json.decode(msgspec.json.encode(value))
        except (TypeError, UnicodeEncodeError, RecursionError):
            continue
    return kept


def _embed(domain: Element, facts: Metadata) -> None:
    place = under(domain, "metadata")
    for old in [child for child in place if child.tag.startswith(f"{{{metadata.URI}}}")]:
        place.remove(old)
    place.append(metadata.write(facts))


def _is_unprepared(domain: Element, target: str) -> bool:
    for disk in domain.findall("devices/disk"):
        place, source = disk.find("target"), disk.find("source")
        if place is not None and place.get("dev") == target and source is not None:
            return any(value.startswith(UNPREPARED) for value in source.attrib.values())
    return False
