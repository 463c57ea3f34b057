"""Errors of machines.

::

    InvalidRequest
    └── CannotCreateVM
    Forbidden
    └── NeedsAdmin
    Unavailable
    ├── Recovering
    └── ResourceExhausted
        └── MigrationLimitExceeded
    NotFound
    ├── ImageFileNotFound
    ├── NoSuchVM
    ├── NoSuchImportJob
    └── NoSuchOvf
    Conflict
    ├── VMExists
    │   └── AlreadyExpected
    ├── VMIsDown
    ├── ShutdownImpossible
    ├── ForeignDefinition
    ├── HostDeviceInUse
    ├── MigrationInProgress
    ├── SavingState
    ├── AlreadyMigrating
    ├── NotMigratable
    ├── MethodNotImplemented
    ├── PausedByIOError
    ├── HasTransientDisk
    ├── MigrationNotInProgress
    └── MigrationCancelFailed
    OperationFailed
    ├── VMDestroyFailed
    ├── ResetFailed
    ├── HibernationFailed
    ├── BalloonError
    ├── CannotPrepareImage
    ├── ChangeDiskFailed
    ├── HotplugDiskFailed
    ├── HotunplugDiskFailed
    ├── SetNumberOfCpusFailed
    ├── SetTicketFailed
    ├── HotplugNicFailed
    ├── HotunplugNicFailed
    ├── UpdateDeviceFailed
    ├── HotplugMemoryFailed
    ├── HotunplugMemoryFailed
    ├── HostDeviceDetachFailed
    └── MigrationFailed
        ├── MigrationCanceled
        ├── MigrationStepFailed
        └── DestinationRefused

Codes are VDSM's.
"""

from __future__ import annotations

from typing import Any

from vdsm_core.errors import (
    Conflict,
    Forbidden,
    HypervisorError,
    InvalidRequest,
    NotFound,
    OperationFailed,
    ResourceExhausted,
    Unavailable,
)


class Recovering(Unavailable):
    """The machines have not been read since the daemon started. Facts: `reason`."""

    slug = "recovering"
    code = 99
    template = (
        "Cannot access the machines, they have not been read since the daemon started: {reason}; try again"
    )


class NoSuchVM(NotFound):
    """No machine of this id is on the host. Facts: `vm_id`."""

    slug = "no-such-vm"
    code = 1
    template = "There is no machine '{vm_id}'"


class VMExists(Conflict):
    """The id or the name belongs to another machine. Facts: `member` ("vmId", "vmName"), `value`."""

    slug = "vm-exists"
    code = 4
    template = "There is a machine with {member} '{value}' already"


class AlreadyExpected(VMExists):
    """A place for this machine has been reserved, and it has not arrived.

    Facts: `member` ("vmId"), `value`.
    """

    slug = "already-expected"
    template = "Machine '{value}' is expected from another host already"


class VMIsDown(Conflict):
    """The machine is not running. Facts: `vm_id`, `action`."""

    slug = "vm-is-down"
    code = 6
    template = "Cannot {action} machine '{vm_id}': it is down"


class VMNotDown(Conflict):
    """The machine is not down. Facts: `vm_id`, `action`, `status`."""

    slug = "vm-not-down"
    template = "Cannot {action} machine '{vm_id}': it is not down, but in status '{status}'"


class ShutdownImpossible(Conflict):
    """Nothing can carry out a shutdown or a reboot of the machine. Facts: `vm_id`, `reason`."""

    slug = "shutdown-impossible"
    code = 4
    template = "Cannot shut down machine '{vm_id}': {reason}"


class ForeignDefinition(Conflict):
    """The machine is down, and was defined by another client of libvirt. Facts: `vm_id`."""

    slug = "foreign-definition"
    template = "Cannot destroy machine '{vm_id}': it is down, and its definition was not made by this daemon"


class CannotCreateVM(InvalidRequest):
    """The machine cannot be created. Facts: `reason`."""

    slug = "cannot-create-vm"
    code = 9
    template = "Cannot create the machine: {reason}"


class NeedsAdmin(Forbidden):
    """A part of the request gives a machine files or devices of the host.

    Facts: `verb`, `identity`, `needed`, `argument` (the member of the request), `reason` (what it is).
    """

    slug = "needs-admin"
    template = "'{identity}' may not set {argument} in {verb}, which needs the role '{needed}': {reason}"


class VMDestroyFailed(OperationFailed):
    """The machine could not be destroyed. Facts: `vm_id`, `reason`."""

    slug = "vm-destroy-failed"
    code = 42
    template = "Cannot destroy machine '{vm_id}': {reason}"


class BalloonError(OperationFailed):
    """The target of the balloon could not be set. Facts: `vm_id`, `reason`."""

    slug = "balloon-error"
    code = 53
    template = "Cannot set the balloon target of machine '{vm_id}': {reason}"


