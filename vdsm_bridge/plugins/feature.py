"""The contract of a feature area: what a class named in the entry-point group `vdsm.verbs` must be.

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
from vdsm_bridge.plugins.binding import Health
from vdsm_core.config import Config, Options
from vdsm_core.deprecated import warn_of_attribute
from vdsm_core.events import EventBus
from vdsm_core.hooks.manager import Hooks
from vdsm_core.hypervisor import Hypervisor
from vdsm_core.lanes import Lanes
from vdsm_core.types import Record
from vdsm_core.work.engine import Engine
from vdsm_core.work.tasks import Tasks

PluginState = Literal["disabled", "failed", "running", "stopped"]


class PluginInfo(Record, frozen=True):
    """One plugin, as `Host.getPlugins` shows it.

    `retrying`: it has failed for a reason that can pass, and is started again in the background.
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
    """The parts of the host that a feature stands on."""

    config: Config
    hypervisor: Hypervisor
    events: EventBus
    work: Engine
    hooks: Hooks
    registry: Registry
    #: What `Host.getPlugins` answers.
    plugins: Callable[[], list[PluginInfo]]
    #: Where the files of the host are; tests put a made-up tree here.
    root: Path = Path("/")
    #: What durations are measured with: monotonic, in seconds. Tests give one that they move.
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
    """A feature area. `Config` is the type of its table. The constructor keeps what it is given."""

    Config: ClassVar[type[Options]] = Options
    #: The version of the plugin API that this feature is written for. Undeclared means the first one.
    plugin_api: ClassVar[int] = 1

    def __init__(self, runtime: Runtime, config: Any) -> None:
        self.runtime = runtime
        self.config = config

    @abstractmethod
    def namespaces(self) -> Sequence[Namespace]:
        """The objects whose decorated methods are the verbs. Called once, before `start`."""

    def start(self) -> None:  # noqa: B027 - most features have no work in the background
        """Begin work in the background. The verbs can be called once this has returned.

        What this waits for outside of the host has a bound of its own. After an error that can pass, such as
        `Unavailable`, or a refusal of the system, such as an address in use, a new object is started later.
        """

    def stop(self, grace: float) -> None:  # noqa: B027 - as above
        """End the work in the background within `grace` seconds. The verbs are gone already."""

    def health(self) -> Health:
        """How it is."""
        return Health()
