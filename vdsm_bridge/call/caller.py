"""The stored caller of a task: for its owner, and for the audit log of the daemon that continues it."""

from __future__ import annotations

import msgspec

from vdsm_bridge.call.context import Context, Identity
from vdsm_core.work.record import TaskRecord


class _Caller(msgspec.Struct, frozen=True, omit_defaults=True):
    """The part of a context that outlives the call."""

    identity: Identity
    binding: str = "internal"
    address: str = ""
    origin: str = ""
    flow_id: str = ""

    @property
    def context(self) -> Context:
        """The context of a call that the caller makes again."""
        return Context(
            identity=self.identity,
            binding=self.binding,
            address=self.address,
            origin=self.origin,
            flow_id=self.flow_id,
        )


def stored_caller(context: Context) -> str:
    """Return the caller of a context as JSON text, as the record of a task keeps it."""
    kept = _Caller(context.identity, context.binding, context.address, context.origin, context.flow_id)
    return msgspec.json.encode(kept).decode()


def caller_of(record: TaskRecord) -> Context:
    """Return the context of the call that began a task; the daemon's own for a task that has no caller."""
    if not record.caller:
        return Context()  # a task of a release that stored no caller
    return msgspec.json.decode(record.caller, type=_Caller).context


def owns(identity: Identity, record: TaskRecord) -> bool:
    """Return whether a caller began a task. A task without a stored caller has no owner."""
    return bool(record.caller) and caller_of(record).identity.key == identity.key
