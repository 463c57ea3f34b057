"""Moving a running domain to another host."""

from __future__ import annotations

from typing import Any, Final

import libvirt

from vdsm_core.errors import HypervisorError
from vdsm_core.hypervisor import enum_names
from vdsm_core.hypervisor.connection.pool import alive
from vdsm_core.hypervisor.connection.workers import Pending
from vdsm_core.hypervisor.domains.lifecycle import DomainCalls
from vdsm_core.hypervisor.error_mapping import is_disconnect
from vdsm_core.hypervisor.models import DomainJob, Migration

#: libvirtd talks to the other libvirtd by itself: the migration does not depend on this process.
_ALWAYS: Final[int] = libvirt.VIR_MIGRATE_PEER2PEER
_FLAGS: Final[dict[str, int]] = {
    "live": libvirt.VIR_MIGRATE_LIVE,
    "tunnelled": libvirt.VIR_MIGRATE_TUNNELLED,
    "compressed": libvirt.VIR_MIGRATE_COMPRESSED,
    "auto_converge": libvirt.VIR_MIGRATE_AUTO_CONVERGE,
    "abort_on_error": libvirt.VIR_MIGRATE_ABORT_ON_ERROR,
    "encrypted": libvirt.VIR_MIGRATE_TLS,
    "parallel": libvirt.VIR_MIGRATE_PARALLEL,
    "zerocopy": libvirt.VIR_MIGRATE_ZEROCOPY,
    "moves_definition": libvirt.VIR_MIGRATE_PERSIST_DEST | libvirt.VIR_MIGRATE_UNDEFINE_SOURCE,
    "storage_is_shared": libvirt.VIR_MIGRATE_UNSAFE,
}
#: MiB/s; more than this does not fit into QEMU's number of bytes.
_NO_LIMIT: Final = 2**43 - 1
_PARAMETERS: Final[dict[str, str]] = {
    "memory_uri": libvirt.VIR_MIGRATE_PARAM_URI,
    "graphics_uri": libvirt.VIR_MIGRATE_PARAM_GRAPHICS_URI,
    "parallel": libvirt.VIR_MIGRATE_PARAM_PARALLEL_CONNECTIONS,
}
_ENDED: Final[dict[int, Any]] = {
    libvirt.VIR_DOMAIN_JOB_NONE: "none",
    libvirt.VIR_DOMAIN_JOB_COMPLETED: "completed",
    libvirt.VIR_DOMAIN_JOB_FAILED: "failed",
    libvirt.VIR_DOMAIN_JOB_CANCELLED: "cancelled",
}


class MigrationCalls(DomainCalls):
    """Calls about a migration, on the host that the domain leaves."""

    def begin_migration(self, uuid: str, migration: Migration) -> Pending:
        """Start to move a domain. The call lasts until that is done or has failed.

        Calls on the domain go on meanwhile, as far as libvirt allows them. If this process ends, libvirt
        carries on.

        :raises HypervisorUnavailable: libvirt is not reached
        :raises ResourceExhausted: too many calls are under way
        """

        def moved(connection: Any) -> None:
            domain = connection.lookupByUUIDString(uuid)
            try:
                domain.migrateToURI3(migration.uri, _parameters(migration), _flags(migration))
            except libvirt.libvirtError as error:
                # What the other host's connection suffers looks like a failure of ours.
                if not is_disconnect(error) or not alive(connection):
                    raise
                code, reason = error.get_error_code(), error.get_error_message()
            else:
                return
            raise HypervisorError(operation="migrate", reason=reason, libvirt_code=code)

        return self._begin(moved, "migrate", f"(migration of {uuid.lower()})")

    def job(self, uuid: str, *, timeout: float | None = None) -> DomainJob:
        """What libvirt is busy with on a domain.

        :raises OperationUnsupported: the driver has no jobs; or the domain is coming from another host
        """
        return self._on(uuid, lambda domain: _job(domain.jobStats()), "job", timeout)

    def abort_job(self, uuid: str, *, timeout: float | None = None) -> None:
        """Stop what libvirt is busy with. Overtakes calls on the domain that are stuck.

        :raises OperationInvalid: it is busy with nothing, or it is too late
        """
        self._on(uuid, lambda domain: domain.abortJob(), "abort_job", timeout, urgent=True)

    def set_migration_downtime(self, uuid: str, milliseconds: int, *, timeout: float | None = None) -> None:
        """How long the guest may stand still when it moves. Holds for the next migration, too.

        :raises OperationUnsupported: the driver cannot migrate
        """
        self._on(
            uuid, lambda domain: domain.migrateSetMaxDowntime(milliseconds), "set_migration_downtime", timeout
        )

    def set_migration_bandwidth(self, uuid: str, mib: int, *, timeout: float | None = None) -> None:
        """How many MiB/s the migration may use. Holds for the present one and those to come.

        :raises OperationUnsupported: the driver cannot migrate
        """
        self._on(uuid, lambda domain: domain.migrateSetMaxSpeed(mib), "set_migration_bandwidth", timeout)


def _flags(migration: Migration) -> int:
    chosen = (flag for member, flag in _FLAGS.items() if getattr(migration, member))
    return sum(chosen, _ALWAYS)


def _parameters(migration: Migration) -> dict[str, Any]:
    values = ((name, getattr(migration, member)) for member, name in _PARAMETERS.items())
    # Always: libvirt remembers what was set for an earlier migration.
    bandwidth = {libvirt.VIR_MIGRATE_PARAM_BANDWIDTH: migration.bandwidth or _NO_LIMIT}
    return bandwidth | {name: value for name, value in values if value}


def _job(stats: dict[str, Any]) -> DomainJob:
    return DomainJob(
        state=_ENDED.get(stats["type"], "running"),
        operation=enum_names.word(enum_names.JOB_OPERATION, stats.get(libvirt.VIR_DOMAIN_JOB_OPERATION, 0)),
        elapsed=stats.get(libvirt.VIR_DOMAIN_JOB_TIME_ELAPSED, 0),
        total=stats.get(libvirt.VIR_DOMAIN_JOB_DATA_TOTAL, 0),
        processed=stats.get(libvirt.VIR_DOMAIN_JOB_DATA_PROCESSED, 0),
        remaining=stats.get(libvirt.VIR_DOMAIN_JOB_DATA_REMAINING, 0),
        iteration=stats.get(libvirt.VIR_DOMAIN_JOB_MEMORY_ITERATION, 0),
    )
