"""The devices of a domain's XML as VDSM's structs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, Final
from xml.etree.ElementTree import Element, canonicalize

import msgspec
from msgspec import UNSET, UnsetType

from vdsm_virt.api.definition import DeviceAddress, VmDevice
from vdsm_virt.domain.bridges import UNPLUGGED
from vdsm_virt.domain.devices import device_id, device_key
from vdsm_virt.domain.elements import to_text
from vdsm_virt.domain.metadata import Metadata

_ADDRESS: Final = tuple(field.name for field in msgspec.structs.fields(DeviceAddress) if field.name != "type")
#: KiB in each of libvirt's units of memory.
_UNITS: Final = {
    "b": 1 / 1024,
    "bytes": 1 / 1024,
    "kib": 1,
    "k": 1,
    "mib": 1024,
    "m": 1024,
    "gib": 2**20,
    "g": 2**20,
}
#: Hexadecimal digits of the hash of devices, as many as VDSM's clients store.
_HASH: Final = 32
#: libvirt's element and VDSM's word for that kind of device.
_KINDS: Final = {
    "disk": "disk",
    "interface": "interface",
    "graphics": "graphics",
    "video": "video",
    "sound": "sound",
    "controller": "controller",
    "memballoon": "balloon",
    "channel": "channel",
    "console": "console",
    "watchdog": "watchdog",
    "rng": "rng",
    "smartcard": "smartcard",
    "hostdev": "hostdev",
    "tpm": "tpm",
    "memory": "memory",
    "redirdev": "redir",
    "input": "input",
}

#: Which errors of a disk reach the guest, by what QEMU does about them.
_PROPAGATED: Final = {"enospace": "on", "report": "report"}


def read_devices(domain: Element, known: Metadata) -> list[VmDevice]:
    """Return all devices of the kinds that VDSM has.

    :param known: what is kept with the machine: ids and custom properties
    """
    parent = domain.find("devices")
    return [
        _device(element, known) for element in (parent if parent is not None else ()) if element.tag in _KINDS
    ]


def devices_hash(domain: Element, known: Metadata) -> str:
    """Return a hash of a machine's devices and their ids, which changes when one of them does."""
    devices = domain.find("devices")
    text = "" if devices is None else canonicalize(to_text(devices), strip_text=True)
    kept = msgspec.json.encode([known.devices, known.device_ids], order="sorted")
    return hashlib.sha256(text.encode() + kept).hexdigest()[:_HASH]


def read_macs(domain: Element) -> dict[str, str]:
    """Return MACs of the NICs that have an interface on the host, by its name."""
    return {
        _get(nic, "target", "dev"): _get(nic, "mac", "address")
        for nic in domain.findall("devices/interface")
        if nic.find("target") is not None
    }


def read_host_addresses(domain: Element) -> frozenset[tuple[str, ...]]:
    """Return the addresses of the host's devices that a machine has: the kind, then decimal numbers.

    "pci": domain, bus, slot, function; "usb_device": bus, device; "scsi": host, bus, target, lun; "mdev": its
    UUID in place of numbers.
    """
    found = [host_address(device) for device in domain.findall("devices/hostdev")]
    found += [host_address(nic) for nic in domain.findall("devices/interface[@type='hostdev']")]
    return frozenset(address for address in found if address)


def host_address(device: Element) -> tuple[str, ...]:
    address = device.find("source/address")
    if address is None:
        return ()
    kind = address.get("type") or device.get("type", "")
    if kind == "mdev" or address.get("uuid"):
        return ("mdev", address.get("uuid", "").lower())
    if kind == "usb":
        return ("usb_device", *_decimal(address, "bus", "device"))
    if kind == "scsi":
        adapter = _get(device, "source/adapter", "name").removeprefix("scsi_host")
        return ("scsi", adapter, *_decimal(address, "bus", "target", "unit"))
    return ("pci", *_decimal(address, "domain", "bus", "slot", "function"))


def _decimal(address: Element, *names: str) -> list[str]:
    return [str(int(address.get(name) or "0", 0)) for name in names]


def _device(element: Element, kept: Metadata) -> VmDevice:
    kind = _KINDS[element.tag]
    members: dict[str, Any] = {"device": element.get("type") or element.get("model") or kind}
    read = _READERS.get(element.tag)
    if read is not None:
        members |= read(element)
    boot = element.find("boot")
    return VmDevice(
        device_type=kind,
        type=kind,
        alias=_given(element, "alias", "name"),
        address=_address(element),
        boot_order=int(boot.get("order", 0)) if boot is not None else UNSET,
        custom=kept.device_custom.get(device_key(element), UNSET),
        **members,
        **_ids(element, kept, members.get("name", "")),
    )


