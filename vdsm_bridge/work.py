"""Locks and steps, for declarations of verbs; they are those of `vdsm_core.work`."""

from vdsm_bridge.api.declare import no_locks
from vdsm_core.work.references import Lock, Reference, exclusive, shared

__all__ = ["Lock", "Reference", "exclusive", "no_locks", "shared"]
