"""The verbs that every host has, whatever plugins it runs: the API describes itself, tasks, the log level."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from vdsm_bridge.base.events import Events
from vdsm_bridge.base.host import BaseHost
from vdsm_bridge.base.task import Task
from vdsm_bridge.feature import Feature, Runtime
from vdsm_bridge.happenings import HypervisorConnection
from vdsm_bridge.verb import Namespace
from vdsm_core.hypervisor import ConnectionBack, ConnectionLost, HypervisorEvent

__all__ = ["Base"]


class Base(Feature):
    """Loaded through its entry point, like any other feature."""

    def __init__(self, runtime: Runtime, config: Any) -> None:
        super().__init__(runtime, config)
        self._events = Events(runtime.events, runtime.config.events)
        self._deafen: Callable[[], None] = lambda: None

    def namespaces(self) -> Sequence[Namespace]:
        """`Host` in part, `Task` and `Events`."""
        return [BaseHost(self.runtime), Task(self.runtime.tasks), self._events]

    def start(self) -> None:
        """Tell of the connection to the hypervisor from now on."""
        self._deafen = self.runtime.hypervisor.listen(self._tell)

    def stop(self, grace: float) -> None:  # noqa: ARG002 - ends at once
        """End all subscriptions."""
        self._deafen()
        self._events.close()

    def _tell(self, event: HypervisorEvent) -> None:
        if isinstance(event, ConnectionLost):
            self.runtime.events.publish(HypervisorConnection(state="lost", reason=event.reason))
        elif isinstance(event, ConnectionBack):
            self.runtime.events.publish(HypervisorConnection(state="back", reason=""))
