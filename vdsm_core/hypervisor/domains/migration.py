"""Migration of a running domain to another host."""

from __future__ import annotations

from typing import Any, Final

import libvirt

from vdsm_core.errors import HypervisorError
from vdsm_core.hypervisor.connection.caller import Caller
from vdsm_core.hypervisor.connection.pool import alive
from vdsm_core.hypervisor.connection.workers import Pending
from vdsm_core.hypervisor.error_mapping import is_disconnect
from vdsm_core.hypervisor.models import Migration

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
    "postcopy": libvirt.VIR_MIGRATE_POSTCOPY,
    "moves_definition": libvirt.VIR_MIGRATE_PERSIST_DEST | libvirt.VIR_MIGRATE_UNDEFINE_SOURCE,
    "storage_is_shared": libvirt.VIR_MIGRATE_UNSAFE,
}
#: MiB/s; more than this does not fit into QEMU's number of bytes.
_NO_LIMIT: Final = 2**43 - 1
_PARAMETERS: Final[dict[str, str]] = {
    "memory_uri": libvirt.VIR_MIGRATE_PARAM_URI,
    "graphics_uri": libvirt.VIR_MIGRATE_PARAM_GRAPHICS_URI,
    "tls_destination": libvirt.VIR_MIGRATE_PARAM_TLS_DESTINATION,
    "destination_xml": libvirt.VIR_MIGRATE_PARAM_DEST_XML,
    "parallel": libvirt.VIR_MIGRATE_PARAM_PARALLEL_CONNECTIONS,
}


class Migrations:
    """Migrates domains away from this host.

    `timeout` and the errors that every method raises are those of `Caller.call_domain`.
    """

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def begin(self, uuid: str, migration: Migration) -> Pending:
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
                # A failure of the other host's connection looks like one of this connection.
                if not is_disconnect(error) or not alive(connection):
                    raise
                code, reason = error.get_error_code(), error.get_error_message()
            else:
                return
            raise HypervisorError(operation="migrate", reason=reason, libvirt_code=code)

        return self._caller.begin(moved, "migrate", f"(migration of {uuid.lower()})")

    def set_downtime(self, uuid: str, milliseconds: int, *, timeout: float | None = None) -> None:
        """Set for how long the guest may be paused at the switchover, in this migration and in later ones.

        :raises OperationUnsupported: the driver cannot migrate
        """
        self._caller.call_domain(
            uuid,
            lambda domain: domain.migrateSetMaxDowntime(milliseconds),
            "set_migration_downtime",
            timeout=timeout,
        )

    def set_bandwidth(self, uuid: str, mib: int, *, timeout: float | None = None) -> None:
        """Set how many MiB/s this migration may use, and later ones.

        :raises OperationUnsupported: the driver cannot migrate
        """
        self._caller.call_domain(
            uuid, lambda domain: domain.migrateSetMaxSpeed(mib), "set_migration_bandwidth", timeout=timeout
        )

    def start_postcopy(self, uuid: str, *, timeout: float | None = None) -> None:
        """Let the guest continue on the other host; the rest of its memory follows.

        :raises OperationInvalid: no migration with `Migration.postcopy` is in progress
        :raises OperationUnsupported: the driver cannot migrate
        """
        self._caller.call_domain(
            uuid, lambda domain: domain.migrateStartPostCopy(), "start_postcopy", timeout=timeout
        )


def _flags(migration: Migration) -> int:
    chosen = (flag for member, flag in _FLAGS.items() if getattr(migration, member))
    return sum(chosen, _ALWAYS)


def _parameters(migration: Migration) -> dict[str, Any]:
    values = ((name, getattr(migration, member)) for member, name in _PARAMETERS.items())
    # Always: libvirt remembers what was set for an earlier migration.
    bandwidth = {libvirt.VIR_MIGRATE_PARAM_BANDWIDTH: migration.bandwidth or _NO_LIMIT}
    return bandwidth | {name: value for name, value in values if value}
