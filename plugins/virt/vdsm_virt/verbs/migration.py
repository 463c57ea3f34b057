"""Verbs of `VM` that migrate machines between hosts."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from vdsm_bridge.api.declare import Namespace, action, query
from vdsm_bridge.api.legacy import LegacyMethod
from vdsm_bridge.call.context import Context
from vdsm_core.types import UUID
from vdsm_virt.api.migration import (
    IncomingParams,
    MigrateParams,
    MigrationCreateState,
    MigrationParameters,
    MigrationStats,
)
from vdsm_virt.create.incoming import Incoming
from vdsm_virt.jobs.migration.migrations import Migrations
from vdsm_virt.policy.host_access import HostAccess
from vdsm_virt.verbs.vm import VM


class Migration(Namespace, group_of=VM):
    """Move a machine to another host, and receive one."""

    def __init__(self, migrations: Migrations, incoming: Incoming, host_access: HostAccess) -> None:
        self._migrations = migrations
        self._incoming = incoming
        self._host_access = host_access

    # Callers with some machines may not: the description may name the disks of any machine.
    @action(
        since="1.0",
        scope="creates",
        legacy=LegacyMethod(
            "migrationCreate", args=("params",), id_inside="vmId", members=("migrationPort", "params")
        ),
    )
    def migration_create(
        self,
        vm_id: UUID,
        params: IncomingParams,
        context: Context,
        incoming_limit: Annotated[int, Meta(ge=0)] = 0,
    ) -> MigrationCreateState:
        """Prepare this host for an incoming migration. Then call `VM.migrate` on the source.

        A source that has this host among its `[plugin.virt.peers]` calls it by itself.

        The reservation expires after `[plugin.virt] incoming_timeout`; the machine is then down here.
        `VM.destroy` ends it before.

        :param params: the machine, as `VM.getInfo` returns it on the source; its disks must exist here
        :param incoming_limit: maximum number of incoming migrations; 0: as configured
        :returns: the machine, in status "Migration Destination"
        :raises AlreadyExpected: there is a place for it already
        :raises VMExists: its id or its name is in use on this host
        :raises MigrationLimitExceeded: too many incoming migrations
        :raises CannotCreateVM: one of its disks does not exist on this host
        :raises Recovering: the machines of this host have not been read yet
        :raises NeedsAdmin: one of its disks is outside the image folders, and the caller is no `admin`
        """
        self._host_access.check_arrival(params, context)
        expected = self._incoming.create(vm_id.lower(), params, incoming_limit, context.identity.key)
        return MigrationCreateState(params=expected)

    @action(
        since="1.0",
        done="Migration in progress",
        legacy=LegacyMethod("migrate", args=("params",), id_inside="vmId", fixed={"progress": 0}),
    )
    def migrate(self, vm_id: UUID, params: MigrateParams, context: Context) -> None:
        """Migrate a running machine to another host.

        If the destination is in `[plugin.virt.peers]`, its API is called first: a place for the machine is
        reserved, and given up if the migration fails. Otherwise call `VM.migrationCreate` there before.
        Returns at once. `VM.getMigrationStatus` and events report the progress. Afterwards the machine is
        down here and its definition is removed; if the migration fails it continues to run here. libvirt
        carries the migration on if the daemon ends. Other actions on the machine are refused meanwhile,
        except `VM.destroy` and `VM.migrateCancel`.

        :param params: the destination, and the parameters of the migration
        :raises NoSuchVM: no machine of this id is on the host
        :raises VMIsDown: it is not running
        :raises AlreadyMigrating: a migration of it is in progress
        :raises MigrationInProgress: its migration to this host has not ended
        :raises NotMigratable: its status is about to change
        :raises PausedByIOError: it is paused, since one of its disks fails
        :raises HasTransientDisk: the changes of one of its disks exist on this host only
        :raises MigrationFailed: the hypervisor cannot migrate
        """
        self._migrations.migrate(vm_id.lower(), params, context)

    @action(
        since="1.0", preempts=True, done="Migration process cancelled", legacy=LegacyMethod("migrateCancel")
    )
    def migrate_cancel(self, vm_id: UUID) -> None:
        """Cancel the migration of a machine, which continues to run here. Waits some seconds for its end.

        :raises NoSuchVM: no machine of this id is on the host
        :raises MigrationCancelFailed: no migration of it is in progress, or it cannot be cancelled any more
        """
        self._migrations.cancel(vm_id.lower())

    @action(since="1.0", legacy=LegacyMethod("migrateChangeParams"))
    def migrate_change_params(self, vm_id: UUID, params: MigrationParameters) -> None:
        """Change the parameters of a migration in progress.

        :param params: the parameters to change
        :raises NoSuchVM: no machine of this id is on the host
        :raises MigrationNotInProgress: no migration of it is in progress
        :raises VMIsDown: it is not running any more
        :raises MigrationFailed: the hypervisor cannot change them
        """
        self._migrations.change(vm_id.lower(), params)

    @query(
        since="1.0",
        # VDSM's own client of every release looks for `progress` beside the status.
        legacy=LegacyMethod("migrateStatus", reply="migrationStats", members=("progress",)),
    )
    def get_migration_status(self, vm_id: UUID) -> MigrationStats:
        """Return the progress of a machine's migration to another host.

        :raises NoSuchVM: no machine of this id is on the host
        :raises MigrationNotInProgress: there was no migration of it since the daemon started
        :raises MigrationFailed: its last migration failed
        :raises MigrationCanceled: it was cancelled
        :raises MigrationStepFailed: libvirt ended it with an error
        :raises DestinationRefused: the destination refused the machine
        """
        return self._migrations.status(vm_id.lower())
