"""The verbs that every host has, whatever plugins it runs: the API describes itself, tasks, the log level."""

from __future__ import annotations

from collections.abc import Sequence

from vdsm_bridge.base.host import BaseHost
from vdsm_bridge.base.task import Task
from vdsm_bridge.feature import Feature
from vdsm_bridge.verb import Namespace

__all__ = ["Base"]


class Base(Feature):
    """Loaded through its entry point, like any other feature."""

    def namespaces(self) -> Sequence[Namespace]:
        """`Host` in part, and `Task`."""
        return [BaseHost(self.runtime), Task(self.runtime.tasks)]
