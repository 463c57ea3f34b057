"""The hooks of disks, and what they get."""

from __future__ import annotations

from typing import Any
from xml.etree.ElementTree import Element

import msgspec

from vdsm_core.errors import OperationFailed
from vdsm_core.hooks.manager import Hooks
from vdsm_core.hooks.specs.devices import (
    vdsm_after_disk_hotplug,
    vdsm_after_disk_hotunplug,
    vdsm_after_disk_prepare,
    vdsm_before_disk_hotplug,
    vdsm_before_disk_hotunplug,
)
from vdsm_core.volumes import PreparedDisk


class DiskHooks:
    """Calls the hooks of disks.

    `properties` are the custom properties of the machine, `custom` those of the disk.
    """

    def __init__(self, hooks: Hooks) -> None:
        self._hooks = hooks

    def after_prepare(
        self,
        vm_id: str,
        prepared: PreparedDisk,
        ids: dict[str, str],
        properties: dict[str, str],
        custom: dict[str, str],
    ) -> PreparedDisk:
        """Return a prepared image as the hooks want it: they may set its path.

        :raises OperationFailed: they set one that is no absolute path
        """
        drive: dict[str, Any] = {**ids, "path": prepared.path, "diskType": prepared.kind}
        edited = self._hooks.run(vdsm_after_disk_prepare, drive, vm_id, properties, custom)
        path = edited.get("path", prepared.path)
        if path == prepared.path:
            return prepared
        if not isinstance(path, str) or not path.startswith("/") or "\0" in path:
            raise OperationFailed(reason="a hook set a path that is not absolute")
        return msgspec.structs.replace(
            prepared, path=path, kind="block" if path.startswith("/dev/") else "file"
        )

    def before_plug(
        self, element: Element, vm_id: str, properties: dict[str, str], custom: dict[str, str]
    ) -> Element:
        """Return a disk as the hooks want it."""
        return self._hooks.run(vdsm_before_disk_hotplug, element, vm_id, properties, custom)

    def after_plug(
        self, vm_id: str, element: Element, properties: dict[str, str], custom: dict[str, str]
    ) -> None:
        """Report that a disk was plugged in."""
        self._hooks.run(vdsm_after_disk_hotplug, vm_id, element, properties, custom)

    def before_unplug(
        self, vm_id: str, element: Element, properties: dict[str, str], custom: dict[str, str]
    ) -> None:
        """Let the hooks refuse to plug a disk out."""
        self._hooks.run(vdsm_before_disk_hotunplug, vm_id, element, properties, custom)

    def after_unplug(
        self, vm_id: str, element: Element, properties: dict[str, str], custom: dict[str, str]
    ) -> None:
        """Report that a disk was plugged out."""
        self._hooks.run(vdsm_after_disk_hotunplug, vm_id, element, properties, custom)