def _ids(element: Element, kept: Metadata, target: str) -> dict[str, Any]:
    known = dict(kept.devices.get(target, {})) if element.tag == "disk" else {}
    if own := device_id(element, kept.device_ids):
        known.setdefault("deviceId", own)
    names = {
        "deviceId": "device_id",
        "poolID": "pool_id",
        "domainID": "domain_id",
        "imageID": "image_id",
        "volumeID": "volume_id",
    }
    return {python: known[wire] for wire, python in names.items() if wire in known}


def _disk(element: Element) -> dict[str, Any]:
    source = element.find("source")
    attributes = source.attrib if source is not None else {}
    return {
        "device": element.get("device", "disk"),
        "disk_type": element.get("type") or UNSET,
        "path": next((attributes[name] for name in ("file", "dev", "dir", "name") if name in attributes), ""),
        "name": _get(element, "target", "dev"),
        "iface": _get(element, "target", "bus"),
        "format": "cow" if _get(element, "driver", "type") == "qcow2" else "raw",
        "readonly": element.find("readonly") is not None,
        "shared": element.find("shareable") is not None,
        "propagate_errors": _PROPAGATED.get(_get(element, "driver", "error_policy"), "off"),
        "serial": element.findtext("serial") or UNSET,
        "spec_params": _io_tune(element),
    }


def _io_tune(element: Element) -> dict[str, Any]:
    limits = element.find("iotune")
    return {} if limits is None else {"ioTune": {limit.tag: int(limit.text or 0) for limit in limits}}


def _nic(element: Element) -> dict[str, Any]:
    source = element.find("source")
    network = ""
    if source is not None:
        network = source.get("bridge") or source.get("network") or source.get("dev") or ""
    model = _get(element, "model", "type")
    address = element.find("source/address")
    mtu = element.find("mtu")
    isolated = element.find("port")
    parameters = [
        {"name": each.get("name", ""), "value": each.get("value", "")}
        for each in element.findall("filterref/parameter")
    ]
    return {
        "network": "" if network == UNPLUGGED else network,
        "mac_addr": _get(element, "mac", "address"),
        "nic_model": "pv" if model == "virtio" else model,
        "name": _given(element, "target", "dev"),
        "link_active": _get(element, "link", "state") != "down",
        "filter": _given(element, "filterref", "filter"),
        "filter_parameters": parameters or UNSET,
        "mtu": int(mtu.get("size", 0)) if mtu is not None else UNSET,
        "port_isolated": isolated.get("isolated") == "yes" if isolated is not None else UNSET,
        "hostdev": pci_name(address) if element.get("type") == "hostdev" and address is not None else UNSET,
        "spec_params": _limits(element),
    }


def _limits(element: Element) -> dict[str, Any] | UnsetType:
    limits: dict[str, Any] = {
        each.tag: {name: int(value) for name, value in each.attrib.items() if value.isdecimal()}
        for each in element.findall("bandwidth/*")
    }
    tag = element.find("vlan/tag")
    if tag is not None:
        limits["vlanid"] = int(tag.get("id", 0))
    return limits or UNSET


def _graphics(element: Element) -> dict[str, Any]:
    def port(name: str) -> int:
        text = element.get(name, "")
        return int(text) if text.lstrip("-").isdigit() else -1

    return {
        "port": port("port"),
        "tls_port": port("tlsPort"),
        "spec_params": {"displayIp": _get(element, "listen", "address"), **_display_options(element)},
    }


def _display_options(element: Element) -> dict[str, Any]:
    """What was asked for beyond libvirt's defaults, in the words of `specParams`."""
    found: dict[str, Any] = {"keyMap": keymap} if (keymap := element.get("keymap")) else {}
    secure = [f"s{each.get('name', '')}" for each in element.findall("channel[@mode='secure']")]
    if secure:
        found["spiceSecureChannels"] = ",".join(secure)
    if _get(element, "clipboard", "copypaste") == "no":
        found["copyPasteEnable"] = False
    if _get(element, "filetransfer", "enable") == "no":
        found["fileTransferEnable"] = False
    return found


def _video(element: Element) -> dict[str, Any]:
    model = element.find("model")
    attributes = model.attrib if model is not None else {}
    numbers = {
        name: int(attributes[name]) for name in ("ram", "vram", "vgamem", "heads") if name in attributes
    }
    return {"device": attributes.get("type", "none"), "spec_params": numbers}


