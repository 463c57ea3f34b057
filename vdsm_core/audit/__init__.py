"""The audit log: who did what to which object, from where, and how it ended.

One JSON object a line, in files of bounded size beside the state store, chained by hashes; or on the log of
the daemon, which the journal of the system keeps. Arguments and results are never in it, so that no secret
can be.
"""

from __future__ import annotations

from vdsm_core.audit.files import AuditFiles, configured_path
from vdsm_core.audit.log import LOGGER, AuditLog, AuditToLog, NoAudit
from vdsm_core.audit.record import AuditRecord

__all__ = ["LOGGER", "AuditFiles", "AuditLog", "AuditRecord", "AuditToLog", "NoAudit", "configured_path"]
