"""The devices of a domain: plugged in and out, and changed."""

from __future__ import annotations

import threading
from typing import Any, Final, Literal

import libvirt
from defusedxml import ElementTree

from vdsm_core.hypervisor import error_mapping
from vdsm_core.hypervisor.connection.caller import Caller
from vdsm_core.hypervisor.connection.dispatcher import Events
from vdsm_core.hypervisor.errors import DeviceNotReleased, NoSuchDevice
from vdsm_core.hypervisor.events import (
    DomainDeviceRemovalFailed,
    DomainDeviceRemoved,
    DomainLifecycle,
    HypervisorEvent,
)

#: Seconds between two readings of the XML while a guest has not released a device: events can be lost.
_LOOK: Final = 5.0

#: Why a request to a disk failed, in libvirt's words.
DiskError = Literal["unspecified", "no-space"]
_DISK_ERRORS: Final[dict[int, DiskError]] = {libvirt.VIR_DOMAIN_DISK_ERROR_NO_SPACE: "no-space"}


class Devices:
    """Changes the devices of domains.

    `timeout` and the errors that every method raises are those of `Caller.call_domain`.

    :param events: reports devices that guests have released
    """

    def __init__(self, caller: Caller, events: Events) -> None:
        self._caller = caller
        self._events = events

    def set_vcpus(self, uuid: str, count: int, *, timeout: float | None = None) -> None:
        """Switch virtual CPUs on or off, in the running machine and in the kept definition.

        :raises OperationInvalid: the domain is not active
        """
        self._caller.call_domain(
            uuid, lambda domain: domain.setVcpusFlags(count, _affected(domain)), "set_vcpus", timeout=timeout
        )

    def set_memory(self, uuid: str, kib: int, *, timeout: float | None = None) -> None:
        """Set the balloon's target, the memory of the guest, to `kib` KiB. The persistent definition stays.

        :raises OperationInvalid: the domain is not active
        """
        flags = libvirt.VIR_DOMAIN_AFFECT_LIVE
        self._caller.call_domain(
            uuid, lambda domain: domain.setMemoryFlags(kib, flags), "set_memory", timeout=timeout
        )

    def update(self, uuid: str, xml: str, *, timeout: float | None = None) -> None:
        """Change a device of the running machine to what its XML says. The persistent definition stays.

        :raises OperationInvalid: the domain is not active
        """
        flags = libvirt.VIR_DOMAIN_AFFECT_LIVE
        self._caller.call_domain(
            uuid, lambda domain: domain.updateDeviceFlags(xml, flags), "update_device", timeout=timeout
        )

    def disk_errors(self, uuid: str, *, timeout: float | None = None) -> dict[str, DiskError]:
        """Return the disks whose last request failed, by target; a guest that is resumed clears them.

        :raises OperationInvalid: the domain is not active
        """
        return self._caller.call_domain(
            uuid,
            lambda domain: {
                str(target): _DISK_ERRORS.get(number, "unspecified")
                for target, number in (domain.diskErrors(0) or {}).items()
                if number != libvirt.VIR_DOMAIN_DISK_ERROR_NONE
            },
            "disk_errors",
            timeout=timeout,
        )

    def attach(self, uuid: str, xml: str, *, timeout: float | None = None) -> None:
        """Plug a device into the running machine, and into the kept definition if there is one.

        :param xml: the device's element, such as `<disk>`
        :raises OperationInvalid: the domain is not active
        :raises XMLRefused: libvirt does not accept the element
        """
        self._caller.call_domain(
            uuid,
            lambda domain: domain.attachDeviceFlags(xml, _affected(domain)),
            error_mapping.ATTACH,
            timeout=timeout,
        )

    def detach(self, uuid: str, alias: str, *, within: float, timeout: float | None = None) -> None:
        """Unplug a device of the running machine, and remove it from the kept definition.

        The guest has to release the device; the method waits until it has. A request that was not fulfilled
        stays with the guest, which may release the device later: `DomainDeviceRemoved` reports that.

        :param alias: libvirt's name of the device
        :param within: seconds that the guest has
        :raises NoSuchDevice: the running machine has no device of this alias
        :raises DeviceNotReleased: the guest has not released it in time, or refuses to
        :raises OperationInvalid: the domain is not active
        """
        element = self._find(uuid, alias, timeout)
        watch = _Removal(uuid.lower(), alias)
        stop_listening = self._events.listen(watch)
        try:
            self._caller.call_domain(
                uuid,
                lambda domain: _request_removal(domain, alias, element),
                "detach_device",
                timeout=timeout,
            )
            left = within
            while not watch.wait(min(left, _LOOK)):
                left -= _LOOK
                if not self._is_present(uuid, alias, timeout):
                    break
                if left <= 0:
                    raise DeviceNotReleased(alias=alias, reason=f"it has not done so within {within:g} s")
            if watch.refused and self._is_present(uuid, alias, timeout):
                raise DeviceNotReleased(alias=alias, reason="it refuses to")
        finally:
            stop_listening()
        self.forget(uuid, element, timeout=timeout)

    def detach_at_once(self, uuid: str, xml: str, *, timeout: float | None = None) -> None:
        """Remove what no guest has to release, such as a lease, also from the kept definition.

        :param xml: its element
        :raises NoSuchDevice: the running machine does not have it
        :raises OperationInvalid: the domain is not active
        """

        def detached(domain: Any) -> bool:
            try:
                domain.detachDeviceFlags(xml, libvirt.VIR_DOMAIN_AFFECT_LIVE)
            except libvirt.libvirtError as error:
                if error.get_error_code() not in error_mapping.NO_DEVICE:
                    raise
                return False
            return True

        found = self._caller.call_domain(uuid, detached, "detach_device", timeout=timeout)
        self.forget(uuid, xml, timeout=timeout)
        if not found:
            raise NoSuchDevice(uuid=uuid, alias=xml)

    def forget(self, uuid: str, xml: str, *, timeout: float | None = None) -> None:
        """Remove a device from the kept definition. One that is not there, or no definition, is no error.

        :param xml: the device's element, as the running machine has it
        """

        def forgotten(domain: Any) -> None:
            if not domain.isPersistent():
                return
            try:
                domain.detachDeviceFlags(xml, libvirt.VIR_DOMAIN_AFFECT_CONFIG)
            except libvirt.libvirtError as error:
                if error.get_error_code() not in error_mapping.NO_DEVICE:
                    raise

        self._caller.call_domain(uuid, forgotten, "forget_device", timeout=timeout)

    def _find(self, uuid: str, alias: str, timeout: float | None) -> str:
        """Return a device's element in the running machine.

        :raises NoSuchDevice: there is none
        """
        found = self._caller.call_domain(
            uuid, lambda domain: _element(domain, alias), "device", timeout=timeout
        )
        if found is None:
            raise NoSuchDevice(uuid=uuid, alias=alias)
        return found

    def _is_present(self, uuid: str, alias: str, timeout: float | None) -> bool:
        return (
            self._caller.call_domain(uuid, lambda domain: _element(domain, alias), "device", timeout=timeout)
            is not None
        )


