"""Hosts, results and events, as a console returns them."""

from __future__ import annotations

import warnings
from typing import Any, Literal

import msgspec

from vdsm_bridge.transport import TransportError
from vdsm_qmf.protocol.names import AgentName


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """A host by its last heartbeat.

    :ivar id: its id in calls: the instance of its agent, usually the uuid of the host
    :ivar name: the name of the machine, for display
    :ivar agent: the name of its agent
    :ivar alive: whether its heartbeats arrive
    :ivar last_seen: when its last heartbeat arrived, on `time.monotonic`'s clock
    :ivar epoch: grows with each start of its daemon
    :ivar interval: seconds between two of its heartbeats
    :ivar newest_event: the number of its newest event
    :ivar schema_updated: time of the last change of its API, in nanoseconds since 1970
    :ivar connection: number of its connection to a broker
    """

    id: str
    name: str = ""
    agent: AgentName
    alive: bool
    last_seen: float
    epoch: int
    interval: float
    newest_event: int
    schema_updated: int = 0
    connection: int = 0

    @property
    def heard(self) -> float:
        """Deprecated name of `last_seen`."""
        warnings.warn(
            "Host.heard: Deprecated since 0.1, gone with 0.3: it is called last_seen.",
            DeprecationWarning,
            stacklevel=2,
        )
        return self.last_seen


class HostChange(msgspec.Struct, frozen=True, kw_only=True):
    """A change of a host: found, lost, back after a loss, or restarted."""

    what: Literal["found", "lost", "back", "restarted"]
    host: Host


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """The result or the error of a call on one host.

    :ivar value: what the verb returned; None if it returns nothing, or failed
    :ivar error: `CallRefused` if the host answered with an error, `Unreachable` if it did not answer
    """

    host: str
    value: Any = None
    error: TransportError | None = None

    def get(self) -> Any:
        """Return the value.

        :raises TransportError: the call failed
        """
        if self.error is not None:
            raise self.error
        return self.value


class ClusterEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event of one host.

    :ivar seq: its number on that host; grows, never repeats. Of a gap: the last missing number
    :ivar id: `|component|operation|object`
    :ivar time: Unix time in seconds
    :ivar is_gap: whether events are missing, from `params["from"]` to `params["to"]`
    """

    host: str
    seq: int
    id: str
    time: float
    params: dict[str, Any]
    is_gap: bool = False
