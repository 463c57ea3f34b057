"""What every change of the devices of a running machine has in common."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Final
from xml.etree.ElementTree import Element

import msgspec

from vdsm_core.errors import OperationFailed
from vdsm_virt.api.kept import kept_custom
from vdsm_virt.domain.devices import device_key
from vdsm_virt.domain.elements import check_shape, parse, to_text
from vdsm_virt.domain.metadata import Metadata
from vdsm_virt.domain.read.hotplug import alias_of
from vdsm_virt.machine import transitions
from vdsm_virt.machine.machine import Machine
from vdsm_virt.machine.machines import Machines
from vdsm_virt.machine.refusals import as_machine, running

#: Seconds that a guest has to release a device that is unplugged: VDSM's `hotunplug_timeout`.
RELEASE: Final = 30.0


class Plugging:
    """Plugs devices into running machines and out of them, and keeps what libvirt does not.

    :param kept: shell patterns of the custom properties that are kept
    """

    def __init__(self, machines: Machines, kept: Sequence[str]) -> None:
        self._machines = machines
        self._kept = tuple(kept)

    def running(self, vm_id: str) -> Machine:
        """Return a machine whose devices can be changed now.

        :raises NoSuchVM: there is none of this id
        :raises VMIsDown: it does not run
        :raises MigrationInProgress: it is being migrated
        """
        return running(self._machines.inventory, vm_id, "change")

    def devices(self, vm_id: str, tag: str) -> list[Element]:
        """Return the devices of a kind that a running machine has now.

        :raises NoSuchVM: libvirt has forgotten the machine
        :raises OperationFailed: its document cannot be read
        """
        with self._as_machine(vm_id):
            text = self._machines.hypervisor.definitions.xml(vm_id)
        try:
            return parse(text).findall(f"devices/{tag}")
        except ValueError as error:
            raise OperationFailed(
                reason=f"libvirt's document of machine {vm_id} cannot be read: {error}"
            ) from None

    def attach(self, vm_id: str, device: Element) -> None:
        """Plug a device in.

        :raises VMIsDown: the machine has ended meanwhile
        :raises HypervisorError: libvirt refuses
        :raises OperationFailed: a hook made the element too deep or too large
        """
        try:
            check_shape(device)
        except ValueError as error:
            raise OperationFailed(
                reason=f"a hook changed <{device.tag}> to what is not acceptable: {error}"
            ) from None
        with self._as_machine(vm_id):
            self._machines.hypervisor.devices.attach(vm_id, to_text(device))

    def update(self, vm_id: str, device: Element) -> None:
        """Change a device to what its element says.

        :raises VMIsDown: the machine has ended meanwhile
        :raises HypervisorError: libvirt refuses
        """
        with self._as_machine(vm_id):
            self._machines.hypervisor.devices.update(vm_id, to_text(device))

    def detach(self, vm_id: str, device: Element, within: float = RELEASE) -> None:
        """Unplug a device, and forget what is kept of it.

        :param within: seconds that the guest has to release it
        :raises VMIsDown: the machine has ended meanwhile
        :raises DeviceNotReleased: the guest has not released it
        :raises HypervisorError: libvirt refuses
        """
        with self._as_machine(vm_id):
            self._machines.hypervisor.devices.detach(vm_id, alias_of(device), within=within)
        key = device_key(device)
        self.keep(vm_id, lambda facts: _without(facts, key))

    def keep_custom(self, vm_id: str, device: Element, custom: dict[str, str]) -> None:
        """Keep the custom properties of a device, as far as they are to be kept."""
        kept, key = kept_custom(custom, self._kept), device_key(device)
        if kept and key:
            self.keep(vm_id, lambda facts: _with_custom(facts, key, kept))

    def keep(self, vm_id: str, change: Callable[[Metadata], Metadata]) -> None:
        """Change what is kept with a machine of ours. Nothing is kept with machines of other clients."""
        machine = self._machines.mirror.fresh(self._machines.inventory.get(vm_id))
        if machine.ours:
            with self._as_machine(vm_id):
                self._machines.mirror.change_metadata(vm_id, change)

    def shown(self, vm_id: str) -> Machine:
        """Return the machine as libvirt has it now."""
        return self._machines.mirror.refresh(vm_id) or self._machines.inventory.get(vm_id)

    def look_soon(self, vm_id: str) -> None:
        """Read a machine again in the background: a change has failed, or its outcome is not known."""
        self._machines.inventory.update(vm_id, transitions.new_xml)
        self._machines.mirror.refresh_soon(vm_id)

    @contextlib.contextmanager
    def _as_machine(self, vm_id: str) -> Iterator[None]:
        with as_machine(self._machines.hypervisor, vm_id, "change"):
            yield


def by_alias(devices: Sequence[Element], alias: str) -> Element | None:
    """Return the device of an alias; None if there is none."""
    return next((device for device in devices if alias_of(device) == alias), None)


def _with_custom(facts: Metadata, key: str, custom: dict[str, str]) -> Metadata:
    return msgspec.structs.replace(facts, device_custom={**facts.device_custom, key: custom})


def _without(facts: Metadata, key: str) -> Metadata:
    return msgspec.structs.replace(
        facts,
        device_custom={name: custom for name, custom in facts.device_custom.items() if name != key},
        device_ids={name: own for name, own in facts.device_ids.items() if name != key},
    )
