"""What can be wrong with machines.

::

    InvalidRequest
    └── CannotCreateVM
    Unavailable
    ├── Recovering
    └── ResourceExhausted
        └── MigrationLimitExceeded
    NotFound
    └── NoSuchVM
    Conflict
    ├── VMExists
    ├── VMIsDown
    ├── ForeignDefinition
    ├── MigrationInProgress
    ├── AlreadyMigrating
    ├── NotMigratable
    ├── MigrationNotInProgress
    └── MigrationCancelFailed
    OperationFailed
    ├── VMDestroyFailed
    ├── ResetFailed
    ├── BalloonError
    ├── SetNumberOfCpusFailed
    └── MigrationFailed

Codes are VDSM's.
"""

from __future__ import annotations

from vdsm_core.errors import (
    Conflict,
    InvalidRequest,
    NotFound,
    OperationFailed,
    ResourceExhausted,
    Unavailable,
)


class Recovering(Unavailable):
    """Not all machines are known yet since the daemon started. Facts: `reason`, what is waited for."""

    slug = "recovering"
    code = 99
    template = "The machines are not known yet, since the daemon started: {reason}; try again"


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


class VMIsDown(Conflict):
    """The machine does not run. Facts: `vm_id`, `action`."""

    slug = "vm-is-down"
    code = 6
    template = "Cannot {action} machine '{vm_id}': it is down"


class ForeignDefinition(Conflict):
    """Somebody else defined the machine, and it is down: there is nothing to destroy. Facts: `vm_id`."""

    slug = "foreign-definition"
    template = "Cannot destroy machine '{vm_id}': it is down, and its definition was not made by this daemon"


class CannotCreateVM(InvalidRequest):
    """The machine that was asked for cannot be. Facts: `reason`."""

    slug = "cannot-create-vm"
    code = 9
    template = "Cannot create the machine: {reason}"


class VMDestroyFailed(OperationFailed):
    """The machine could not be ended. Facts: `vm_id`, `reason`."""

    slug = "vm-destroy-failed"
    code = 42
    template = "Cannot destroy machine '{vm_id}': {reason}"


class BalloonError(OperationFailed):
    """The balloon could not be moved. Facts: `vm_id`, `reason`."""

    slug = "balloon-error"
    code = 53
    template = "Cannot move the balloon of machine '{vm_id}': {reason}"


class SetNumberOfCpusFailed(OperationFailed):
    """Processors could not be switched on or off. Facts: `vm_id`, `reason`."""

    slug = "set-number-of-cpus-failed"
    code = 60
    template = "Cannot change the number of processors of machine '{vm_id}': {reason}"


class ResetFailed(OperationFailed):
    """The machine could not be reset. Facts: `vm_id`, `reason`."""

    slug = "reset-failed"
    code = 90
    template = "Cannot reset machine '{vm_id}': {reason}"


class MigrationInProgress(Conflict):
    """The machine is being migrated. Facts: `vm_id`, `action`."""

    slug = "migration-in-progress"
    code = 51
    template = "Cannot {action} machine '{vm_id}': it is being migrated"


class AlreadyMigrating(Conflict):
    """The machine is being migrated already. Facts: `vm_id`, `destination`."""

    slug = "already-migrating"
    code = 4
    template = "Cannot migrate machine '{vm_id}': it is on its way to {destination} already"


class NotMigratable(Conflict):
    """The state of the machine does not allow to migrate it. Facts: `vm_id`, `status`."""

    slug = "not-migratable"
    code = 102
    template = "Cannot migrate machine '{vm_id}' in status '{status}'"


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
    """As many machines as may are on their way to this host. Facts: `limit`."""

    slug = "migration-limit-exceeded"
    code = 82
    template = "As many machines as may be, {limit}, are on their way to this host"


class MigrationFailed(OperationFailed):
    """The machine did not move. Facts: `vm_id`, `destination`, `reason`."""

    slug = "migration-failed"
    code = 12
    template = "The migration of machine '{vm_id}' to {destination} failed: {reason}"
