"""From `vmParams` to a plan: the domain document and everything else that a launch needs."""

from __future__ import annotations

import time
import uuid
from typing import Final, get_args
from xml.etree.ElementTree import Element

import msgspec
from msgspec import UnsetType

from vdsm_core.errors import InvalidArgument
from vdsm_core.types import BLANK_UUID
from vdsm_virt.api.kept import kept_custom, kept_device_custom, kept_members
from vdsm_virt.api.params import KnownVmParams, ResumeBehavior, VmParams
from vdsm_virt.api.scalars import given, truth, whole
from vdsm_virt.domain import metadata, run
from vdsm_virt.domain.accelerator import AcceleratorProbe, DomainKind
from vdsm_virt.domain.devices import device_key
from vdsm_virt.domain.elements import under
from vdsm_virt.domain.metadata import Metadata
from vdsm_virt.domain.write import client_xml, displays, document
from vdsm_virt.domain.write.disks import UNPREPARED
from vdsm_virt.domain.write.document import FilePayload
from vdsm_virt.hook_points.properties import CustomProperties, KeptProperties
from vdsm_virt.machine.naming import check_document, check_machine_name
from vdsm_virt.saved.machine import SavedMachine

#: Bytes, as JSON, of everything that is kept in a machine's domain: every list of machines carries it.
MAX_METADATA_BYTES: Final = 131_072


class LaunchPlan(msgspec.Struct, frozen=True, kw_only=True):
    """A machine that is to be. `disks`: VDSM's ids of those that a plugin has to prepare, by target.

    `saved`: the saved state that it is launched from, in place of a boot.
    `again`: its definition was launched before, so that its disks refer to the images of that run.
    `stored`: the document as it was before hooks changed it; empty if they have not.
    `ours`: this daemon defined it, or has adopted it.
    `origins`: the members of the request that the devices of the document are from, by their elements.
    `custom`: every custom property, for the hooks of the launch; those that are kept are in the metadata.
    `device_custom`: those of devices, by `domain.devices.device_key`.
    `payloads` are the files to make media of, by target, `exclusive` the targets whose leases are taken.
    """

    id: str
    name: str
    domain: Element
    metadata: Metadata
    paused: bool = False
    disks: dict[str, dict[str, str]] = {}
    payloads: dict[str, FilePayload] = {}
    exclusive: frozenset[str] = frozenset()
    origins: dict[Element, str] = {}
    saved: SavedMachine | None = None
    again: bool = False
    stored: str = ""
    ours: bool = True
    custom: dict[str, str] = {}
    device_custom: dict[str, dict[str, str]] = {}


class Planner:
    """Makes plans of requests, by the host and its options.

    :param properties: checks custom properties
    :param open_displays: leave displays without a password, where the request gives none
    """

    def __init__(
        self, accelerator: AcceleratorProbe, properties: CustomProperties, *, open_displays: bool
    ) -> None:
        self._accelerator = accelerator
        self._properties = properties
        self._open_displays = open_displays

    def plan(
        self, params: VmParams, vm_id: str, client_ip: str, saved: SavedMachine | None = None
    ) -> LaunchPlan:
        """Return the plan of a machine; see `plan`.

        :param saved: the saved machine that the parameters are of
        """
        made = plan(params, vm_id, self._accelerator.get(), client_ip, self._properties)
        if saved is not None:
            made = resumed(made, saved)
        if not self._open_displays:
            displays.protect(made.domain)
        return made


def resumed(made: LaunchPlan, saved: SavedMachine) -> LaunchPlan:
    """Return the plan of a machine that is restored: what its domain remembered goes on."""
    made.domain.attrib.pop("id", None)
    before = saved.metadata or Metadata()
    facts = msgspec.structs.replace(
        made.metadata,
        created=before.created or made.metadata.created,
        guaranteed_memory=made.metadata.guaranteed_memory or before.guaranteed_memory,
        custom={**before.custom, **made.metadata.custom},
        devices={**before.devices, **saved.disks},
        device_custom={**before.device_custom, **made.metadata.device_custom},
        kept={**before.kept, **made.metadata.kept},
    )
    _embed(made.domain, facts)
    custom = {**before.custom, **made.custom}
    device_custom = {**before.device_custom, **made.device_custom}
    return msgspec.structs.replace(
        made, metadata=facts, custom=custom, device_custom=device_custom, disks=saved.disks, saved=saved
    )


def plan(
    params: VmParams,
    vm_id: str,
    kind: DomainKind,
    client_ip: str,
    properties: CustomProperties | None = None,
) -> LaunchPlan:
    """Check the parameters and write the document.

    :param vm_id: VDSM's argument beside `vmParams`; empty if it was not given
    :param properties: checks custom properties; None: keeps none, and checks nothing
    :raises MissingArgument: the name or the memory
    :raises InvalidArgument: they contradict each other or cannot be expressed
    """
    known = params.known
    if isinstance(known.xml, UnsetType):
        made = _from_members(params, _one_id(vm_id, known, ""), kind)
    else:
        domain = client_xml.read(known.xml)
        made = _from_xml(params, domain, _one_id(vm_id, known, client_xml.uuid(domain)), kind)
    kept = KeptProperties()
    if properties is not None:
        kept = properties.checked(made.custom, _device_properties(made))
    if not isinstance(known.xml, UnsetType):
        patterns = [*kept.vm, *kept.device]
        metadata.keep_foreign_custom(made.domain, lambda name: bool(kept_custom({name: ""}, patterns)))
    facts = msgspec.structs.replace(
        made.metadata,
        client_ip=client_ip,
        custom=kept_custom(made.custom, kept.vm),
        device_custom=kept_device_custom(made.device_custom, kept.device),
    )
    _embed(made.domain, facts)
    return msgspec.structs.replace(made, metadata=facts)


