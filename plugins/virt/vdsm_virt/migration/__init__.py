"""Live migration: a machine leaves this host, or comes from another one."""

from vdsm_virt.migration.incoming import Incoming
from vdsm_virt.migration.migrations import Migrations
from vdsm_virt.migration.params import (
    IncomingParams,
    MigrateParams,
    MigrationCreateState,
    MigrationParameters,
    MigrationStats,
)

__all__ = [
    "Incoming",
    "IncomingParams",
    "MigrateParams",
    "MigrationCreateState",
    "MigrationParameters",
    "MigrationStats",
    "Migrations",
]
