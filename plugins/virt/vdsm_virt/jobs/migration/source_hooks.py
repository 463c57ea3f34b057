"""The hooks about a machine that leaves this host."""

from __future__ import annotations

from typing import Any, Final
from xml.etree.ElementTree import Element

from vdsm_core.hooks.specs.devices import (
    vdsm_after_device_migrate_source,
    vdsm_before_device_migrate_source,
)
from vdsm_core.hooks.specs.vm import vdsm_after_vm_migrate_source, vdsm_before_vm_migrate_source
from vdsm_virt.domain.elements import parse, to_text
from vdsm_virt.machine.machine_hooks import MachineHooks, Subject

#: Member of the memory of the task: what the hooks afterwards get, when libvirt has nothing left here.
_KEY: Final = "last_known"


class SourceHooks:
    """Calls the hooks of the source, before each attempt at a destination and after the migration."""

    def __init__(self, hooks: MachineHooks, vm_id: str) -> None:
        self._hooks = hooks
        self._vm_id = vm_id
        self._called = False

    def before(self, memory: dict[str, Any], *, begun: bool) -> None:
        """Call the hooks before an attempt, once; keep the document for those afterwards.

        :param memory: of the task
        :param begun: another client has begun the migration: it cannot be refused
        :raises VdsmError: a plugin refuses, or the document of the machine cannot be read
        """
        if self._called:
            return
        before = (vdsm_before_device_migrate_source, vdsm_before_vm_migrate_source)
        after = (vdsm_after_vm_migrate_source, vdsm_after_device_migrate_source)
        if not begun and self._hooks.has(*before):
            subject = self._hooks.subject(self._vm_id)
            self._hooks.run_for_devices(vdsm_before_device_migrate_source, subject)
            self._hooks.run_about(vdsm_before_vm_migrate_source, subject)
        if self._hooks.has(*after):
            memory[_KEY] = _packed(self._hooks.last_known(self._vm_id, *after))
        self._called = True

    def again(self) -> None:
        """Have the next attempt call them once more, as in VDSM."""
        self._called = False

    def after(self, memory: dict[str, Any]) -> None:
        """Call the hooks after a migration, with what was last known of the machine."""
        if _KEY in memory:
            subject = _unpacked(self._vm_id, memory[_KEY])
            self._hooks.run_about(vdsm_after_vm_migrate_source, subject)
            self._hooks.run_for_devices(vdsm_after_device_migrate_source, subject)


def _packed(subject: Subject) -> dict[str, Any]:
    """Return what hooks get of a machine as plain data."""
    return {"document": to_text(subject.domain), "custom": subject.custom, "devices": subject.devices}


def _unpacked(vm_id: str, packed: dict[str, Any]) -> Subject:
    try:
        domain = parse(packed["document"])
    except ValueError:
        domain = Element("domain")
    return Subject(vm_id=vm_id, domain=domain, custom=packed["custom"], devices=packed["devices"])
