"""The contract of a feature area: the base of the classes in the entry-point group `vdsm.verbs`.

::

    class Lights(Feature):
        def namespaces(self) -> list[Namespace]:
            return [Light(self.runtime)]
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import msgspec

from vdsm_bridge.api.declare import Namespace
from vdsm_bridge.api.registry import Registry
from vdsm_bridge.call.access import Scopes
from vdsm_bridge.call.shared import Shared
from vdsm_bridge.plugins.binding import Health
from vdsm_core.config import Config, Options
from vdsm_core.deprecated import warn_of_attribute
from vdsm_core.events import EventBus
from vdsm_core.hooks.manager import Hooks
from vdsm_core.hypervisor import Hypervisor
from vdsm_core.lanes import Lanes
from vdsm_core.privileged.client import PrivilegedClient
from vdsm_core.types import Record
from vdsm_core.work.engine import Engine
from vdsm_core.work.tasks import Tasks

PluginState = Literal["disabled", "failed", "running", "stopped"]


class PluginInfo(Record, frozen=True):
    """One plugin, as `Host.getPlugins` returns it.

    `retrying`: its start failed for a temporary reason, and is tried again in the background.
    """

    name: str
    group: str
    state: PluginState
    distribution: str = ""
    version: str = ""
    error: str = ""
    address: list[str] = []
    retrying: bool = False


class Runtime(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of the host that a feature uses."""

    config: Config
    hypervisor: Hypervisor
    events: EventBus
    work: Engine
    hooks: Hooks
    registry: Registry
    #: Runs operations that need root, in the privileged helper.
    privileged: PrivilegedClient
    #: The objects and events that callers with a scope may see.
    scopes: Scopes
    #: Objects that parts of one distribution share, by their class: its hooks and its feature.
    shared: Shared = msgspec.field(default_factory=Shared)
    #: Returns the result of `Host.getPlugins`.
    plugins: Callable[[], list[PluginInfo]]
    #: The root of the host's files; tests use a prepared tree.
    root: Path = Path("/")
    #: The clock for durations: monotonic, in seconds. Tests pass one that they move.
    clock: Callable[[], float] = time.monotonic

    @property
    def lanes(self) -> Lanes:
        """Deprecated: the locks, as earlier releases named them."""
        warn_of_attribute("Runtime.lanes")
        return Lanes(self.work)

    @property
    def tasks(self) -> Tasks:
        """Deprecated: use `work.tasks`."""
        warn_of_attribute("Runtime.tasks")
        return self.work.tasks


class Feature(ABC):
    """A feature area. `Config` is the type of its table. The constructor only stores its arguments."""

    Config: ClassVar[type[Options]] = Options
    #: The version of the plugin API that this feature is written for. Undeclared means the first one.
    plugin_api: ClassVar[int] = 1

    def __init__(self, runtime: Runtime, config: Any) -> None:
        self.runtime = runtime
        self.config = config

    @abstractmethod
    def namespaces(self) -> Sequence[Namespace]:
        """Return the objects whose decorated methods are the verbs. Called once, before `start`."""

    def start(self) -> None:  # noqa: B027 - most features have no work in the background
        """Begin background work. The verbs can be called once this has returned.

        Waits for anything outside of the host need a time limit. After a temporary error, such as
        `Unavailable` or an address in use, a new object is started later.
        """

    def stop(self, grace: float) -> None:  # noqa: B027 - as above
        """End background work within `grace` seconds. The verbs are already removed."""

    def health(self) -> Health:
        """Return its health."""
        return Health()