def _device_properties(made: LaunchPlan) -> dict[str, dict[str, str]]:
    """Return the custom properties of devices, by the member of the request that has them."""
    places = {device_key(device): f"{argument}.custom" for device, argument in made.origins.items()}
    return {
        places.get(key, f"{client_xml.ARGUMENT} ({key})"): custom
        for key, custom in made.device_custom.items()
    }


def _from_members(params: VmParams, vm_id: str, kind: DomainKind) -> LaunchPlan:
    known = params.known
    # VDSM called a machine without a name after its id.
    name = f"n{vm_id}" if isinstance(known.vm_name, UnsetType) else known.vm_name
    check_machine_name(name, "vmParams.vmName")
    built = document.build(known, vm_id, name, kind)
    check_document(built.element, "vmParams.devices")
    return LaunchPlan(
        id=vm_id,
        name=name,
        domain=built.element,
        metadata=_metadata(
            params,
            Metadata(
                custom=dict(known.custom),
                devices=built.disks,
                device_ids=built.device_ids,
                device_custom=built.device_custom,
                resume_behavior=given(known.resume_behavior, ""),
            ),
        ),
        custom=dict(known.custom),
        device_custom=built.device_custom,
        paused=truth(known.launch_paused, False),
        disks={target: ids for target, ids in built.disks.items() if _is_unprepared(built.element, target)},
        payloads=built.payloads,
        exclusive=frozenset(built.exclusive),
        origins=built.origins,
    )


def _from_xml(params: VmParams, domain: Element, vm_id: str, kind: DomainKind) -> LaunchPlan:
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
    device_custom = metadata.foreign_device_custom(domain)
    disk_ids = client_xml.take_disk_ids(domain)
    return LaunchPlan(
        id=vm_id,
        name=name,
        domain=domain,
        metadata=_metadata(
            params,
            _foreign(known, domain, Metadata(custom=custom, device_custom=device_custom, devices=disk_ids)),
        ),
        disks={target: ids for target, ids in disk_ids.items() if _is_unprepared(domain, target)},
        payloads=client_xml.take_payloads(domain),
        custom=custom,
        device_custom=device_custom,
        paused=truth(known.launch_paused, False)
        or metadata.foreign_member(domain, "launchPaused").lower() == "true",
    )


def _foreign(known: KnownVmParams, domain: Element, facts: Metadata) -> Metadata:
    """Return the metadata with what oVirt's metadata say of the machine.

    :raises InvalidArgument: a member has no value of VDSM's
    """
    behavior = given(known.resume_behavior, "") or metadata.foreign_member(domain, "resumeBehavior")
    choice = get_args(ResumeBehavior)
    if behavior and behavior not in choice:
        raise InvalidArgument(
            argument=client_xml.ARGUMENT,
            reason=f"the metadata's resumeBehavior '{behavior}' is none of {', '.join(choice)}",
        )
    return msgspec.structs.replace(facts, resume_behavior=behavior)


def _one_id(argument: str, known: KnownVmParams, in_xml: str) -> str:
    """Return the id that all given ones agree on; a new one if none is given.

    :raises InvalidArgument: they do not agree
    """
    member = "" if isinstance(known.vm_id, UnsetType) else known.vm_id
    places = {"vmID": argument.lower(), "vmParams.vmId": member.lower(), "vmParams.xml": in_xml}
    ids = {place: text for place, text in places.items() if text and text != BLANK_UUID}
    if len(set(ids.values())) > 1:
        first, second = list(ids.items())[:2]
        raise InvalidArgument(
            argument=second[0], reason=f"its id {second[1]} is not {first[0]}'s, {first[1]}"
        )
    return next(iter(ids.values()), None) or str(uuid.uuid4())


def _metadata(params: VmParams, known: Metadata) -> Metadata:
    """Return the metadata with every custom property, within the limits.

    :param known: what is from the request
    :raises InvalidArgument: it is too large
    """
    guaranteed = whole(params.known.mem_guaranteed_size, "vmParams.memGuaranteedSize", 0, maximum=2**40)
    facts = msgspec.structs.replace(
        known,
        created=round(time.time(), 3),
        guaranteed_memory=guaranteed,
        kept=kept_members(params.unknown),
    )
    size = len(msgspec.json.encode(facts))
    if size > MAX_METADATA_BYTES:
        raise InvalidArgument(
            argument="vmParams",
            reason=f"custom properties and members that are kept with the machine have {size} bytes, "
            f"at most {MAX_METADATA_BYTES} are allowed",
        )
    return facts


def _embed(domain: Element, facts: Metadata) -> None:
    place = under(domain, "metadata")
    for old in [child for child in place if child.tag.startswith(f"{{{metadata.URI}}}")]:
        place.remove(old)
    run.drop(domain)
    place.append(metadata.write(facts))


def _is_unprepared(domain: Element, target: str) -> bool:
    for disk in domain.findall("devices/disk"):
        place, source = disk.find("target"), disk.find("source")
        if place is not None and place.get("dev") == target and source is not None:
            return any(value.startswith(UNPREPARED) for value in source.attrib.values())
    return False
