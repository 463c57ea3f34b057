"""One line of the audit log."""

from __future__ import annotations

import msgspec


class AuditRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line. Empty members are left out.

    An action leaves two lines with the same `call`: one before it is carried out (outcome `begun`), one with
    the outcome. A call that was refused before it began leaves only the second.
    """

    #: When it was written, in UTC: `2026-01-31T12:00:00.000Z`.
    time: str
    #: Ties the lines of one call together.
    call: str
    #: `begun`, `done`, `replayed` (answered by its request id, not carried out again) or an error's slug.
    outcome: str
    verb: str
    #: The id of the object that the verb acts on.
    object: str = ""
    who: str
    role: str
    #: The proof of identity: peer, token, certificate, bus, loopback, internal.
    how: str
    #: The local user behind the connection: of a unix socket, or the owner of a loopback TCP peer's socket.
    uid: int | msgspec.UnsetType = msgspec.UNSET
    binding: str
    address: str = ""
    flow_id: str = ""
    request_id: str = ""
    #: The task that the call started, or that ended.
    task: str = ""
    #: VDSM's number of the error.
    code: int = 0
    #: How long it took, the wait for the object included.
    seconds: float | msgspec.UnsetType = msgspec.UNSET
