"""What accompanies every call: who asks, from where, how urgently, under which ids."""

from __future__ import annotations

import contextvars
import logging
import time
from typing import Literal

import msgspec

from vdsm_bridge.call.wait_slots import WaitSlots

Role = Literal["monitor", "operator", "admin"]
#: Each role includes those before it.
ROLES: tuple[Role, ...] = ("monitor", "operator", "admin")


class Identity(msgspec.Struct, frozen=True):
    """Who calls. `how` names the kind of credentials: "peer" (unix socket), "token", "bus" (a broker's user),
    "loopback" or "internal". `uid` is the local user behind the connection where known, for the log only."""

    name: str
    role: Role
    how: str = "internal"
    uid: int | None = None

    @property
    def level(self) -> int:
        """The role as a number, to compare."""
        return ROLES.index(self.role)


#: The daemon itself, for calls that no client made.
INTERNAL = Identity("vdsm", "admin")


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """The circumstances of one call.

    `deadline` is on `time.monotonic`'s clock, in seconds; None means the configured default.
    `flow_id` is the caller's tag for the log. The same `request_id` sent again gets the first result.
    `address` is the network address of the caller's machine; empty where it is not known, as on a unix socket
    or behind a broker. `origin` is what else the binding knows of where it came from, for the audit log.
    `waiting` bounds the calls of the binding that wait for something to happen; None is no bound.
    """

    identity: Identity = INTERNAL
    binding: str = "internal"
    address: str = ""
    origin: str = ""
    flow_id: str = ""
    deadline: float | None = None
    request_id: str = ""
    waiting: WaitSlots | None = None

    def remaining(self, otherwise: float) -> float:
        """Seconds until the deadline, never negative; `otherwise` if there is none."""
        return otherwise if self.deadline is None else max(0.0, self.deadline - time.monotonic())


#: The context of the call that runs on this thread; the log and nothing else reads it.
_current: contextvars.ContextVar[Context | None] = contextvars.ContextVar("vdsm_call", default=None)


def enter(context: Context) -> contextvars.Token[Context | None]:
    """Make `context` the one that log records of this thread belong to, until `leave`."""
    return _current.set(context)


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
