"""The disks of a running domain: their media and sizes."""

from __future__ import annotations

from typing import Any

import libvirt

from vdsm_core.hypervisor import error_mapping
from vdsm_core.hypervisor.connection.caller import Caller
from vdsm_core.hypervisor.models import DiskSize


class Disks:
    """Reads and changes the disks of running domains.

    `timeout` and the errors that every method raises are those of `Caller.call_domain`.
    """

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def change_medium(
        self, uuid: str, xml: str, *, force: bool = False, timeout: float | None = None
    ) -> None:
        """Load or eject the medium of a CD-ROM or floppy drive, also in the kept definition.

        :param xml: the drive's `<disk>` element; without `<source>` the drive is emptied
        :param force: also if the guest has locked the tray
        :raises OperationInvalid: the domain is not active
        :raises XMLRefused: libvirt does not accept the element
        """

        def changed(domain: Any) -> None:
            flags = libvirt.VIR_DOMAIN_AFFECT_LIVE
            if domain.isPersistent():
                flags |= libvirt.VIR_DOMAIN_AFFECT_CONFIG
            if force:
                flags |= libvirt.VIR_DOMAIN_DEVICE_MODIFY_FORCE
            domain.updateDeviceFlags(xml, flags)

        self._caller.call_domain(uuid, changed, error_mapping.CHANGE_MEDIUM, timeout=timeout)

    def resize(self, uuid: str, target: str, size: int, *, timeout: float | None = None) -> None:
        """Give a disk of the running machine another size; the guest is notified.

        :param target: name of the disk, such as "vda"
        :param size: bytes
        :raises OperationInvalid: the domain is not active
        """
        flags = libvirt.VIR_DOMAIN_BLOCK_RESIZE_BYTES
        self._caller.call_domain(
            uuid, lambda domain: domain.blockResize(target, size, flags), "block_resize", timeout=timeout
        )

    def size(self, uuid: str, target: str, *, timeout: float | None = None) -> DiskSize:
        """Return the sizes of a disk.

        :param target: name of the disk, such as "vda"
        """

        def sized(domain: Any) -> DiskSize:
            capacity, allocation, physical = domain.blockInfo(target)
            return DiskSize(capacity=capacity, allocation=allocation, physical=physical)

        return self._caller.call_domain(uuid, sized, "block_info", timeout=timeout)
