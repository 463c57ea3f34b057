"""Errors of disks and leases of running machines. Codes are those of VDSM."""

from __future__ import annotations

from vdsm_core.errors import InvalidRequest, OperationFailed


class HotplugLeaseFailed(OperationFailed):
    """A lease could not be added to a machine. Facts: `vm_id`, `reason`."""

    slug = "hotplug-lease-failed"
    code = 86
    template = "Cannot add a lease to machine '{vm_id}': {reason}"


class HotunplugLeaseFailed(OperationFailed):
    """A lease could not be taken from a machine. Facts: `vm_id`, `reason`."""

    slug = "hotunplug-lease-failed"
    code = 87
    template = "Cannot remove a lease of machine '{vm_id}': {reason}"


class DriveRefreshError(OperationFailed):
    """Storage cannot read the size of a disk anew. Facts: `vm_id`, `reason`."""

    slug = "drive-refresh-error"
    code = 1640
    template = "Cannot refresh the disk of machine '{vm_id}': {reason}"


class BadDiskResizeParameter(InvalidRequest):
    """The new size of a disk is not acceptable. Facts: `vm_id`, `reason`."""

    slug = "bad-disk-resize-parameter"
    code = 58
    template = "Cannot resize the disk of machine '{vm_id}': {reason}"
