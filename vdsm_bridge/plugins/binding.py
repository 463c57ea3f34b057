"""The contract of a binding: the base of the classes in the entry-point group `vdsm.bindings`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal

import msgspec

from vdsm_bridge.call.bridge import Bridge
from vdsm_core.config import Options


class Health(msgspec.Struct, frozen=True, rename="camel"):
    """The health of a binding or feature: `state`, and the reason if it is not "ok"."""

    state: Literal["ok", "degraded", "failed"] = "ok"
    reason: str = ""


class Binding(ABC):
    """A protocol served on the bridge. It decodes, calls the bridge, and encodes; it has no logic of its own.

    `Config` is the type of its table in the configuration. The constructor only stores its arguments.
    """

    Config: ClassVar[type[Options]] = Options
    #: The version of the plugin API that this binding is written for. Undeclared means the first one.
    plugin_api: ClassVar[int] = 1

    def __init__(self, bridge: Bridge, config: Any) -> None:
        self.bridge = bridge
        self.config = config

    @abstractmethod
    def start(self) -> None:
        """Listen, and return once callers are served. Any exception is reported as the plugin's error.

        After a temporary error, such as an address in use, a new object is started later.
        """

    @abstractmethod
    def stop(self, grace: float) -> None:
        """Refuse new calls, wait up to `grace` seconds for running ones, release all resources."""

    @property
    @abstractmethod
    def address(self) -> tuple[str, ...]:
        """The URLs that it listens on; empty while it does not listen."""

    def health(self) -> Health:
        """Return its health."""
        return Health()
