"""What is known of a guest by its agents, as the statistics show it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from vdsm_virt.api.stats import (
    GuestContainer,
    GuestDisk,
    GuestMountInfo,
    GuestNetworkDeviceInfo,
    GuestOsInfo,
    GuestPciDevice,
    GuestTimezone,
    MemoryStats,
)


class QemuAgentFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What qemu-guest-agent has reported; a member is absent until then.

    :ivar version: the agent's
    :ivar commands: the names of the commands that the agent carries out
    :ivar answered: when it answered last, in seconds of the monotonic clock; 0: never
    :ivar failed: when it failed to answer last, in seconds of the monotonic clock; 0: never
    """

    version: str = ""
    commands: frozenset[str] = frozenset()
    answered: float = 0.0
    failed: float = 0.0
    guest_name: str | UnsetType = UNSET
    guest_fqdn: str | UnsetType = UNSET
    guest_os: str | UnsetType = UNSET
    guest_os_info: GuestOsInfo | UnsetType = UNSET
    guest_timezone: GuestTimezone | UnsetType = UNSET
    guest_ips: str | UnsetType = UNSET
    net_ifaces: list[GuestNetworkDeviceInfo] | UnsetType = UNSET
    pci_devices: list[GuestPciDevice] | UnsetType = UNSET
    username: str | UnsetType = UNSET
    disks_usage: list[GuestMountInfo] | UnsetType = UNSET
    disk_mapping: dict[str, GuestDisk] | UnsetType = UNSET
    guest_cpu_count: int | UnsetType = UNSET
    apps_list: list[str] | UnsetType = UNSET

    @property
    def responsive(self) -> bool:
        """Whether the agent answered when it was asked last."""
        return self.answered > self.failed


class OvirtAgentFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What oVirt's guest agent has reported; a member is absent until then.

    :ivar received: when its last message arrived, in seconds of the monotonic clock; 0: never
    :ivar api_version: the version of its protocol; 0 until it has reported one
    :ivar heartbeat: it has reported that it is alive, in this run of the guest
    :ivar mem_usage: its free memory in MiB, as VDSM passes it on
    """

    received: float = 0.0
    api_version: int = 0
    heartbeat: bool = False
    memory_stats: MemoryStats | UnsetType = UNSET
    mem_usage: int | UnsetType = UNSET
    guest_name: str | UnsetType = UNSET
    guest_fqdn: str | UnsetType = UNSET
    guest_os: str | UnsetType = UNSET
    guest_os_info: GuestOsInfo | UnsetType = UNSET
    guest_timezone: GuestTimezone | UnsetType = UNSET
    guest_ips: str | UnsetType = UNSET
    net_ifaces: list[GuestNetworkDeviceInfo] | UnsetType = UNSET
    guest_containers: list[GuestContainer] | UnsetType = UNSET
    username: str | UnsetType = UNSET
    session: str | UnsetType = UNSET
    last_login: float | UnsetType = UNSET
    last_logout: float | UnsetType = UNSET
    last_user: str | UnsetType = UNSET
    disks_usage: list[GuestMountInfo] | UnsetType = UNSET
    disk_mapping: dict[str, GuestDisk] | UnsetType = UNSET
    guest_cpu_count: int | UnsetType = UNSET
    apps_list: list[str] | UnsetType = UNSET


#: What VDSM reports of a guest without an agent.
_DEFAULTS: Final[dict[str, Any]] = {
    "session": "Unknown",
    "username": "Unknown",
    "guest_ips": "",
    "guest_fqdn": "",
    "guest_cpu_count": -1,
    "apps_list": [],
    "disks_usage": [],
    "net_ifaces": [],
}
#: Members of the facts that are no statistics.
_INTERNAL: Final = frozenset(
    {
        "version",
        "commands",
        "answered",
        "failed",
        "received",
        "api_version",
        "heartbeat",
        "memory_stats",
        "mem_usage",
        "apps_list",
    }
)


class GuestFacts:
    """The facts of all guests. A run of a machine begins without any."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._qemu: dict[str, QemuAgentFacts] = {}
        self._ovirt: dict[str, OvirtAgentFacts] = {}
        #: Grows with each change.
        self.version = 0

    def qemu(self, vm_id: str) -> QemuAgentFacts:
        """Return what qemu-guest-agent has reported."""
        return self._qemu.get(vm_id, _NO_QEMU)

    def ovirt(self, vm_id: str) -> OvirtAgentFacts:
        """Return what oVirt's guest agent has reported."""
        return self._ovirt.get(vm_id, _NO_OVIRT)

    def change_qemu(self, vm_id: str, change: Callable[[QemuAgentFacts], QemuAgentFacts]) -> None:
        """Replace the facts by what a function makes of them, under a lock."""
        with self._lock:
            self._qemu[vm_id] = change(self.qemu(vm_id))
            self.version += 1

    def change_ovirt(self, vm_id: str, change: Callable[[OvirtAgentFacts], OvirtAgentFacts]) -> None:
        """Replace the facts by what a function makes of them, under a lock."""
        with self._lock:
            self._ovirt[vm_id] = change(self.ovirt(vm_id))
            self.version += 1

    def has_answered(self, vm_id: str) -> bool:
        """Return whether an agent has answered in this run of a machine."""
        return bool(self.qemu(vm_id).answered or self.ovirt(vm_id).received)

    def forget(self, vm_id: str) -> None:
        """Drop the facts of a machine whose run has ended."""
        with self._lock:
            self._qemu.pop(vm_id, None)
            self._ovirt.pop(vm_id, None)
            self.version += 1

    def members(self, vm_id: str) -> dict[str, Any]:
        """Return the members of `VmStats` that agents report; qemu-guest-agent's values come first."""
        qemu, ovirt = self._qemu.get(vm_id), self._ovirt.get(vm_id)
        if qemu is None and ovirt is None:
            return _DEFAULTS
        found = dict(_DEFAULTS)
        for facts in (ovirt, qemu):
            if facts is not None:
                found.update(_given(facts))
        found["apps_list"] = _applications(qemu or _NO_QEMU, ovirt or _NO_OVIRT)
        return found


_NO_QEMU: Final = QemuAgentFacts()
_NO_OVIRT: Final = OvirtAgentFacts()


def _given(facts: msgspec.Struct) -> dict[str, Any]:
    return {
        name: value
        for name in facts.__struct_fields__
        if name not in _INTERNAL and not isinstance(value := getattr(facts, name), UnsetType)
    }


def _applications(qemu: QemuAgentFacts, ovirt: OvirtAgentFacts) -> list[str]:
    own = [] if isinstance(qemu.apps_list, UnsetType) else qemu.apps_list
    other = [] if isinstance(ovirt.apps_list, UnsetType) else ovirt.apps_list
    return list(dict.fromkeys([*own, *other]))