class SetTicketFailed(OperationFailed):
    """The password of a display could not be set. Facts: `vm_id`, `reason`."""

    slug = "set-ticket-failed"
    code = 18
    template = "Cannot set the password of the display of machine '{vm_id}': {reason}"


class SetNumberOfCpusFailed(OperationFailed):
    """The number of processors could not be changed. Facts: `vm_id`, `reason`."""

    slug = "set-number-of-cpus-failed"
    code = 60
    template = "Cannot change the number of processors of machine '{vm_id}': {reason}"


class ResetFailed(OperationFailed):
    """The machine could not be reset. Facts: `vm_id`, `reason`."""

    slug = "reset-failed"
    code = 90
    template = "Cannot reset machine '{vm_id}': {reason}"


class HostDeviceInUse(Conflict):
    """A machine has the device of the host. Facts: `name`, `vm_id`."""

    slug = "host-device-in-use"
    template = "Machine '{vm_id}' has device '{name}' of the host"


class HotplugNicFailed(OperationFailed):
    """The NIC could not be attached. Facts: `vm_id`, `reason`."""

    slug = "hotplug-nic-failed"
    code = 49
    template = "Cannot attach the NIC to machine '{vm_id}': {reason}"


class HotunplugNicFailed(OperationFailed):
    """The NIC could not be detached. Facts: `vm_id`, `reason`."""

    slug = "hotunplug-nic-failed"
    code = 50
    template = "Cannot detach the NIC from machine '{vm_id}': {reason}"


class UpdateDeviceFailed(OperationFailed):
    """The device could not be changed. Facts: `vm_id`, `reason`."""

    slug = "update-device-failed"
    code = 56
    template = "Cannot change the device of machine '{vm_id}': {reason}"


class HotplugMemoryFailed(OperationFailed):
    """The memory module could not be attached. Facts: `vm_id`, `reason`."""

    slug = "hotplug-memory-failed"
    code = 70
    template = "Cannot attach memory to machine '{vm_id}': {reason}"


class HotunplugMemoryFailed(OperationFailed):
    """The memory module could not be detached. Facts: `vm_id`, `reason`."""

    slug = "hotunplug-memory-failed"
    code = 85
    template = "Cannot detach memory from machine '{vm_id}': {reason}"


class HostDeviceDetachFailed(OperationFailed):
    """A device of the host could not be taken from its driver. Facts: `name`, `reason`."""

    slug = "host-device-detach-failed"
    code = 83
    template = "Cannot take device '{name}' from its driver on the host: {reason}"


class DeviceNotUpdatable(InvalidRequest):
    """Devices of this kind cannot be changed while the machine runs. Facts: `kind`."""

    slug = "device-not-updatable"
    code = 44
    template = "Cannot change a device of kind '{kind}': only NICs and displays of running machines can be"


class MigrationInProgress(Conflict):
    """The machine is being migrated. Facts: `vm_id`, `action`."""

    slug = "migration-in-progress"
    code = 51
    template = "Cannot {action} machine '{vm_id}': it is being migrated"


class SavingState(Conflict):
    """The state of the machine is being saved. Facts: `vm_id`, `action`."""

    slug = "saving-state"
    code = 51
    template = "Cannot {action} machine '{vm_id}': its state is being saved"


class HibernationFailed(OperationFailed):
    """The state of the machine could not be saved. Facts: `vm_id`, `reason`."""

    slug = "hibernation-failed"
    code = 12
    template = "Cannot save the state of machine '{vm_id}': {reason}"


class AlreadyMigrating(Conflict):
    """The machine is being migrated already. Facts: `vm_id`, `destination`."""

    slug = "already-migrating"
    code = 4
    template = "Cannot migrate machine '{vm_id}': it is being migrated to {destination} already"


class NotMigratable(Conflict):
    """The machine cannot be migrated in its present status. Facts: `vm_id`, `status`."""

    slug = "not-migratable"
    code = 102
    template = "Cannot migrate machine '{vm_id}' in status '{status}'"


class PausedByIOError(Conflict):
    """A disk of the machine fails, which pauses it; on the destination it would fail, too. Facts: `vm_id`."""

    slug = "paused-by-io-error"
    code = 100
    template = "Cannot migrate machine '{vm_id}': it is paused by an I/O error (EIO) of one of its disks"


class HasTransientDisk(Conflict):
    """The machine has a disk whose changes exist on this host only. Facts: `vm_id`, `disk`."""

    slug = "has-transient-disk"
    code = 59
    template = "Cannot migrate machine '{vm_id}': its disk {disk} is transient"


class MigrationNotInProgress(Conflict):
    """The machine is not being migrated, and was not since the daemon started. Facts: `vm_id`."""

    slug = "migration-not-in-progress"
    code = 81
    template = "Machine '{vm_id}' is not being migrated"


class MigrationCancelFailed(Conflict):
    """There is no migration to cancel, or it cannot be cancelled any more. Facts: `vm_id`, `reason`."""

    slug = "migration-cancel-failed"
    code = 47
    template = "Cannot cancel the migration of machine '{vm_id}': {reason}"


