"""Hooks of the devices of a machine.

`device` is a copy of the device's own element in the domain document (`<interface>`, `<disk>`, `<memory>`,
...), `vm_id` the id of its machine, `custom` are the custom properties of the machine and `device_custom`
those of the device. Where a document is not for editing, changes of it have no effect.

The hooks of creation, destruction and migration are called for devices that have custom properties, for
each of them once.
"""

from __future__ import annotations

from typing import Any
from xml.etree.ElementTree import Element

from vdsm_core.hooks.declare import check, edit, notify


@edit
def vdsm_before_nic_hotplug(
    device: Element, vm_id: str, custom: dict[str, str], device_custom: dict[str, str]
) -> None:
    """Edit, in place, the element of a NIC that is about to be plugged into a running machine.

    :raises VdsmError: to refuse; the caller gets this error
    """


@notify
def vdsm_after_nic_hotplug(
    vm_id: str, device: Element, custom: dict[str, str], device_custom: dict[str, str]
) -> None:
    """A NIC was plugged into a running machine."""


@notify
def vdsm_after_nic_hotplug_fail(
    vm_id: str, device: Element, custom: dict[str, str], device_custom: dict[str, str]
) -> None:
    """A NIC could not be plugged into a running machine."""


@check
def vdsm_before_nic_hotunplug(
    vm_id: str, device: Element, custom: dict[str, str], device_custom: dict[str, str]
) -> None:
    """A NIC is about to be unplugged from a running machine.

    :raises VdsmError: to refuse; the caller gets this error
    """


@notify
def vdsm_after_nic_hotunplug(
    vm_id: str, device: Element, custom: dict[str, str], device_custom: dict[str, str]
) -> None:
    """A NIC was unplugged from a running machine."""


@notify
def vdsm_after_nic_hotunplug_fail(
    vm_id: str, device: Element, custom: dict[str, str], device_custom: dict[str, str]
) -> None:
    """A NIC could not be unplugged from a running machine."""


@edit
def vdsm_before_disk_hotplug(
    device: Element, vm_id: str, custom: dict[str, str], device_custom: dict[str, str]
) -> None:
    """Edit, in place, the element of a disk that is about to be plugged into a running machine.

    :raises VdsmError: to refuse; the caller gets this error
    """


@notify
def vdsm_after_disk_hotplug(
    vm_id: str, device: Element, custom: dict[str, str], device_custom: dict[str, str]
) -> None:
    """A disk was plugged into a running machine."""


@check
def vdsm_before_disk_hotunplug(
    vm_id: str, device: Element, custom: dict[str, str], device_custom: dict[str, str]
) -> None:
    """A disk is about to be unplugged from a running machine.

    :raises VdsmError: to refuse; the caller gets this error
    """


@notify
def vdsm_after_disk_hotunplug(
    vm_id: str, device: Element, custom: dict[str, str], device_custom: dict[str, str]
) -> None:
    """A disk was unplugged from a running machine."""


@edit
def vdsm_before_memory_hotplug(
    device: Element, vm_id: str, custom: dict[str, str], device_custom: dict[str, str]
) -> None:
    """Edit, in place, the element of a memory device that is about to be plugged into a running machine.

    :raises VdsmError: to refuse; the caller gets this error
    """


@notify
def vdsm_after_memory_hotplug(
    vm_id: str, device: Element, custom: dict[str, str], device_custom: dict[str, str]
) -> None:
    """A memory device was plugged into a running machine."""


@edit
def vdsm_before_update_device(
    device: Element, vm_id: str, custom: dict[str, str], device_custom: dict[str, str]
) -> None:
    """Edit, in place, the element of a NIC that is about to be updated.

    :param device_custom: custom properties of the call
    :raises VdsmError: to refuse; the caller gets this error, after `vdsm_after_update_device_fail`
    """


@notify
def vdsm_after_update_device(
    vm_id: str, device: Element, custom: dict[str, str], device_custom: dict[str, str]
) -> None:
    """A NIC was updated.

    :param device_custom: custom properties of the call
    """


@notify
def vdsm_after_update_device_fail(
    vm_id: str, device: Element, custom: dict[str, str], device_custom: dict[str, str]
) -> None:
    """A NIC could not be updated.

    :param device_custom: custom properties of the call
    """


@edit
def vdsm_before_device_create(
    device: Element, vm_id: str, custom: dict[str, str], device_custom: dict[str, str]
) -> None:
    """Edit, in place, the element of a device of a machine that is about to start.

    Not called for disks, as in VDSM.

    :raises VdsmError: to refuse the start; the machine becomes Down with this error as its exit message
    """


@notify
def vdsm_after_device_create(
    vm_id: str, device: Element, custom: dict[str, str], device_custom: dict[str, str]
) -> None:
    """The machine of a device has started."""


@check
def vdsm_before_device_destroy(
    vm_id: str, device: Element, custom: dict[str, str], device_custom: dict[str, str]
) -> None:
    """The machine of a device is about to be destroyed.

    :raises VdsmError: to refuse the destruction; the caller gets this error
    """


@notify
def vdsm_after_device_destroy(
    vm_id: str, device: Element, custom: dict[str, str], device_custom: dict[str, str]
) -> None:
    """The machine of a device was destroyed."""


@check
def vdsm_before_device_migrate_source(
    vm_id: str, device: Element, custom: dict[str, str], device_custom: dict[str, str]
) -> None:
    """The machine of a device is about to be migrated to another host. Called on the source.

    :raises VdsmError: to refuse; the machine continues on this host
    """


@notify
def vdsm_after_device_migrate_source(
    vm_id: str, device: Element, custom: dict[str, str], device_custom: dict[str, str]
) -> None:
    """The machine of a device was migrated to another host. Called on the source."""


@check
def vdsm_before_device_migrate_destination(
    vm_id: str, device: Element, custom: dict[str, str], device_custom: dict[str, str]
) -> None:
    """The machine of a device is about to arrive from another host. Called on the destination.

    :raises VdsmError: to refuse; the machine continues on the source
    """


@notify
def vdsm_after_device_migrate_destination(
    vm_id: str, device: Element, custom: dict[str, str], device_custom: dict[str, str]
) -> None:
    """The machine of a device has arrived from another host. Called on the destination."""


@edit
def vdsm_after_disk_prepare(
    drive: dict[str, Any], vm_id: str, custom: dict[str, str], device_custom: dict[str, str]
) -> None:
    """Edit, in place, the description of a disk that was made usable on this host.

    :param drive: the disk as VDSM's clients describe it (`poolID`, `domainID`, ..., `path`); members that are
        set here are used for it
    :raises VdsmError: to refuse the disk; what it is prepared for fails with this error
    """
