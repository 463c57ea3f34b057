"""What a console tells of the cluster: hosts, results, events."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from vdsm_bridge.transport import TransportError
from vdsm_qmf.names import AgentName


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """One host as it was last heard of.

    :ivar id: what calls name it by: the instance of its agent, usually the uuid of the host
    :ivar name: the name of the machine, for people
    :ivar alive: whether it was heard of lately
    :ivar heard: when it was last heard of, on `time.monotonic`'s clock
    :ivar epoch: grows with each start of its daemon
    :ivar interval: seconds between two of its heartbeats
    :ivar newest_event: the number of its newest event
    """

    id: str
    name: str = ""
    agent: AgentName
    alive: bool
    heard: float
    epoch: int
    interval: float
    newest_event: int
    schema_updated: int = 0
    #: Grows with each connection of the host to a broker.
    connection: int = 0


class HostChange(msgspec.Struct, frozen=True, kw_only=True):
    """A host came, was lost, came back, or was started anew."""

    what: Literal["found", "lost", "back", "restarted"]
    host: Host


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """How a call on one host ended.

    :ivar value: what the verb returned; None if it returns nothing, or failed
    :ivar error: `CallRefused` if the host answered with an error, `Unreachable` if it did not answer
    """

    host: str
    value: Any = None
    error: TransportError | None = None

    def get(self) -> Any:
        """The value.

        :raises TransportError: the call failed
        """
        if self.error is not None:
            raise self.error
        return self.value


class ClusterEvent(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened on one host.

    :ivar seq: its number on that host; grows, never repeats. With a gap: the last number that is missing
    :ivar id: `|component|operation|object`
    :ivar time: Unix time in seconds
    :ivar is_gap: events are missing, and `params` says which: read the state of the host anew
    """

    host: str
    seq: int
    id: str
    time: float
    params: dict[str, Any]
    is_gap: bool = False
