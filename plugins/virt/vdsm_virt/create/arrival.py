"""What a source sends of a machine that is to arrive: its document, and what hooks get of it."""

from __future__ import annotations

from typing import Any, Final
from xml.etree.ElementTree import Element

import msgspec

from vdsm_core.errors import InvalidArgument
from vdsm_core.hooks.specs.devices import vdsm_before_device_migrate_destination
from vdsm_core.hooks.specs.vm import vdsm_before_vm_migrate_destination
from vdsm_virt.api.migration import IncomingParams
from vdsm_virt.domain.elements import add, parse
from vdsm_virt.machine.machine_hooks import MachineHooks, described
from vdsm_virt.machine.naming import check_document

#: Members of a request that have the document: that of libvirt on the source, and that of its definition.
MEMBERS: Final = ("_srcDomXML", "xml")


def documents(params: IncomingParams) -> dict[str, Element]:
    """Return the documents of a request, by the member that each is from.

    :raises InvalidArgument: one is no domain document, or has a name that is no file name
    """
    found = {}
    for name in MEMBERS:
        text = params.unknown.get(name)
        if text is None or text == "":
            continue
        argument = f"params.{name}"
        if not isinstance(text, str):
            raise InvalidArgument(argument=argument, reason="it is no text")
        try:
            domain = parse(text)
        except ValueError as error:
            raise InvalidArgument(argument=argument, reason=str(error)) from None
        if domain.tag != "domain":
            raise InvalidArgument(argument=argument, reason=f"its root is <{domain.tag[:40]}>, not <domain>")
        check_document(domain, argument)
        found[name] = domain
    return found


def check_identity(found: dict[str, Element], vm_id: str, vm_name: str) -> None:
    """Check that documents are about the machine that is announced.

    :param vm_name: empty: any
    :raises InvalidArgument: one is about another machine
    """
    for member, domain in found.items():
        for tag, expected in (("uuid", vm_id), ("name", vm_name)):
            text = (domain.findtext(tag) or "").strip()
            same = text.lower() == expected.lower() if tag == "uuid" else text == expected
            if expected and text and not same:
                raise InvalidArgument(
                    argument=f"params.{member}", reason=f"its <{tag}> is '{text[:80]}', not '{expected}'"
                )


def call_hooks(hooks: MachineHooks, vm_id: str, vm_name: str, params: IncomingParams) -> None:
    """Call the hooks about a machine that is about to arrive, with the document of the source.

    Without one they get a document that has only id and name.

    :raises VdsmError: a plugin refuses it
    """
    if not hooks.has(vdsm_before_device_migrate_destination, vdsm_before_vm_migrate_destination):
        return
    found = documents(params)
    domain = next((found[name] for name in MEMBERS if name in found), None)
    if domain is None:
        domain = Element("domain")
        add(domain, "name", vm_name)
        add(domain, "uuid", vm_id)
    subject = described(vm_id, domain, {}, {})
    if not subject.custom:
        subject = msgspec.structs.replace(subject, custom=_custom(params.unknown.get("custom")))
    hooks.run_for_devices(vdsm_before_device_migrate_destination, subject)
    hooks.run_about(vdsm_before_vm_migrate_destination, subject)


def _custom(members: Any) -> dict[str, str]:
    if not isinstance(members, dict):
        return {}
    return {str(name): value for name, value in members.items() if isinstance(value, str)}
