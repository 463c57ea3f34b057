"""libvirt's test driver, with devices plugged in and out as QEMU's driver does it."""

from __future__ import annotations

from typing import Any, Self
from xml.etree import ElementTree as ET

import libvirt

from vdsm_core.hypervisor import open_libvirt


class PluggingDriver:
    """Gives connections whose domains take devices. Give `connect` to a host.

    :ivar refuses: the message with which the next call about devices fails
    :ivar releases: whether guests release devices
    :ivar attached: every element that was plugged in
    :ivar detached_nodes: the names of the host's devices that were taken from their drivers
    """

    def __init__(self) -> None:
        self.refuses = ""
        self.releases = True
        self.attached: list[str] = []
        self.detached_nodes: list[str] = []
        self.stuck_nodes: set[str] = set()
        self.devices: dict[str, ET.Element] = {}
        self.listeners: list[Any] = []
        self._kept = open_libvirt("test:///default")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._kept.close()

    def connect(self, uri: str) -> Any:
        """Open a connection."""
        return _Connection(self, open_libvirt(uri))

    def check(self) -> None:
        """Fail a call, if a test wants that."""
        if self.refuses:
            message, self.refuses = self.refuses, ""
            raise error(libvirt.VIR_ERR_OPERATION_FAILED, message)


def error(code: int, message: str) -> libvirt.libvirtError:
    """An error of QEMU's driver."""
    made = libvirt.libvirtError(message)
    made.err = (code, libvirt.VIR_FROM_QEMU, message, 2, message, None, None, 0, 0)
    return made


class _Connection:
    def __init__(self, driver: PluggingDriver, real: Any) -> None:
        self._driver = driver
        self._real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def lookupByUUIDString(self, uuid: str) -> Any:
        return _Domain(self._driver, self._real.lookupByUUIDString(uuid))

    def nodeDeviceLookupByName(self, name: str) -> Any:
        if not name.startswith("pci_"):
            return self._real.nodeDeviceLookupByName(name)
        return _Node(self._driver, name)

    def domainEventRegisterAny(self, domain: Any, event: int, callback: Any, opaque: Any) -> int:
        if event == libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED:
            self._driver.listeners.append(lambda about, alias: callback(self, about, alias, opaque))
        return int(self._real.domainEventRegisterAny(domain, event, callback, opaque))


class _Node:
    def __init__(self, driver: PluggingDriver, name: str) -> None:
        self._driver = driver
        self._name = name

    def dettach(self) -> None:
        if self._name in self._driver.stuck_nodes:
            raise error(libvirt.VIR_ERR_OPERATION_FAILED, f"cannot unbind {self._name}")
        self._driver.detached_nodes.append(self._name)

    def reAttach(self) -> None:
        self._driver.detached_nodes.remove(self._name)


class _Domain:
    def __init__(self, driver: PluggingDriver, real: Any) -> None:
        self._driver = driver
        self._real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def XMLDesc(self, flags: int = 0) -> str:
        plain = self._real.XMLDesc(flags)
        known = self._driver.devices.get(self._real.UUIDString())
        if known is None:
            return str(plain)
        root = ET.fromstring(plain)
        root.remove(root.find("devices"))
        root.append(known)
        return ET.tostring(root, encoding="unicode")

    def attachDeviceFlags(self, xml: str, flags: int) -> None:
        self._driver.check()
        assert flags & libvirt.VIR_DOMAIN_AFFECT_LIVE
        self._devices().append(ET.fromstring(xml))
        self._driver.attached.append(xml)

    def updateDeviceFlags(self, xml: str, flags: int) -> None:
        self._driver.check()
        new = ET.fromstring(xml)
        parent = self._devices()
        for place, old in enumerate(list(parent)):
            if old.tag == new.tag and _alias(old) == _alias(new):
                parent[place] = new
                return
        raise error(libvirt.VIR_ERR_INVALID_ARG, "device not found")

    def detachDeviceAlias(self, alias: str, flags: int) -> None:
        self._driver.check()
        parent = self._devices()
        found = [device for device in parent if _alias(device) == alias]
        if not found:
            raise error(libvirt.VIR_ERR_DEVICE_MISSING, f"no device {alias}")
        if self._driver.releases:
            parent.remove(found[0])
            for notify in self._driver.listeners:
                notify(self._real, alias)

    def detachDeviceFlags(self, xml: str, flags: int) -> None:
        assert flags == libvirt.VIR_DOMAIN_AFFECT_CONFIG

    def _devices(self) -> ET.Element:
        vm_id = self._real.UUIDString()
        if vm_id not in self._driver.devices:
            self._driver.devices[vm_id] = ET.fromstring(self._real.XMLDesc(0)).find("devices")
        return self._driver.devices[vm_id]


def _alias(device: ET.Element) -> str:
    alias = device.find("alias")
    return "" if alias is None else alias.get("name", "")
