"""Which hosts there are, and which of them live."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from vdsm_qmf import forms
from vdsm_qmf.bus import Loop, Timer
from vdsm_qmf.console.model import Host, HostChange
from vdsm_qmf.names import AgentName

log = logging.getLogger(__name__)

#: Silence, in intervals of heartbeats, after which a host is lost: it is told before the third is over.
LOST_AFTER: Final = 2.75

OnChange = Callable[[HostChange], None]


class Hosts:
    """The table of hosts. `tell` is called with every change, on one thread.

    :param kind: vendor and product of the hosts' agents; on a bus there are agents of others, as the broker's
    """

    def __init__(self, loop: Loop, tell: OnChange, kind: tuple[str, str]) -> None:
        self._kind = kind
        self._loop = loop
        self._tell = tell
        self._changed = threading.Condition()
        self._hosts: dict[str, Host] = {}
        self._timers: dict[str, Timer] = {}
        self._listening = False

    def all(self) -> list[Host]:
        """Every host that was ever heard of, by id."""
        with self._changed:
            return sorted(self._hosts.values(), key=lambda host: host.id)

    def get(self, host_id: str) -> Host | None:
        """One host."""
        with self._changed:
            return self._hosts.get(host_id)

    def wait(self, enough: Callable[[list[Host]], bool], timeout: float) -> bool:
        """Wait until the living hosts are enough."""
        with self._changed:
            return self._changed.wait_for(
                lambda: enough([host for host in self._hosts.values() if host.alive]), timeout
            )

    def listen(self, *, listening: bool) -> None:
        """Whether heartbeats can be heard at all. While they cannot, nobody is lost. On the loop's thread."""
        with self._changed:
            self._listening = listening
            living = [host for host in self._hosts.values() if host.alive]
        for host in living:
            self._watch(host)

    def heard(self, attributes: Mapping[str, Any]) -> Host | None:
        """A heartbeat or an answer of an agent; None if it is no host, or not understood."""
        try:
            host = _host(attributes)
        except (KeyError, TypeError, ValueError) as error:
            log.debug("A heartbeat is not understood: %r", error)
            return None
        if host.agent.kind != self._kind:
            # Everybody's agents answer a locate request; qpidd's own does so whatever is looked for.
            return None
        with self._changed:
            before = self._hosts.get(host.id)
            self._hosts[host.id] = host
            self._changed.notify_all()
        self._loop.call_soon(lambda: self._watch(host))
        if before is None:
            self._tell(HostChange(what="found", host=host))
        elif not before.alive:
            self._tell(HostChange(what="back", host=host))
        if before is not None and host.epoch != before.epoch:
            self._tell(HostChange(what="restarted", host=host))
        return host

    def _watch(self, host: Host) -> None:
        """On the loop's thread: look again when it should have been heard of."""
        timer = self._timers.pop(host.id, None)
        if timer is not None:
            timer.cancel()
        if self._listening:
            delay = LOST_AFTER * host.interval
            self._timers[host.id] = self._loop.call_later(delay, lambda: self._lost(host.id))

    def _lost(self, host_id: str) -> None:
        with self._changed:
            host = self._hosts[host_id]
            if not host.alive or not self._listening:
                return
            host = msgspec.structs.replace(host, alive=False)
            self._hosts[host_id] = host
            self._changed.notify_all()
        self._tell(HostChange(what="lost", host=host))


def _host(attributes: Mapping[str, Any]) -> Host:
    told = attributes["_values"]
    agent = AgentName.parse(told["_name"])
    return Host(
        id=agent.instance,
        name=str(told.get(forms.HOSTNAME, "")),
        agent=agent,
        alive=True,
        heard=time.monotonic(),
        epoch=int(told.get("_epoch", 0)),
        interval=max(0.1, float(told["_heartbeat_interval"])),
        newest_event=int(told.get(forms.NEWEST_EVENT, 0)),
        schema_updated=int(told.get("_schema_updated", 0)),
        connection=int(told.get(forms.CONNECTION, 0)),
    )
