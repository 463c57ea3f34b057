"""The protocol of oVirt's guest agent: a JSON object a line, whose `__name__` says what it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, cast

import msgspec

from vdsm_virt.api.stats import (
    GuestContainer,
    GuestDisk,
    GuestMountInfo,
    GuestNetworkDeviceInfo,
    GuestOsInfo,
    GuestSession,
    GuestTimezone,
    MemoryStats,
)
from vdsm_virt.guest.facts import OvirtAgentFacts
from vdsm_virt.guest.qemu_answers import clean

#: Bytes of a message at most.
MAX_MESSAGE: Final = 2**20
#: The newest version of the protocol that is spoken here.
API_VERSION: Final = 3
#: Items of a kind that are taken from a guest at the most.
_MAX_ITEMS: Final = 1024
_MAX_NUMBER: Final = 2**63 - 1

_SESSIONS: Final[dict[str, GuestSession]] = {
    "session-logon": "UserLoggedOn",
    "session-lock": "Locked",
    "session-unlock": "Active",
    "session-logoff": "LoggedOff",
}


class BadMessage(ValueError):
    """A line is no message."""


class Message(msgspec.Struct, frozen=True):
    """One message: its name, and its other members."""

    name: str
    members: Mapping[str, Any]


def encode(name: str, members: Mapping[str, Any]) -> bytes:
    """Return the line of a message to the guest."""
    return msgspec.json.encode({**members, "__name__": name}) + b"\n"


def decode(line: bytes) -> Message:
    """Return the message of a line.

    :raises BadMessage: it is none
    """
    try:
        found = msgspec.json.decode(line.decode("utf-8", "replace"))
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadMessage(str(error)) from None
    if not isinstance(found, dict) or not isinstance(found.get("__name__"), str):
        raise BadMessage("it has no name")
    return Message(clean(found.pop("__name__")), found)


def merged(known: OvirtAgentFacts, message: Message, now: float, wall: float) -> OvirtAgentFacts:
    """Return the facts with those of a message; one that is not known only shows that the agent is there.

    :param now: seconds of the monotonic clock
    :param wall: Unix time in seconds
    :raises BadMessage: a member is not what it should be
    """
    try:
        changes = _changes(known, message, wall)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise BadMessage(f"{message.name}: {error!r}") from None
    return msgspec.structs.replace(known, received=now, **changes)


def _changes(known: OvirtAgentFacts, message: Message, wall: float) -> dict[str, Any]:
    if message.name in _SESSIONS:
        return {"session": _SESSIONS[message.name]}
    if message.name == "active-user":
        user = clean(message.members["name"])
        if user == known.username or (user == "Unknown" and known.username == "None"):
            return {}
        return {"username": user, "last_login": wall}
    read = _READERS.get(message.name)
    return {} if read is None else read(message.members)


def _heartbeat(members: Mapping[str, Any]) -> dict[str, Any]:
    changes: dict[str, Any] = {
        "mem_usage": _number(members["free-ram"]),
        "heartbeat": True,
        "api_version": max(0, min(API_VERSION, _number(members.get("apiVersion", 0)))),
    }
    memory = members.get("memory-stat")
    if isinstance(memory, dict):
        names = ("mem_total", "mem_free", "mem_unused", "swap_in", "swap_out", "majflt", "minflt", "pageflt")
        values = {name: max(0, _number(memory.get(name, 0))) for name in names}
        changes["memory_stats"] = MemoryStats(mem_cached=0, **values)
    return changes


def _interfaces(members: Mapping[str, Any]) -> dict[str, Any]:
    found = [
        GuestNetworkDeviceInfo(
            name=clean(each.get("name", "")),
            hw=clean(each.get("hw", "")),
            inet=_texts(each.get("inet", [])),
            inet6=_texts(each.get("inet6", [])),
        )
        for each in _items(members["interfaces"])
    ]
    addresses = [address for interface in found for address in interface.inet]
    return {"net_ifaces": found, "guest_ips": " ".join(addresses)}


def _disks(members: Mapping[str, Any]) -> dict[str, Any]:
    mapping = members.get("mapping", {})
    return {
        "disks_usage": [
            GuestMountInfo(
                path=clean(each["path"]),
                fs=clean(each.get("fs", "")),
                total=max(0, _number(each.get("total", 0))),
                used=max(0, _number(each.get("used", 0))),
            )
            for each in _items(members["disks"])
        ],
        "disk_mapping": {
            clean(serial): GuestDisk(name=clean(disk["name"]))
            for serial, disk in list(mapping.items())[:_MAX_ITEMS]
            if isinstance(disk, dict) and "name" in disk
        },
    }


def _containers(members: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "guest_containers": [
            GuestContainer(
                id=clean(each.get("id", "")),
                names=_texts(each.get("names", [])),
                image=clean(each.get("image", "")),
                status=clean(each.get("status", "")),
                command=clean(each.get("command", "")),
            )
            for each in _items(members["list"])
        ]
    }


def _os_info(members: Mapping[str, Any]) -> dict[str, Any]:
    names = GuestOsInfo.__struct_fields__
    return {"guest_os_info": GuestOsInfo(**{name: clean(members.get(name, "")) for name in names})}


def _timezone(members: Mapping[str, Any]) -> dict[str, Any]:
    zone = GuestTimezone(offset=_number(members.get("offset", 0)), zone=clean(members.get("zone", "")))
    return {"guest_timezone": zone}


_READERS: Final[dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]]] = {
    "heartbeat": _heartbeat,
    "host-name": lambda members: {"guest_name": clean(members["name"])},
    "fqdn": lambda members: {"guest_fqdn": clean(members["fqdn"])},
    "os-version": lambda members: {"guest_os": clean(members["version"])},
    "os-info": _os_info,
    "timezone": _timezone,
    "network-interfaces": _interfaces,
    "applications": lambda members: {"apps_list": _texts(members["applications"])},
    "containers": _containers,
    "disks-usage": _disks,
    "number-of-cpus": lambda members: {"guest_cpu_count": _number(members["count"])},
    "uninstalled": lambda _members: {"apps_list": []},
}


def _number(value: Any) -> int:
    number = int(value)
    if abs(number) > _MAX_NUMBER:
        raise ValueError("the number is too large")
    return number


def _texts(values: Any) -> list[str]:
    if not isinstance(values, list):
        raise TypeError("a list is expected")
    return [clean(value) for value in values[:_MAX_ITEMS]]


def _items(values: Any) -> list[dict[str, Any]]:
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise TypeError("a list of objects is expected")
    return cast("list[dict[str, Any]]", values[:_MAX_ITEMS])
