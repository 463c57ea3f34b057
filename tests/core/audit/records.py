"""Records for the tests of the audit log."""

from __future__ import annotations

from typing import Any

from vdsm_core.audit import AuditRecord


def record(**members: Any) -> AuditRecord:
    """Return a record with usual members, and with these."""
    usual = {
        "time": "2026-01-31T12:00:00.000Z", "call": "c0ffee", "outcome": "done", "verb": "Lamp.switch",
        "who": "joe", "role": "admin", "how": "token", "binding": "rest",
    }  # fmt: skip
    return AuditRecord(**{**usual, **members})
