"""The hosts on the bus, and which of them send heartbeats."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from vdsm_qmf.bus import Loop, Timer
from vdsm_qmf.console.model import Host, HostChange
from vdsm_qmf.protocol import bodies
from vdsm_qmf.protocol.names import AgentName

log = logging.getLogger(__name__)

#: Silence, in intervals of heartbeats, after which a host is lost: less than three, to report it in time.
LOST_AFTER: Final = 2.75

OnChange = Callable[[HostChange], None]


class Hosts:
    """The table of hosts.

    :param notify: called with every change, on one thread
    :param kind: vendor and product of the hosts' agents; a bus has other agents, too, such as the broker's
    """

    def __init__(self, loop: Loop, notify: OnChange, kind: tuple[str, str]) -> None:
        self.kind = kind
        self._loop = loop
        self._notify = notify
        self._changed = threading.Condition()
        self._hosts: dict[str, Host] = {}
        self._timers: dict[str, Timer] = {}
        self._connected = False

    def all(self) -> list[Host]:
        """Return every known host, sorted by id."""
        with self._changed:
            return sorted(self._hosts.values(), key=lambda host: host.id)

    def get(self, host_id: str) -> Host | None:
        """Return a host; None if it is unknown."""
        with self._changed:
            return self._hosts.get(host_id)

    def wait(self, enough: Callable[[list[Host]], bool], timeout: float) -> bool:
        """Wait until `enough` accepts the living hosts; return whether it did."""
        with self._changed:
            return self._changed.wait_for(
                lambda: enough([host for host in self._hosts.values() if host.alive]), timeout
            )

    def set_connected(self, *, connected: bool) -> None:
        """Note whether there is a connection: without one no host is lost. Called on the loop's thread."""
        with self._changed:
            self._connected = connected
            living = [host for host in self._hosts.values() if host.alive]
        for host in living:
            self._watch(host)

    def update(self, attributes: Mapping[str, Any]) -> Host | None:
        """Take the attributes of an agent; return its host, None if it is no host or they are malformed."""
        try:
            host = _host(attributes)
        except (KeyError, TypeError, ValueError) as error:
            log.debug("Ignored malformed attributes of an agent: %r", error)
            return None
        if host.agent.kind != self.kind:
            # All agents answer a locate request; qpidd's own does so whatever the predicate.
            return None
        with self._changed:
            before = self._hosts.get(host.id)
            self._hosts[host.id] = host
            self._changed.notify_all()
        self._loop.call_soon(lambda: self._watch(host))
        if before is None:
            self._notify(HostChange(what="found", host=host))
        elif not before.alive:
            self._notify(HostChange(what="back", host=host))
        if before is not None and host.epoch != before.epoch:
            self._notify(HostChange(what="restarted", host=host))
        return host

    def _watch(self, host: Host) -> None:
        """Set the timer that reports a host as lost. Called on the loop's thread."""
        timer = self._timers.pop(host.id, None)
        if timer is not None:
            timer.cancel()
        if self._connected:
            delay = LOST_AFTER * host.interval
            self._timers[host.id] = self._loop.call_later(delay, lambda: self._lost(host.id))

    def _lost(self, host_id: str) -> None:
        with self._changed:
            host = self._hosts[host_id]
            if not host.alive or not self._connected:
                return
            host = msgspec.structs.replace(host, alive=False)
            self._hosts[host_id] = host
            self._changed.notify_all()
        self._notify(HostChange(what="lost", host=host))


def _host(attributes: Mapping[str, Any]) -> Host:
    values = attributes["_values"]
    agent = AgentName.parse(values["_name"])
    return Host(
        id=agent.instance,
        name=str(values.get(bodies.HOSTNAME, "")),
        agent=agent,
        alive=True,
        last_seen=time.monotonic(),
        epoch=int(values.get("_epoch", 0)),
        interval=max(0.1, float(values["_heartbeat_interval"])),
        newest_event=int(values.get(bodies.NEWEST_EVENT, 0)),
        schema_updated=int(values.get("_schema_updated", 0)),
        connection=int(values.get(bodies.CONNECTION, 0)),
    )
