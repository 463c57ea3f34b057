"""Errors of the verbs on the storage of running machines, and on the agent that they need.

::

    InvalidRequest
    └── InvalidParameter
    NotFound
    ├── NoSuchDrive
    ├── NoSuchBackup
    ├── NoSuchCheckpointOfVM
    └── ReplicationNotInProgress
    Conflict
    ├── JobExists
    ├── StorageBusy
    ├── TransientDisk
    └── ReplicationNotReady
    OperationFailed
    ├── LeasesNotSupported
    ├── GuestAgentSilent
    ├── GuestAgentUnsupported
    ├── FreezeFailed
    ├── ThawFailed
    ├── SnapshotFailed
    ├── MergeFailed
    │   └── BaseTooSmall
    ├── ReplicationFailed
    ├── ReplicationNotEnded
    ├── BackupFailed
    └── CheckpointFailed
        └── CheckpointsInconsistent

Codes are VDSM's.
"""

from __future__ import annotations

from vdsm_core.errors import Conflict, InvalidRequest, NotFound, OperationFailed


class InvalidParameter(InvalidRequest):
    """A value is not allowed. Facts: `argument`, `reason`."""

    slug = "invalid-parameter"
    code = 91
    template = "{argument}: {reason}"


class NoSuchDrive(NotFound):
    """The machine has no such disk. Facts: `vm_id`, `disk` (its ids)."""

    slug = "no-such-drive"
    code = 13
    template = "Machine '{vm_id}' has no disk with {disk}"


class JobExists(Conflict):
    """The id belongs to another host job. Facts: `job_id`."""

    slug = "job-exists"
    code = 69
    template = "There is a host job '{job_id}' already"


class StorageBusy(Conflict):
    """libvirt works on the machine's disks. Facts: `vm_id`, `action`, `work`."""

    slug = "storage-busy"
    code = 40
    template = "Cannot {action} machine '{vm_id}': {work} of it is in progress"


class TransientDisk(Conflict):
    """The disk loses what is written when the machine ends. Facts: `vm_id`, `drive`, `action`."""

    slug = "transient-disk"
    code = 59
    template = "Cannot {action} disk {drive} of machine '{vm_id}': it is transient"


class LeasesNotSupported(OperationFailed):
    """The disk has a lease. Facts: `vm_id`, `drive`, `action`."""

    slug = "leases-not-supported"
    code = 44
    template = "Cannot {action} disk {drive} of machine '{vm_id}': it is protected by a lease"


class GuestAgentSilent(OperationFailed):
    """The guest agent does not answer. Facts: `vm_id`, `reason`."""

    slug = "guest-agent-silent"
    code = 19
    template = "The guest agent of machine '{vm_id}' does not answer: {reason}"


class GuestAgentUnsupported(OperationFailed):
    """The machine has no guest agent for it. Facts: `vm_id`, `action`, `reason`."""

    slug = "guest-agent-unsupported"
    code = 75
    template = "Cannot {action} the file systems of machine '{vm_id}': {reason}"


class FreezeFailed(OperationFailed):
    """The guest's file systems could not be frozen. Facts: `vm_id`, `reason`."""

    slug = "freeze-failed"
    code = 76
    template = "Cannot freeze the file systems of machine '{vm_id}': {reason}"


class ThawFailed(OperationFailed):
    """The guest's file systems could not be thawed. Facts: `vm_id`, `reason`."""

    slug = "thaw-failed"
    code = 77
    template = "Cannot thaw the file systems of machine '{vm_id}': {reason}"


class SnapshotFailed(OperationFailed):
    """The snapshot was not taken. Facts: `vm_id`, `reason`."""

    slug = "snapshot-failed"
    code = 48
    template = "Cannot take a snapshot of machine '{vm_id}': {reason}"


class MergeFailed(OperationFailed):
    """The volumes were not merged. Facts: `vm_id`, `drive`, `reason`."""

    slug = "merge-failed"
    code = 52
    template = "Cannot merge volumes of disk {drive} of machine '{vm_id}': {reason}"


class BaseTooSmall(MergeFailed):
    """The volume that is to be written is smaller than the one above it. Facts: those of `MergeFailed`."""

    slug = "base-too-small"
    code = 79


class ReplicationFailed(OperationFailed):
    """The disk is not mirrored. Facts: `vm_id`, `drive`, `reason`."""

    slug = "replication-failed"
    code = 55
    template = "Cannot mirror disk {drive} of machine '{vm_id}': {reason}"


class ReplicationNotReady(Conflict):
    """The mirror does not have everything yet. Facts: `vm_id`, `drive`, `done`, `total` (bytes)."""

    slug = "replication-not-ready"
    code = 40
    template = "The mirror of disk {drive} of machine '{vm_id}' is not complete: {done} of {total} bytes"


class ReplicationNotInProgress(NotFound):
    """The disk is not mirrored. Facts: `vm_id`, `drive`."""

    slug = "replication-not-in-progress"
    code = 88
    template = "Disk {drive} of machine '{vm_id}' is not being mirrored"


class ReplicationNotEnded(OperationFailed):
    """libvirt did not end the mirror. Facts: `vm_id`, `drive`, `reason`."""

    slug = "replication-not-ended"
    code = 41
    template = "Cannot end the mirror of disk {drive} of machine '{vm_id}': {reason}"


class BackupFailed(OperationFailed):
    """The backup did not begin, or cannot be ended. Facts: `vm_id`, `reason`."""

    slug = "backup-failed"
    code = 1600
    template = "Cannot back up machine '{vm_id}': {reason}"


class NoSuchBackup(NotFound):
    """No backup of this id is in progress. Facts: `vm_id`, `backup_id`."""

    slug = "no-such-backup"
    code = 1601
    template = "No backup '{backup_id}' of machine '{vm_id}' is in progress"


class CheckpointFailed(OperationFailed):
    """A checkpoint cannot be read or changed. Facts: `vm_id`, `reason`."""

    slug = "checkpoint-failed"
    code = 1610
    template = "Cannot use the checkpoints of machine '{vm_id}': {reason}"


class NoSuchCheckpointOfVM(NotFound):
    """The machine has no such checkpoint. Facts: `vm_id`, `checkpoint_id`."""

    slug = "no-such-checkpoint"
    code = 1611
    template = "Machine '{vm_id}' has no checkpoint '{checkpoint_id}'"


class CheckpointsInconsistent(CheckpointFailed):
    """A volume lacks a bitmap, or it is damaged. Facts: those of `CheckpointFailed`."""

    slug = "checkpoints-inconsistent"
    code = 1612
