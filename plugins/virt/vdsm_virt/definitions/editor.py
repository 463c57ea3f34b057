"""The definitions of machines as XML: read, changed, renamed, adopted."""

from __future__ import annotations

import copy
import logging
import re
import time
from collections.abc import Callable, Sequence
from typing import Final
from xml.etree.ElementTree import Element, canonicalize

import msgspec

from vdsm_core.errors import InvalidArgument
from vdsm_core.hypervisor import DomainExists, NoSuchDomain, OperationUnsupported, XMLRefused
from vdsm_core.types import UUID_PATTERN
from vdsm_core.volumes import DiskId
from vdsm_virt.api.definition_changes import DefinitionChanges
from vdsm_virt.api.kept import kept_custom
from vdsm_virt.definitions.autostart import obstacle
from vdsm_virt.definitions.errors import AutostartRefused, CannotAdoptVM, DefinitionRefused, NotAdopted
from vdsm_virt.domain import metadata, run
from vdsm_virt.domain.accelerator import AcceleratorProbe
from vdsm_virt.domain.devices import device_key
from vdsm_virt.domain.elements import parse, to_text, under
from vdsm_virt.domain.metadata import Metadata
from vdsm_virt.domain.write import client_xml
from vdsm_virt.domain.write.disks import UNPREPARED
from vdsm_virt.errors import NoSuchVM, VMExists, VMNotDown
from vdsm_virt.machine.machine import Machine
from vdsm_virt.machine.machines import Machines
from vdsm_virt.machine.naming import check_document, check_machine_name
from vdsm_virt.machine.refusals import as_machine

log = logging.getLogger(__name__)

_XML: Final = "xml"
#: Attributes of displays that libvirt shows only in documents with secrets.
_SECRETS: Final = ("passwd", "passwdValidTo")
#: Elements of a definition that this daemon writes; a client's are replaced by those that are there.
_OURS: Final = (f"{{{metadata.URI}}}", f"{{{run.URI}}}")


class Editor:
    """Reads and changes the definitions of machines.

    :param kept_names: shell patterns of the custom properties that are kept
    :param mounts: returns the text of `/proc/mounts`
    """

    def __init__(
        self,
        machines: Machines,
        accelerator: AcceleratorProbe,
        kept_names: Sequence[str],
        mounts: Callable[[], str],
    ) -> None:
        self._machines = machines
        self._definitions = machines.hypervisor.definitions
        self._accelerator = accelerator
        self._kept_names = tuple(kept_names)
        self._mounts = mounts

    def xml(self, vm_id: str, *, running: bool) -> str:
        """Return the document of the next start, or that of the present run; without passwords."""
        self._machines.inventory.get(vm_id)
        with as_machine(self._machines.hypervisor, vm_id, "read"):
            return self._definitions.xml(vm_id, inactive=not running)

    def change(self, vm_id: str, text: str) -> DefinitionChanges:
        """Replace the definition of a machine.

        :raises InvalidArgument: the document changes what has verbs of its own
        :raises DefinitionRefused: libvirt does not accept it
        """
        machine = self._ours(vm_id, "edit")
        if machine.launching or machine.outgoing or machine.incoming:
            raise VMNotDown(vm_id=vm_id, action="edit", status=machine.status)
        before = self._secure(vm_id)
        domain = client_xml.read(text, _XML)
        self._check(machine, domain, before)
        known = metadata.read(before) or Metadata()
        left = _left(known, domain)
        if known.autostart and (reason := obstacle(domain, left, self._mounts())):
            raise AutostartRefused(vm_id=vm_id, reason=reason)
        _take_secrets(domain, before)
        metadata.keep_foreign_custom(
            domain, lambda name: bool(kept_custom({name: ""}, list(self._kept_names)))
        )
        _take_facts(domain, before, left)
        client_xml.settle_test_type(domain, self._accelerator.get())
        self._define(vm_id, domain)
        changed = _changes(before, self._secure(vm_id))
        self._machines.mirror.refresh(vm_id)
        return DefinitionChanges(changed=changed, needs_restart=changed if machine.active else [])

    def rename(self, vm_id: str, name: str) -> Machine:
        """Give a machine that is down another name."""
        machine = self._ours(vm_id, "rename")
        check_machine_name(name, "name")
        if machine.status != "Down" or machine.active:
            raise VMNotDown(vm_id=vm_id, action="rename", status=machine.status)
        if name == machine.name:
            return machine
        if any(other.name == name for other in self._machines.inventory.all()):
            raise VMExists(member="vmName", value=name)
        try:
            with as_machine(self._machines.hypervisor, vm_id, "rename"):
                self._definitions.rename(vm_id, name)
        except DomainExists:
            raise VMExists(member="vmName", value=name) from None
        except OperationUnsupported as error:
            raise DefinitionRefused(vm_id=vm_id, reason=error.facts["reason"]) from error
        return self._machines.mirror.refresh(vm_id) or machine

    def adopt(self, vm_id: str) -> Machine:
        """Make a machine of another client one of this daemon, running or not."""
        machine = self._machines.mirror.fresh(self._machines.inventory.get(vm_id))
        if machine.ours:
            return machine
        if machine.missing or not machine.persistent:
            raise CannotAdoptVM(vm_id=vm_id, reason="libvirt does not keep its definition")
        if machine.outgoing or machine.incoming:
            raise CannotAdoptVM(vm_id=vm_id, reason="it is being migrated")
        with as_machine(self._machines.hypervisor, vm_id, "adopt"):
            if self._definitions.autostart(vm_id):
                raise CannotAdoptVM(
                    vm_id=vm_id,
                    reason="libvirt starts it with the host: end that with VM.setAutostart, and set it again "
                    "once the machine is adopted",
                )
            self._machines.mirror.change_metadata(
                vm_id, lambda now: msgspec.structs.replace(now, created=now.created or round(time.time(), 3))
            )
        log.info("Machine %s (%s) is adopted", vm_id, machine.name)
        return self._machines.mirror.refresh(vm_id) or machine

    def _ours(self, vm_id: str, action: str) -> Machine:
        machine = self._machines.mirror.fresh(self._machines.inventory.get(vm_id))
        if machine.missing:
            raise NoSuchVM(vm_id=vm_id)
        if not machine.ours:
            raise NotAdopted(vm_id=vm_id, action=action)
        return machine

    def _secure(self, vm_id: str) -> Element:
        try:
            return parse(self._definitions.xml(vm_id, inactive=True, secure=True))
        except NoSuchDomain:
            raise NoSuchVM(vm_id=vm_id) from None
        except ValueError as error:
            raise DefinitionRefused(vm_id=vm_id, reason=f"libvirt's own cannot be read: {error}") from None

    def _check(self, machine: Machine, domain: Element, before: Element) -> None:
        """Check what a new definition may not change.

        :raises InvalidArgument: it has another id or name, or other images of storage domains
        """
        check_document(domain, _XML)
        vm_id, name = (domain.findtext("uuid") or "").strip().lower(), domain.findtext("name")
        if vm_id and not re.match(UUID_PATTERN, vm_id):
            raise InvalidArgument(argument=_XML, reason=f"<uuid> is '{vm_id[:60]}', which is no UUID")
        if vm_id and vm_id != machine.id:
            raise InvalidArgument(argument=_XML, reason=f"<uuid> is {vm_id}, that of another machine")
        if name is not None and name != machine.name:
            raise InvalidArgument(
                argument=_XML, reason=f"<name> is '{name[:60]}': a machine is renamed by VM.rename"
            )
        under(domain, "uuid").text = machine.id
        under(domain, "name").text = machine.name
        known = metadata.read(before) or Metadata()
        old, new = _sources(before), _sources(domain)
        for target, source in new.items():
            if any(value.startswith((UNPREPARED, client_xml.PAYLOAD)) for value in source.values()):
                raise InvalidArgument(
                    argument=_XML, reason=f"disk {target} has no path, and none is made here"
                )
            if DiskId.read(known.devices.get(target, {})) and source != old.get(target, source):
                raise InvalidArgument(
                    argument=_XML,
                    reason=f"disk {target} is an image of a storage domain, whose path cannot be edited",
                )
        if client_xml.take_disk_ids(copy.deepcopy(domain)) != client_xml.take_disk_ids(copy.deepcopy(before)):
            raise InvalidArgument(argument=_XML, reason="the ids of disks in its metadata cannot be edited")

    def _define(self, vm_id: str, domain: Element) -> None:
        try:
            self._definitions.define(to_text(domain))
        except (DomainExists, XMLRefused, OperationUnsupported) as error:
            raise DefinitionRefused(vm_id=vm_id, reason=error.facts.get("reason", str(error))) from error