def _rng(element: Element) -> dict[str, Any]:
    return {
        "device": element.get("model", "virtio"),
        "spec_params": {"source": (element.findtext("backend") or "").removeprefix("/dev/")},
    }


def _watchdog(element: Element) -> dict[str, Any]:
    model = element.get("model", "")
    return {
        "device": "watchdog",
        "model": model,
        "spec_params": {"model": model, "action": element.get("action", "reset")},
    }


def _balloon(element: Element) -> dict[str, Any]:
    return {"device": "memballoon", "spec_params": {"model": element.get("model", "virtio")}}


def _character(element: Element) -> dict[str, Any]:
    # libvirt's XML of a running machine has the terminal or socket that was given to it.
    path = _given(element, "source", "path")
    return {"name": _given(element, "target", "name"), "path": path}


def _console(element: Element) -> dict[str, Any]:
    kind = _get(element, "target", "type") or "serial"
    return {
        "device": "console",
        "path": _given(element, "source", "path"),
        "spec_params": {"consoleType": kind},
    }


def _module(element: Element) -> dict[str, Any]:
    size, node = element.find("target/size"), element.findtext("target/node")
    return {
        "device": "memory",
        "model": element.get("model") or UNSET,
        "size": in_kib(size) // 1024 if size is not None else UNSET,
        "node": int(node) if node else UNSET,
    }


def _tpm(element: Element) -> dict[str, Any]:
    return {
        "device": "tpm",
        "model": element.get("model") or UNSET,
        "spec_params": {
            "model": element.get("model", ""),
            "mode": _get(element, "backend", "type"),
            "path": _get(element, "backend/device", "path"),
        },
    }


def _smartcard(element: Element) -> dict[str, Any]:
    mode = "passthrough" if element.get("mode") == "passthrough" else "host"
    kind = {"type": element.get("type", "")} if element.get("type") else {}
    return {"device": "smartcard", "spec_params": {"mode": mode, **kind}}


def _host_device(element: Element) -> dict[str, Any]:
    return {"device": node_name(element) or element.get("type", "hostdev")}


def node_name(device: Element) -> str:
    """Return libvirt's name of the host's device in a `<hostdev>`; empty of USB, whose name has its port."""
    address = device.find("source/address")
    if address is None or device.get("type") == "usb":
        return ""
    if device.get("type") == "mdev":
        return "mdev_" + address.get("uuid", "").lower().replace("-", "_")
    if device.get("type") == "scsi":
        return "_".join(host_address(device))
    return pci_name(address)


def pci_name(address: Element) -> str:
    """Return libvirt's name of the PCI device at an `<address>`."""
    domain, bus, slot, function = (
        int(address.get(name) or "0", 0) for name in ("domain", "bus", "slot", "function")
    )
    return f"pci_{domain:04x}_{bus:02x}_{slot:02x}_{function:x}"


def in_kib(element: Element | None) -> int:
    """Return an amount of memory in KiB; 0 if there is none."""
    if element is None or not element.text:
        return 0
    return int(int(element.text) * _UNITS.get(element.get("unit", "KiB").lower(), 1))


def _model(element: Element) -> dict[str, Any]:
    return {"model": element.get("model") or UNSET}


_READERS: Final[dict[str, Callable[[Element], dict[str, Any]]]] = {
    "disk": _disk,
    "interface": _nic,
    "graphics": _graphics,
    "video": _video,
    "rng": _rng,
    "watchdog": _watchdog,
    "memballoon": _balloon,
    "channel": _character,
    "console": _console,
    "controller": _model,
    "memory": _module,
    "tpm": _tpm,
    "smartcard": _smartcard,
    "hostdev": _host_device,
    "redirdev": lambda element: {"device": element.get("type", "")},
    "sound": lambda element: {"device": element.get("model", "")},
}


def _address(element: Element) -> DeviceAddress | UnsetType:
    found = element.find("address")
    if found is None:
        return UNSET
    parts = {name: found.get(name) or UNSET for name in _ADDRESS}
    return DeviceAddress(type=found.get("type", ""), **parts)


def _given(element: Element, child: str, attribute: str) -> str | UnsetType:
    return _get(element, child, attribute) or UNSET


def _get(element: Element, child: str, attribute: str) -> str:
    found = element.find(child)
    return found.get(attribute, "") if found is not None else ""