class MigrationLimitExceeded(ResourceExhausted):
    """The limit of incoming migrations is reached. Facts: `limit`."""

    slug = "migration-limit-exceeded"
    code = 82
    template = "Too many incoming migrations (limit {limit})"


class MigrationFailed(OperationFailed):
    """The machine could not be migrated. Facts: `vm_id`, `destination`, `reason`."""

    slug = "migration-failed"
    code = 12
    template = "The migration of machine '{vm_id}' to {destination} failed: {reason}"


class ImageFileNotFound(NotFound):
    """A disk, or the image for a drive, cannot be found. Facts: `vm_id`, `reason`."""

    slug = "image-file-not-found"
    code = 13
    template = "Cannot find the disk of machine '{vm_id}': {reason}"


class ChangeDiskFailed(OperationFailed):
    """The medium of a drive could not be changed. Facts: `vm_id`, `reason`."""

    slug = "change-disk-failed"
    code = 41
    template = "Cannot change the medium of machine '{vm_id}': {reason}"


class MethodNotImplemented(Conflict):
    """What is asked for is not possible in this case, by VDSM's rules. Facts: `reason`."""

    slug = "method-not-implemented"
    code = 44
    template = "Not implemented: {reason}"


class HotplugDiskFailed(OperationFailed):
    """A disk could not be plugged in. Facts: `vm_id`, `reason`."""

    slug = "hotplug-disk-failed"
    code = 45
    template = "Cannot plug a disk into machine '{vm_id}': {reason}"


class HotunplugDiskFailed(OperationFailed):
    """A disk could not be unplugged. Facts: `vm_id`, `reason`."""

    slug = "hotunplug-disk-failed"
    code = 46
    template = "Cannot unplug a disk of machine '{vm_id}': {reason}"


class CannotPrepareImage(OperationFailed):
    """Storage cannot make an image usable on this host. Facts: `vm_id`, `reason`."""

    slug = "cannot-prepare-image"
    code = 1630
    template = "Cannot prepare the image for machine '{vm_id}': {reason}"


class MigrationCanceled(MigrationFailed):
    """The migration was cancelled, on request or for lack of progress.

    Facts: `vm_id`, `destination`, `reason`.
    """

    slug = "migration-canceled"
    code = 47
    template = "Migration canceled: machine '{vm_id}' has not moved to {destination}: {reason}"


class MigrationStepFailed(MigrationFailed):
    """libvirt ended the migration with an error. Facts: `vm_id`, `destination`, `reason` (libvirt's)."""

    slug = "migration-step-failed"
    code = 102


class DestinationRefused(MigrationFailed):
    """The destination refused to receive the machine.

    Facts: `vm_id`, `destination`, `reason` (that of the destination), `slug` and `code` of its error. The
    code is that of the error, as in VDSM.
    """

    slug = "destination-refused"
    template = "Cannot migrate machine '{vm_id}': {destination} refused it: {reason}"

    def __init__(self, *, code: int = 12, **facts: Any) -> None:
        super().__init__(code=code, **facts)
        # Hides the code of the class.
        vars(self)["code"] = code


def reason_of(error: Exception) -> str:
    """Return the reason of an error; for a `HypervisorError` only the reason that libvirt reports."""
    if isinstance(error, HypervisorError):
        return str(error.facts.get("reason") or error)
    return str(error)


class NoSuchImportJob(NotFound):
    """There is no conversion of this id. Facts: `job_id`."""

    slug = "no-such-import-job"
    code = 66
    template = "There is no import job '{job_id}'"


class NoSuchOvf(NotFound):
    """The document of a finished conversion is not there any more. Facts: `job_id`, `reason`."""

    slug = "no-such-ovf"
    code = 67
    template = "The OVF document of import job '{job_id}' cannot be read: {reason}"


class ImportJobNotDone(Conflict):
    """The conversion is under way, or has failed. Facts: `job_id`, `status`."""

    slug = "import-job-not-done"
    code = 68
    template = "Import job '{job_id}' is not done: its status is '{status}'"


class ImportJobExists(Conflict):
    """There is a conversion of this id. Facts: `job_id`."""

    slug = "import-job-exists"
    code = 69
    template = "There is an import job '{job_id}' already"


class BadSecretRequest(InvalidRequest):
    """The value of a secret is not base64. Facts: `uuid`, `reason`."""

    slug = "bad-secret-request"
    code = 72
    template = "The secret '{uuid}' is not acceptable: {reason}"


class SecretRegistrationFailed(OperationFailed):
    """libvirt does not take a secret. Facts: `uuid`, `reason`."""

    slug = "secret-registration-failed"
    code = 73
    template = "The secret '{uuid}' cannot be registered: {reason}"


class SecretUnregistrationFailed(OperationFailed):
    """libvirt does not drop a secret. Facts: `uuid`, `reason`."""

    slug = "secret-unregistration-failed"
    code = 74
    template = "The secret '{uuid}' cannot be removed: {reason}"
