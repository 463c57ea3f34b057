"""The devices of a domain's XML as VDSM's structs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final
from xml.etree.ElementTree import Element

import msgspec
from msgspec import UNSET, UnsetType

from vdsm_virt.api.definition import DeviceAddress, VmDevice

_ADDRESS: Final = tuple(field.name for field in msgspec.structs.fields(DeviceAddress) if field.name != "type")
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
}


def read_devices(domain: Element, ids: dict[str, dict[str, str]]) -> list[VmDevice]:
    """All devices of the kinds that VDSM knows.

    :param ids: VDSM's ids by disk target
    """
    parent = domain.find("devices")
    return [
        _device(element, ids) for element in (parent if parent is not None else ()) if element.tag in _KINDS
    ]


def read_macs(domain: Element) -> dict[str, str]:
    """MACs of the NICs that have an interface on the host, by its name."""
    return {
        _get(nic, "target", "dev"): _get(nic, "mac", "address")
        for nic in domain.findall("devices/interface")
        if nic.find("target") is not None
    }


def _device(element: Element, ids: dict[str, dict[str, str]]) -> VmDevice:
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
        **members,
        **_ids(ids.get(members.get("name", ""), {})),
    )


def _ids(known: dict[str, str]) -> dict[str, Any]:
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
        "propagate_errors": "report" if _get(element, "driver", "error_policy") == "report" else "off",
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
    return {
        "network": network,
        "mac_addr": _get(element, "mac", "address"),
        "nic_model": "pv" if model == "virtio" else model,
        "name": _given(element, "target", "dev"),
        "link_active": _get(element, "link", "state") != "down",
        "filter": _given(element, "filterref", "filter"),
    }


def _graphics(element: Element) -> dict[str, Any]:
    def port(name: str) -> int:
        text = element.get(name, "")
        return int(text) if text.lstrip("-").isdigit() else -1

    return {
        "port": port("port"),
        "tls_port": port("tlsPort"),
        "spec_params": {"displayIp": _get(element, "listen", "address")},
    }


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
