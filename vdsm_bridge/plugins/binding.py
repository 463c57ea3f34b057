"""The contract of a binding: what a class named in the entry-point group `vdsm.bindings` must be."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal

import msgspec

from vdsm_bridge.call.bridge import Bridge
from vdsm_core.config import Options


class Health(msgspec.Struct, frozen=True, rename="camel"):
    """How a binding or feature is: `state`, and why if it is not well."""

    state: Literal["ok", "degraded", "failed"] = "ok"
    reason: str = ""


class Binding(ABC):
    """A protocol served on the bridge. It decodes, calls the bridge, encodes; it decides nothing.

    `Config` is the type of its table in the configuration. The constructor keeps what it is given.
    """

    Config: ClassVar[type[Options]] = Options
    #: The version of the plugin API that this binding is written for. Undeclared means the first one.
    plugin_api: ClassVar[int] = 1

    def __init__(self, bridge: Bridge, config: Any) -> None:
        self.bridge = bridge
        self.config = config

    @abstractmethod
    def start(self) -> None:
        """Listen, and return once callers are served. Whatever this raises is shown as the plugin's error.

        After an error that can pass, such as an address in use, a new object is started later.
        """

    @abstractmethod
    def stop(self, grace: float) -> None:
        """Take no new calls, let those in flight end within `grace` seconds, free everything."""

    @property
    @abstractmethod
    def address(self) -> tuple[str, ...]:
        """Where it listens, as URLs; empty while it does not."""

    def health(self) -> Health:
        """How it is."""
        return Health()
