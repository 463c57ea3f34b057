"""Where audit records go: the contract, the daemon's log, and nowhere."""

from __future__ import annotations

import logging
from typing import Final, Protocol

import msgspec

from vdsm_core.audit.record import AuditRecord

#: The logger of records and of heads; see `AuditToLog` and `vdsm_core.audit.chain`.
LOGGER: Final = "vdsm.audit"


class AuditLog(Protocol):
    """Where records go."""

    def open(self) -> None:
        """Prepare for writing.

        :raises ConfigError: it cannot be written
        """

    def write(self, record: AuditRecord) -> None:
        """Keep a record. Never raises: an action that was carried out is not undone by a full disk."""

    def report_head(self) -> None:
        """Log the head of the chain, if there is one that was not logged yet."""

    def close(self) -> None:
        """Free what is held."""


class NoAudit:
    """Keep nothing."""

    def open(self) -> None:
        """Do nothing."""

    def write(self, record: AuditRecord) -> None:
        """Drop the record."""

    def report_head(self) -> None:
        """Do nothing: there is no chain."""

    def close(self) -> None:
        """Do nothing."""


class AuditToLog:
    """Pass each record to the log of the daemon, as JSON. The journal seals it, so it has no chain."""

    def __init__(self) -> None:
        self._log = logging.getLogger(LOGGER)

    def open(self) -> None:
        """Enable the logger, whatever the level of the other ones is."""
        self._log.setLevel(logging.INFO)

    def write(self, record: AuditRecord) -> None:
        """Log a record."""
        self._log.info("%s", msgspec.json.encode(record).decode())

    def report_head(self) -> None:
        """Do nothing: there is no chain."""

    def close(self) -> None:
        """Do nothing."""