def _sources(domain: Element) -> dict[str, dict[str, str]]:
    """Return the attributes of the sources of disks, by target."""
    found = {}
    for disk in domain.iterfind("devices/disk"):
        target, source = disk.find("target"), disk.find("source")
        if target is not None:
            attributes = dict(source.attrib) if source is not None else {}
            # libvirt numbers the images of a running chain.
            attributes.pop("index", None)
            found[target.get("dev", "")] = attributes
    return found


def _left(known: Metadata, domain: Element) -> Metadata:
    """Return metadata without the disks that a definition does not have."""
    targets = _sources(domain).keys()
    return msgspec.structs.replace(
        known, devices={target: ids for target, ids in known.devices.items() if target in targets}
    )


def _take_secrets(domain: Element, before: Element) -> None:
    """Give displays without a password that of the display of the same type at the same place."""
    for kind in {display.get("type", "") for display in domain.iterfind("devices/graphics")}:
        path = f"devices/graphics[@type='{kind}']"
        for new, old in zip(domain.findall(path), before.findall(path), strict=False):
            if new.get("passwd") is None:
                for name in _SECRETS:
                    if (value := old.get(name)) is not None:
                        new.set(name, value)


def _take_facts(domain: Element, before: Element, known: Metadata) -> None:
    """Replace what a client wrote in our elements by what is kept of the machine."""
    place = under(domain, "metadata")
    for child in [child for child in place if child.tag.startswith(_OURS)]:
        place.remove(child)
    place.append(metadata.write(known))
    mark = before.find(f"metadata/{{{run.URI}}}run")
    if mark is not None:
        place.append(mark)


def _changes(before: Element, after: Element) -> list[str]:
    """Return the names of the parts of a definition that are different."""
    old, new = _parts(before), _parts(after)
    return sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))


def _parts(domain: Element) -> dict[str, list[str]]:
    """Return the parts of a definition by their names: each element, and each device."""
    parts: dict[str, list[str]] = {"domain": [" ".join(sorted(map("=".join, domain.attrib.items())))]}
    for child in domain:
        if child.tag == "devices":
            for device in child:
                kind, _, name = device_key(device).partition(":")
                label = f"{device.tag} {name}" if name and kind != device.tag else device.tag
                parts.setdefault(label, []).append(_canonical(device))
        elif child.tag != "metadata":
            parts.setdefault(child.tag, []).append(_canonical(child))
        else:
            for facts in child:
                if not facts.tag.startswith(_OURS):
                    parts.setdefault("metadata", []).append(_canonical(facts))
    return parts


def _canonical(element: Element) -> str:
    return canonicalize(to_text(element), strip_text=True)
