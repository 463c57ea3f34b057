"""The points of VDSM's hooks and ours: each is called, or waits for a named part of the host."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

from vdsm_core.hooks import specs

ROOT = Path(__file__).parents[3]
#: Every point of VDSM 3.1, 3.6 and its last version, and for those that no part of the host calls yet, what
#: they wait for. A test fails if one that waits is called.
POINTS: Final = {
    "before_vm_start": "",
    "after_vm_start": "",
    "before_vm_cont": "",
    "after_vm_cont": "",
    "before_vm_pause": "",
    "after_vm_pause": "",
    "before_vm_migrate_source": "",
    "after_vm_migrate_source": "",
    "before_vm_migrate_destination": "",
    "after_vm_migrate_destination": "",
    "before_vm_hibernate": "",
    "after_vm_hibernate": "",
    "before_vm_dehibernate": "",
    "after_vm_dehibernate": "",
    "before_vm_destroy": "",
    "after_vm_destroy": "",
    "before_vm_set_ticket": "",
    "after_vm_set_ticket": "",
    "before_vdsm_start": "",
    "after_vdsm_stop": "",
    "before_nic_hotplug": "",
    "after_nic_hotplug": "",
    "after_nic_hotplug_fail": "",
    "before_nic_hotunplug": "",
    "after_nic_hotunplug": "",
    "after_nic_hotunplug_fail": "",
    "before_device_create": "",
    "after_device_create": "",
    "before_device_destroy": "",
    "after_device_destroy": "",
    "before_device_migrate_source": "",
    "after_device_migrate_source": "",
    "before_device_migrate_destination": "",
    "after_device_migrate_destination": "",
    "before_update_device": "",
    "after_update_device": "",
    "after_update_device_fail": "",
    "before_disk_hotplug": "",
    "after_disk_hotplug": "",
    "before_disk_hotunplug": "",
    "after_disk_hotunplug": "",
    "after_disk_prepare": "",
    "before_set_num_of_cpus": "",
    "after_set_num_of_cpus": "",
    "before_memory_hotplug": "",
    "after_memory_hotplug": "",
    "before_network_setup": "network",
    "after_network_setup": "network",
    "after_network_setup_fail": "network",
    "before_ifcfg_write": "network",
    "after_ifcfg_write": "network",
    "before_get_vm_stats": "",
    "after_get_vm_stats": "",
    "before_get_all_vm_stats": "",
    "after_get_all_vm_stats": "",
    "before_get_caps": "",
    "after_get_caps": "",
    "before_get_stats": "",
    "after_get_stats": "",
    "after_hostdev_list_by_caps": "",
}
#: Ours that were no points of VDSM: parts of the host ask each other by them.
OWN: Final = {"prepare_disk"}


def _called() -> set[str]:
    """The points whose hooks are imported by a module that is no declaration of theirs, and so no test."""
    folders = [ROOT / "vdsm_core", ROOT / "vdsm_bridge", *(ROOT / "plugins").glob("*/vdsm*")]
    found = set()
    for path in (path for folder in folders for path in folder.rglob("*.py")):
        if path.parent.name == "specs" or "testing" in path.parts or "vdsm_hooks" in path.parts:
            continue
        found |= set(re.findall(r"\bvdsm_((?:before|after)_\w+)\b", path.read_text()))
    return found


@pytest.mark.parametrize("point", POINTS)
def test_every_point_is_called_or_waits(point: str) -> None:
    """A point without a call names what it waits for; one that is called waits for nothing."""
    assert (point in _called()) is not bool(POINTS[point])


@pytest.mark.parametrize("point", [point for point, waits in POINTS.items() if waits != "network"])
def test_every_point_is_declared(point: str) -> None:
    """Also those that wait, so that plugins may implement them; networks declare theirs with their verbs."""
    assert f"vdsm_{point}" in specs.every()


def test_no_other_hook_is_named_like_a_point() -> None:
    """Scripts are run at VDSM's points only."""
    ours = {name.removeprefix("vdsm_") for name in specs.every()}
    named = {name for name in ours if re.match("(before|after)_", name)}
    assert named <= set(POINTS)
    assert ours - named >= OWN
