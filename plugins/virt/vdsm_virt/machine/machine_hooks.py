"""Calls of hooks about one machine and its devices, with the document and the custom properties of each."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final, TypeVar
from xml.etree.ElementTree import Element

import msgspec

from vdsm_core.errors import OperationFailed, VdsmError
from vdsm_core.hooks import copies
from vdsm_core.hooks.declare import Hook
from vdsm_core.hooks.manager import Hooks
from vdsm_core.hooks.specs.devices import vdsm_after_device_migrate_destination
from vdsm_core.hooks.specs.vm import (
    vdsm_after_vm_cont,
    vdsm_after_vm_migrate_destination,
    vdsm_after_vm_pause,
)
from vdsm_core.hypervisor import DomainLifecycle, Hypervisor, HypervisorEvent
from vdsm_core.work.scheduler import Jobs
from vdsm_virt.domain import devices as device_keys
from vdsm_virt.domain import metadata
from vdsm_virt.domain.elements import parse
from vdsm_virt.machine.inventory import Inventory
from vdsm_virt.machine.references import Machine as MachineReference

log = logging.getLogger(__name__)

T = TypeVar("T")

#: A hook about a machine, one with one argument more, and those about a device of it.
MachineHook = Hook[[str, Element, dict[str, str]], None]
MachineHookWith = Hook[[str, Element, dict[str, str], T], None]
DeviceEdit = Hook[[Element, str, dict[str, str], dict[str, str]], Element]
DeviceHook = Hook[[str, Element, dict[str, str], dict[str, str]], None]

#: The hooks that follow an event of libvirt, by the event and its detail: as in VDSM, neither an I/O error
#: nor a migration is a pause.
_FOLLOWS: Final[dict[tuple[str, str], MachineHook]] = {
    ("suspended", "paused"): vdsm_after_vm_pause,
    ("resumed", "unpaused"): vdsm_after_vm_cont,
}
#: How libvirt reports that a machine runs that has arrived from another host.
_ARRIVED: Final = (("resumed", "migrated"), ("resumed", "postcopy"))


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """A machine as its hooks get it: its document and custom properties.

    :ivar devices: the custom properties of its devices, by `device_key`; only devices that have some
    """

    vm_id: str
    domain: Element
    custom: dict[str, str] = {}
    devices: dict[str, dict[str, str]] = {}


class MachineHooks:
    """Calls hooks about machines. Nothing is read for a hook that no plugin implements."""

    def __init__(self, hypervisor: Hypervisor, inventory: Inventory, hooks: Hooks, jobs: Jobs) -> None:
        self._hypervisor = hypervisor
        self._inventory = inventory
        self._hooks = hooks
        self._jobs = jobs
        self._lock = threading.Lock()
        #: Hooks that a verb calls itself once libvirt has reported what the verb does.
        self._expected: Counter[tuple[str, str]] = Counter()

    def has(self, *hooks: Hook[..., Any]) -> bool:
        """Return whether a plugin implements one of these hooks."""
        return any(self._hooks.implemented(hook) for hook in hooks)

    def custom(self, vm_id: str) -> dict[str, str]:
        """Return the custom properties that are kept with a machine; none of an unknown one."""
        machine = self._inventory.find(vm_id)
        known = machine.details.metadata if machine is not None and machine.details is not None else None
        return dict(known.custom) if known is not None else {}

    def device_custom(self, vm_id: str, device: Element) -> dict[str, str]:
        """Return the custom properties that are kept with a device of a machine."""
        return dict(self._kept(vm_id).get(device_keys.device_key(device), {}))

    def subject(self, vm_id: str) -> Subject:
        """Return what hooks get of a machine.

        :raises NoSuchDomain: libvirt does not have it
        :raises OperationFailed: its document cannot be read
        """
        try:
            domain = parse(self._hypervisor.definitions.xml(vm_id))
        except ValueError as error:
            raise OperationFailed(
                reason=f"libvirt's document of machine {vm_id} cannot be read: {error}"
            ) from None
        return described(vm_id, domain, self.custom(vm_id), self._kept(vm_id))

    def last_known(self, vm_id: str, *hooks: Hook[..., Any]) -> Subject:
        """Return what hooks get of a machine that is about to end; reads it if one of them is implemented."""
        empty = Subject(
            vm_id=vm_id, domain=Element("domain"), custom=self.custom(vm_id), devices=self._kept(vm_id)
        )
        if not self.has(*hooks):
            return empty
        try:
            return self.subject(vm_id)
        except VdsmError as error:
            log.info("The hooks of machine %s get no document: %s", vm_id, error)
            return empty

    def check(self, hook: MachineHook, vm_id: str) -> None:
        """Call a hook that may refuse.

        :raises VdsmError: a plugin refuses, or the machine's document cannot be read
        """
        if self._hooks.implemented(hook):
            subject = self.subject(vm_id)
            self._hooks.run(hook, vm_id, subject.domain, subject.custom)

    def notify(self, hook: MachineHook, vm_id: str) -> None:
        """Call a hook that is only notified."""
        if self._hooks.implemented(hook):
            subject = self.last_known(vm_id, hook)
            self._hooks.run(hook, vm_id, subject.domain, subject.custom)

    def notify_with(self, hook: MachineHookWith[T], vm_id: str, more: T) -> None:
        """Call a hook that is only notified, and that has one argument more."""
        if self._hooks.implemented(hook):
            subject = self.last_known(vm_id, hook)
            self._hooks.run(hook, vm_id, subject.domain, subject.custom, more)

    def run(self, hook: Hook[[str, dict[str, str]], None], vm_id: str) -> None:
        """Call a hook without a document.

        :raises VdsmError: a plugin refuses, where the hook is declared so
        """
        self._hooks.run(hook, vm_id, self.custom(vm_id))

    def run_about(self, hook: MachineHook, subject: Subject) -> None:
        """Call a hook with a document that was read before.

        :raises VdsmError: a plugin refuses, where the hook is declared so
        """
        self._hooks.run(hook, subject.vm_id, subject.domain, dict(subject.custom))

    def run_for_devices(self, hook: DeviceHook, subject: Subject) -> None:
        """Call a hook for each device with custom properties, in the order of the document.

        :raises VdsmError: a plugin refuses, where the hook is declared so
        """
        if not subject.devices or not self._hooks.implemented(hook):
            return
        for device in subject.domain.findall("devices/*"):
            custom = subject.devices.get(device_keys.device_key(device))
            if custom:
                self._hooks.run(hook, subject.vm_id, device, dict(subject.custom), dict(custom))

    def edit_devices(self, hook: DeviceEdit, subject: Subject) -> Element:
        """Return a document with the devices that have custom properties as a hook has left them.

        Disks are left out, as in VDSM. The document that is given stays as it is.

        :raises VdsmError: a plugin refuses a device
        """
        if not subject.devices or not self._hooks.implemented(hook):
            return subject.domain
        domain = copies.deep(subject.domain)
        parent = domain.find("devices")
        for place, device in enumerate(parent if parent is not None else ()):
            custom = subject.devices.get(device_keys.device_key(device))
            if custom and device.tag != "disk" and parent is not None:
                parent[place] = self._hooks.run(
                    hook, device, subject.vm_id, dict(subject.custom), dict(custom)
                )
        return domain

    @contextlib.contextmanager
    def calling_after(self, hook: MachineHook, vm_id: str) -> Iterator[None]:
        """Call a hook at the end of the block; libvirt's event of what the block does, does not call it."""
        key = (hook.name, vm_id)
        with self._lock:
            self._expected[key] += 1
        try:
            yield
            self.notify(hook, vm_id)
        finally:
            with self._lock:
                self._expected[key] -= 1
                if not self._expected[key]:
                    del self._expected[key]

    def handle(self, event: HypervisorEvent) -> None:
        """Call the hook that follows an event, unless a verb calls it.

        To be called before the inventory changes. The hook is called in the background: events must not wait
        for it.
        """
        if not isinstance(event, DomainLifecycle):
            return
        if (event.event, event.detail) in _ARRIVED:
            self._arrived(event.uuid)
            return
        hook = _FOLLOWS.get((event.event, event.detail))
        if hook is None or not self._hooks.implemented(hook):
            return
        with self._lock:
            if (hook.name, event.uuid) in self._expected:
                return
        machine = self._inventory.find(event.uuid)
        if machine is None or machine.launching or machine.incoming:
            return
        self._jobs.plan(
            hook.name,
            lambda: self.notify(hook, event.uuid),
            of=MachineReference(event.uuid),
            second="not needed",
        )

    def _arrived(self, vm_id: str) -> None:
        """Call the hooks about a machine that has arrived from another host."""
        machine = self._inventory.find(vm_id)
        hooks = (vdsm_after_vm_migrate_destination, vdsm_after_device_migrate_destination)
        if machine is None or not machine.incoming or not self.has(*hooks):
            return

        def notify() -> None:
            subject = self.last_known(vm_id, *hooks)
            self.run_about(vdsm_after_vm_migrate_destination, subject)
            self.run_for_devices(vdsm_after_device_migrate_destination, subject)

        self._jobs.plan(
            vdsm_after_vm_migrate_destination.name, notify, of=MachineReference(vm_id), second="not needed"
        )

    def _kept(self, vm_id: str) -> dict[str, dict[str, str]]:
        machine = self._inventory.find(vm_id)
        known = machine.details.metadata if machine is not None and machine.details is not None else None
        return known.device_custom if known is not None else {}


def described(
    vm_id: str, domain: Element, custom: dict[str, str], devices: dict[str, dict[str, str]]
) -> Subject:
    """Return what hooks get of a machine, with the custom properties that its document keeps.

    :param custom: those that are known, instead of them
    """
    known = metadata.read(domain) if not custom and not devices else None
    if known is not None:
        custom, devices = dict(known.custom), known.device_custom
    return Subject(vm_id=vm_id, domain=domain, custom=custom, devices=devices)
