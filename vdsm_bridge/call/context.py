"""The context of a call: identity, address, deadline, ids."""

from __future__ import annotations

import contextvars
import logging
import time
from typing import Literal

import msgspec

from vdsm_bridge.call.scope import EVERYTHING, Scope
from vdsm_bridge.call.wait_slots import WaitSlots
from vdsm_core.deprecated import warn_of_attribute

Role = Literal["monitor", "operator", "admin"]
#: Each role includes those before it.
ROLES: tuple[Role, ...] = ("monitor", "operator", "admin")


class Identity(msgspec.Struct, frozen=True):
    """The identity of a caller. `how` names the kind of credentials: "peer" (unix socket), "token", "bus" (a
    broker's user), "certificate", "loopback" or "internal".

    `uid` is the local user behind the connection where known, for the log only. `scope` limits what the
    caller may do below its role. `expires` is the Unix time in seconds from which the credentials are
    invalid; 0 is never.
    """

    name: str
    role: Role
    how: str = "internal"
    uid: int | None = None
    scope: Scope = EVERYTHING
    expires: float = 0.0

    @property
    def level(self) -> int:
        """The role as a number, for comparison."""
        return ROLES.index(self.role)

    @property
    def key(self) -> str:
        """The identity by which request ids, tasks and subscriptions belong to a caller: kind and name.

        Neither role nor scope are part of it: a caller whose rights change, or whose token is renewed under
        the same name, keeps what it began.
        """
        return f"{self.how}:{self.name}"

    def expired(self, now: float) -> bool:
        """Return whether the credentials have expired.

        :param now: Unix time in seconds
        """
        return bool(self.expires) and now >= self.expires

    @property
    def client(self) -> str:
        """The client whose limits a call counts for: kind of credentials and name.

        Callers on loopback without credentials share a name, and differ by their local user.
        """
        return f"{self.how}:{self.uid if self.how == 'loopback' else self.name}"


#: The daemon itself, for calls without a client.
INTERNAL = Identity("vdsm", "admin")


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """The context of one call.

    `deadline` is on `time.monotonic`'s clock, in seconds; None means the configured default.
    `flow_id` is the caller's tag for the log. The same `request_id` sent again by the same identity gets the
    first result. `address` is the network address of the caller's machine; empty where it is unknown, as on
    a unix socket or behind a broker. `origin` describes the source in other ways, for the audit log.
    `wait_slots` limits the calls of the binding that wait for events; None is no limit.
    """

    identity: Identity = INTERNAL
    binding: str = "internal"
    address: str = ""
    origin: str = ""
    flow_id: str = ""
    deadline: float | None = None
    request_id: str = ""
    wait_slots: WaitSlots | None = None
    #: Deprecated: `wait_slots`, as earlier releases named it.
    waiting: WaitSlots | None = None

    def __post_init__(self) -> None:
        if self.waiting is not None:
            warn_of_attribute("Context.waiting")
            msgspec.structs.force_setattr(self, "wait_slots", self.waiting)

    def remaining(self, otherwise: float) -> float:
        """Seconds until the deadline, never negative; `otherwise` if there is none."""
        return otherwise if self.deadline is None else max(0.0, self.deadline - time.monotonic())


#: The context of the call that runs on this thread; the logs of the daemon and of the helper read it.
_current: contextvars.ContextVar[Context | None] = contextvars.ContextVar("vdsm_call", default=None)


def enter(context: Context) -> contextvars.Token[Context | None]:
    """Attribute log records of this thread to `context`, until `leave`."""
    return _current.set(context)


def running() -> Context | None:
    """Return the context of the call that runs on this thread, if one does."""
    return _current.get()


def leave(token: contextvars.Token[Context | None]) -> None:
    """Undo the matching `enter`."""
    _current.reset(token)


class FlowFilter(logging.Filter):
    """Adds `flow` (`[flow id] ` or nothing) and `caller` to log records."""

    def filter(self, record: logging.LogRecord) -> bool:
        context = _current.get()
        record.flow = f"[{context.flow_id}] " if context is not None and context.flow_id else ""
        record.caller = context.identity.name if context is not None else "-"
        return True
