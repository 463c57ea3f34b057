"""The disks of a running domain: jobs on their volumes, sizes, and thresholds."""

from __future__ import annotations

from typing import Any, Final
from xml.etree.ElementTree import Element

import libvirt
from defusedxml import ElementTree

from vdsm_core.hypervisor import enum_names
from vdsm_core.hypervisor.connection.caller import Caller
from vdsm_core.hypervisor.models import BlockInfo, BlockJob

#: The destination exists with its backing volume; the job ends with the QEMU process.
_COPY: Final[int] = (
    libvirt.VIR_DOMAIN_BLOCK_COPY_SHALLOW
    | libvirt.VIR_DOMAIN_BLOCK_COPY_REUSE_EXT
    | libvirt.VIR_DOMAIN_BLOCK_COPY_TRANSIENT_JOB
)


class BlockJobs:
    """Runs jobs on the disks of domains. A disk is named by its target, such as "vda".

    `timeout` and the errors that every method raises are those of `Caller.call_domain`.
    """

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def commit(
        self,
        uuid: str,
        disk: str,
        *,
        base: str,
        top: str,
        active: bool,
        bandwidth: int = 0,
        timeout: float | None = None,
    ) -> None:
        """Start to write a volume's contents into a volume below it. Returns once that has begun.

        :param base: the volume that is written, by its place, such as "vda[2]"
        :param top: the uppermost volume that is merged
        :param active: whether `top` is the volume that the guest writes to; then the job becomes ready, and
            `pivot` ends it
        :param bandwidth: MiB/s; 0 is no limit
        """
        flags: int = libvirt.VIR_DOMAIN_BLOCK_COMMIT_RELATIVE
        flags |= libvirt.VIR_DOMAIN_BLOCK_COMMIT_ACTIVE if active else 0
        self._caller.call_domain(
            uuid,
            lambda domain: domain.blockCommit(disk, base, top, bandwidth, flags),
            "block_commit",
            timeout=timeout,
        )

    def copy(self, uuid: str, disk: str, xml: str, *, timeout: float | None = None) -> None:
        """Start to mirror the topmost volume of a disk to a volume that exists.

        :param xml: a `<disk>` document of the destination
        """
        self._caller.call_domain(
            uuid, lambda domain: domain.blockCopy(disk, xml, None, _COPY), "block_copy", timeout=timeout
        )

    def get(self, uuid: str, disk: str, *, timeout: float | None = None) -> BlockJob | None:
        """Return the job on a disk; None if there is none."""

        def found(domain: Any) -> BlockJob | None:
            info = domain.blockJobInfo(disk, libvirt.VIR_DOMAIN_BLOCK_JOB_INFO_BANDWIDTH_BYTES)
            if not info:
                return None
            mirror = _mirror(domain, disk)
            return BlockJob(
                type=enum_names.word(enum_names.BLOCK_JOB_TYPE, info["type"]),
                bandwidth=info["bandwidth"],
                done=info["cur"],
                total=info["end"],
                ready=mirror is not None and mirror.get("ready") == "yes",
            )

        return self._caller.call_domain(uuid, found, "block_job", timeout=timeout)

    def pivot(self, uuid: str, disk: str, *, timeout: float | None = None) -> None:
        """End a job that is ready: the guest goes on with the volume that the job has written.

        :raises OperationInvalid: there is none
        """
        flags = libvirt.VIR_DOMAIN_BLOCK_JOB_ABORT_PIVOT
        self._caller.call_domain(
            uuid, lambda domain: domain.blockJobAbort(disk, flags), "pivot", timeout=timeout
        )

    def abort(self, uuid: str, disk: str, *, timeout: float | None = None) -> None:
        """End a job; the guest goes on with the volume that it has.

        :raises OperationInvalid: there is none
        """
        self._caller.call_domain(
            uuid, lambda domain: domain.blockJobAbort(disk, 0), "abort_block_job", timeout=timeout
        )

    def info(self, uuid: str, disk: str, *, timeout: float | None = None) -> BlockInfo:
        """Return the sizes of a disk's topmost volume."""

        def sizes(domain: Any) -> BlockInfo:
            capacity, allocation, physical = domain.blockInfo(disk)
            return BlockInfo(capacity=capacity, allocation=allocation, physical=physical)

        return self._caller.call_domain(uuid, sizes, "block_info", timeout=timeout)

    def set_threshold(self, uuid: str, volume: str, size: int, *, timeout: float | None = None) -> None:
        """Have an event sent, once, when QEMU writes to a volume beyond an offset; 0 ends that.

        :param volume: its place, such as "vda[1]"
        :param size: bytes from the begin of the volume
        """
        self._caller.call_domain(
            uuid, lambda domain: domain.setBlockThreshold(volume, size), "block_threshold", timeout=timeout
        )


def _mirror(domain: Any, disk: str) -> Element | None:
    root = ElementTree.fromstring(domain.XMLDesc(0))
    found: Element | None = next(
        (
            each.find("mirror")
            for each in root.iterfind("devices/disk")
            if (target := each.find("target")) is not None and target.get("dev") == disk
        ),
        None,
    )
    return found
