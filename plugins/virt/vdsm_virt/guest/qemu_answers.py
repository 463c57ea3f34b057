"""From what qemu-guest-agent answers, through libvirt, to VDSM's facts of a guest."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from vdsm_core.hypervisor import AgentAnswer
from vdsm_virt.api.stats import (
    GuestDisk,
    GuestMountInfo,
    GuestNetworkDeviceInfo,
    GuestOsInfo,
    GuestPciDevice,
    GuestTimezone,
)
from vdsm_virt.guest.facts import QemuAgentFacts

#: os-release has the code name in the version: "12 (bookworm)".
_CODE_NAME: Final = re.compile(r"\(([^()]+)\)")
#: Items of a kind that are taken from a guest at the most: a guest is not trusted.
_MAX_ITEMS: Final = 1024
#: Characters of a text from a guest that are kept.
_MAX_TEXT: Final = 4096
_ILLEGAL: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def clean(text: Any) -> str:
    """Return a guest's text without what XML does not allow, which becomes U+FFFD, and not too long."""
    return _ILLEGAL.sub("\ufffd", str(text)[:_MAX_TEXT])


def merged(
    known: QemuAgentFacts, answer: AgentAnswer, serials: Mapping[str, str], now: float
) -> QemuAgentFacts:
    """Return the facts with those of an answer.

    :param serials: the serial numbers of the machine's disks by their targets
    :param now: seconds of the monotonic clock
    """
    facts = answer.facts
    changes: dict[str, Any] = {"failed": now} if answer.failure is not None else {"answered": now}
    for name, value in answer.answers.items():
        changes |= _COMMANDS[name](value)
    if "hostname" in facts:
        name = clean(facts["hostname"])
        changes |= {"guest_name": name, "guest_fqdn": name}
    if any(key.startswith("os.") for key in facts):
        changes |= _system(facts)
    if "timezone.offset" in facts:
        zone = clean(facts.get("timezone.name", ""))
        changes["guest_timezone"] = GuestTimezone(offset=int(facts["timezone.offset"]) // 60, zone=zone)
    if "user.count" in facts:
        changes["username"] = ", ".join(
            _user(facts, prefix) for prefix in _prefixes(facts, "user", count="user.count")
        )
    if "if.count" in facts:
        changes["net_ifaces"] = [_interface(facts, prefix) for prefix in _prefixes(facts, "if")]
        changes["guest_ips"] = ""
    if "fs.count" in facts:
        changes["disks_usage"] = [_mount(facts, prefix) for prefix in _prefixes(facts, "fs")]
    mapping = _disks(facts, serials)
    if mapping or "disk.count" in facts:
        changes["disk_mapping"] = mapping
    after = msgspec.structs.replace(known, **changes)
    return msgspec.structs.replace(after, apps_list=_applications(after))


def _information(value: Any) -> dict[str, Any]:
    commands = value.get("supported_commands", ()) if isinstance(value, dict) else ()
    return {
        "version": clean(value.get("version", "")) if isinstance(value, dict) else "",
        "commands": frozenset(
            str(command["name"]) for command in commands[:_MAX_ITEMS] if command.get("enabled")
        ),
    }


def _processors(value: Any) -> dict[str, Any]:
    return {"guest_cpu_count": sum(bool(cpu.get("online")) for cpu in value)}


def _devices(value: Any) -> dict[str, Any]:
    found = []
    for device in value[:_MAX_ITEMS]:
        number = device.get("id", device.get("address", {}).get("data", {}))
        found.append(
            GuestPciDevice(
                device_id=int(number.get("device-id", 0)),
                vendor_id=int(number.get("vendor-id", 0)),
                driver_name=clean(device.get("driver-name", "")),
                driver_version=clean(device.get("driver-version", "")),
                driver_date=clean(device.get("driver-date", "")),
            )
        )
    return {"pci_devices": found}


_COMMANDS: Final = {
    "guest-info": _information,
    "guest-get-vcpus": _processors,
    "guest-get-devices": _devices,
}


def _prefixes(facts: Mapping[str, Any], kind: str, *, count: str = "") -> list[str]:
    number = min(int(facts.get(count or f"{kind}.count", 0)), _MAX_ITEMS)
    return [f"{kind}.{index}." for index in range(number)]


def _system(facts: Mapping[str, Any]) -> dict[str, Any]:
    kernel = clean(facts.get("os.kernel-release", ""))
    windows = facts.get("os.id") == "mswindows"
    version = clean(facts.get("os.version", ""))
    code_name = _CODE_NAME.search(version)
    info = GuestOsInfo(
        type="windows" if windows else "linux",
        arch=clean(facts.get("os.machine", "")),
        kernel=kernel,
        distribution=clean(facts.get("os.pretty-name" if windows else "os.name", "")),
        version=clean(facts.get("os.version-id", "")),
        codename="" if code_name is None else code_name[1],
    )
    return {"guest_os_info": info, "guest_os": info.distribution if windows else kernel}


def _user(facts: Mapping[str, Any], prefix: str) -> str:
    name, domain = clean(facts.get(f"{prefix}name", "")), clean(facts.get(f"{prefix}domain", ""))
    return f"{name}@{domain}" if domain else name


def _interface(facts: Mapping[str, Any], prefix: str) -> GuestNetworkDeviceInfo:
    addresses: dict[str, list[str]] = {"ipv4": [], "ipv6": []}
    for index in range(min(int(facts.get(f"{prefix}addr.count", 0)), _MAX_ITEMS)):
        kind = facts.get(f"{prefix}addr.{index}.type", "")
        if kind in addresses:
            addresses[kind].append(clean(facts.get(f"{prefix}addr.{index}.addr", "")))
    return GuestNetworkDeviceInfo(
        name=clean(facts.get(f"{prefix}name", "")),
        hw=clean(facts.get(f"{prefix}hwaddr", "")),
        inet=addresses["ipv4"],
        inet6=addresses["ipv6"],
    )


def _mount(facts: Mapping[str, Any], prefix: str) -> GuestMountInfo:
    return GuestMountInfo(
        path=clean(facts.get(f"{prefix}mountpoint", "")),
        fs=clean(facts.get(f"{prefix}fstype", "")),
        total=int(facts.get(f"{prefix}total-bytes", 0)),
        used=int(facts.get(f"{prefix}used-bytes", 0)),
    )


def _disks(facts: Mapping[str, Any], serials: Mapping[str, str]) -> dict[str, GuestDisk]:
    """Return the guest's names of its disks by serial number: that in the guest, else the machine's."""
    places = [(prefix, f"{prefix}name") for prefix in _prefixes(facts, "disk")]
    for system in _prefixes(facts, "fs"):
        count = min(int(facts.get(f"{system}disk.count", 0)), _MAX_ITEMS)
        places += [(f"{system}disk.{index}.", f"{system}disk.{index}.device") for index in range(count)]
    found = {}
    for prefix, name in places:
        serial = clean(facts.get(f"{prefix}serial", "")) or serials.get(facts.get(f"{prefix}alias", ""), "")
        if serial and name in facts:
            found[serial] = GuestDisk(name=clean(facts[name]))
    return found


def _applications(facts: QemuAgentFacts) -> list[str]:
    found = []
    if isinstance(facts.guest_os_info, GuestOsInfo) and facts.guest_os_info.kernel:
        found.append(f"kernel-{facts.guest_os_info.kernel}")
    if facts.version:
        found.append(f"qemu-guest-agent-{facts.version}")
    return found
