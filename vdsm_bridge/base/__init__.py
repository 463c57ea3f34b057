"""The verbs of every host, independent of its plugins: description of the API, tasks, events, log level."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from vdsm_bridge.api.declare import Namespace
from vdsm_bridge.base.connection import Connection, HypervisorConnection
from vdsm_bridge.base.events import Events
from vdsm_bridge.base.host import BaseHost
from vdsm_bridge.base.task import Task
from vdsm_bridge.plugins.feature import Feature, Runtime

__all__ = ["Base"]


class Base(Feature):
    """The feature of every host; it is loaded through its entry point, like any other feature."""

    def __init__(self, runtime: Runtime, config: Any) -> None:
        super().__init__(runtime, config)
        self._events = Events(runtime.events, runtime.scopes, runtime.config.events, runtime.clock)
        self._connection = Connection(runtime.events)
        self._leave: list[Callable[[], None]] = []

    def namespaces(self) -> Sequence[Namespace]:
        """Return a part of `Host`, `Task` and `Events`."""
        return [BaseHost(self.runtime), Task(self.runtime.work.tasks, self.runtime.registry), self._events]

    def start(self) -> None:
        """Begin publishing the state of the connection to the hypervisor."""
        connection, hypervisor = self._connection, self.runtime.hypervisor
        self._leave = [
            hypervisor.events.listen(connection.handle),
            self.runtime.events.provide(
                HypervisorConnection.component, [HypervisorConnection.operation], connection.states
            ),
        ]
        status = hypervisor.status()
        connection.found(up=hypervisor.connected, reason=status.reason)

    def stop(self, grace: float) -> None:  # noqa: ARG002 - ends at once
        """End all subscriptions."""
        for leave in self._leave:
            leave()
        self._events.close()
