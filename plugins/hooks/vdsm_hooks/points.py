"""The hook points of VDSM, and the hooks at which their scripts run."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Final, Literal, NamedTuple

from vdsm_core.hooks import specs

#: What scripts get at a point: an XML or a JSON document, or an empty file.
Kind = Literal["xml", "json", "empty"]


class Point(NamedTuple):
    """One hook point.

    :ivar read_back: whether what the scripts leave is used
    :ivar flags: whether scripts may change the launch flags
    """

    name: str
    kind: Kind = "xml"
    read_back: bool = False
    flags: bool = False

    @property
    def hook(self) -> str:
        """The name of the hook."""
        return f"vdsm_{self.name}"

    @property
    def variable(self) -> str:
        """The variable that gets the path of the document."""
        return "_hook_json" if self.kind == "json" else "_hook_domxml"


def _with(kind: Kind, names: str, *, read_back: bool = False) -> list[Point]:
    return [Point(name, kind, read_back) for name in names.split()]


POINTS: Final = {
    point.name: point
    for point in (
        Point("before_vm_start", "xml", read_back=True, flags=True),
        Point("before_device_create", "xml", read_back=True, flags=True),
        *_with(
            "xml",
            "before_nic_hotplug before_update_device before_disk_hotplug before_memory_hotplug",
            read_back=True,
        ),
        *_with(
            "xml",
            "after_vm_start before_vm_cont after_vm_cont before_vm_pause after_vm_pause after_vm_destroy "
            "before_vm_migrate_source after_vm_migrate_source before_vm_migrate_destination "
            "after_vm_migrate_destination before_vm_hibernate after_vm_hibernate before_vm_dehibernate "
            "after_vm_dehibernate before_vm_set_ticket after_vm_set_ticket "
            "after_nic_hotplug after_nic_hotplug_fail before_nic_hotunplug after_nic_hotunplug "
            "after_nic_hotunplug_fail after_device_create before_device_destroy after_device_destroy "
            "before_device_migrate_source after_device_migrate_source before_device_migrate_destination "
            "after_device_migrate_destination after_update_device after_update_device_fail "
            "after_disk_hotplug before_disk_hotunplug after_disk_hotunplug after_memory_hotplug",
        ),
        *_with(
            "empty",
            "before_vm_destroy before_vdsm_start after_vdsm_stop before_set_num_of_cpus "
            "after_set_num_of_cpus",
        ),
        *_with(
            "json",
            "after_disk_prepare after_get_vm_stats after_get_all_vm_stats after_get_caps after_get_stats "
            "after_hostdev_list_by_caps",
            read_back=True,
        ),
        *_with("json", "before_get_vm_stats before_get_all_vm_stats before_get_caps before_get_stats"),
    )
}

#: Runs the scripts of a point with the arguments of its hook, by name.
Run = Callable[..., None]

#: Functions with the parameters of each hook, which the hook manager reads, by these parameters.
_SHAPES: Final[dict[str, Callable[[Run], Callable[..., None]]]] = {
    "": lambda run: lambda: run(),
    "vm_id": lambda run: lambda vm_id: run(vm_id=vm_id),
    "vm_id custom": lambda run: lambda vm_id, custom: run(vm_id=vm_id, custom=custom),
    "domain vm_id custom": lambda run: lambda domain, vm_id, custom: run(domain, vm_id=vm_id, custom=custom),
    "vm_id domain custom": lambda run: lambda vm_id, domain, custom: run(domain, vm_id=vm_id, custom=custom),
    "vm_id domain custom from_snapshot": lambda run: (
        lambda vm_id, domain, custom, from_snapshot: run(
            domain, vm_id=vm_id, custom=custom, more={"FROM_SNAPSHOT": str(from_snapshot)}
        )
    ),
    "vm_id domain custom params": lambda run: (
        lambda vm_id, domain, custom, params: run(domain, vm_id=vm_id, custom=custom, params=params)
    ),
    "device vm_id custom device_custom": lambda run: (
        lambda device, vm_id, custom, device_custom: run(
            device, vm_id=vm_id, custom=custom, device_custom=device_custom
        )
    ),
    "vm_id device custom device_custom": lambda run: (
        lambda vm_id, device, custom, device_custom: run(
            device, vm_id=vm_id, custom=custom, device_custom=device_custom
        )
    ),
    "drive vm_id custom device_custom": lambda run: (
        lambda drive, vm_id, custom, device_custom: run(
            drive, vm_id=vm_id, custom=custom, device_custom=device_custom
        )
    ),
    "stats vm_id": lambda run: lambda stats, vm_id: run(stats, vm_id=vm_id),
    "stats": lambda run: lambda stats: run(stats),
    "caps": lambda run: lambda caps: run(caps),
    "devices": lambda run: lambda devices: run(devices),
}


def function_of(point: Point, run: Run) -> Callable[..., Any]:
    """Return a function with the parameters of a point's hook, which calls `run` with them."""
    parameters = " ".join(inspect.signature(specs.every()[point.hook].function).parameters)
    function = _SHAPES[parameters](run)
    function.__name__ = point.hook
    return function