class _Removal:
    """Waits for the report that a device is gone, or that it stays."""

    def __init__(self, uuid: str, alias: str) -> None:
        self._uuid = uuid
        self._alias = alias
        self._reported = threading.Event()
        self.refused = False

    def __call__(self, event: HypervisorEvent) -> None:
        if getattr(event, "uuid", "") != self._uuid:
            return
        if isinstance(event, DomainLifecycle):
            if event.event == "stopped":
                self._reported.set()
            return
        if isinstance(event, DomainDeviceRemoved | DomainDeviceRemovalFailed) and event.alias == self._alias:
            self.refused = isinstance(event, DomainDeviceRemovalFailed)
            self._reported.set()

    def wait(self, seconds: float) -> bool:
        """Wait for a report; return whether there is one."""
        return self._reported.wait(max(0.0, seconds))


def _element(domain: Any, alias: str) -> str | None:
    """Return the element of the device with this alias in a running domain."""
    root = ElementTree.fromstring(domain.XMLDesc(0), forbid_dtd=True)
    for device in root.iterfind("devices/*"):
        name = device.find("alias")
        if name is not None and name.get("name") == alias:
            return str(ElementTree.tostring(device, encoding="unicode"))
    return None


def _request_removal(domain: Any, alias: str, element: str) -> None:
    try:
        domain.detachDeviceAlias(alias, libvirt.VIR_DOMAIN_AFFECT_LIVE)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_SUPPORT:
            raise
        # A driver without aliases in its calls takes the element.
        domain.detachDeviceFlags(element, libvirt.VIR_DOMAIN_AFFECT_LIVE)


def _affected(domain: Any) -> int:
    """Return the flags that change the running machine and, if there is one, the kept definition."""
    flags: int = libvirt.VIR_DOMAIN_AFFECT_LIVE
    return flags | libvirt.VIR_DOMAIN_AFFECT_CONFIG if domain.isPersistent() else flags
