"""The hook implementations of one plugin, with the lifecycle of a plugin."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from vdsm_bridge.plugins.binding import Health
from vdsm_bridge.plugins.feature import Runtime
from vdsm_core.config import Options
from vdsm_core.hooks.manager import Hooks


class HookProvider(ABC):
    """Hooks that need options or parts of the host: a class that an entry point of `vdsm.hooks` may name.

    `Config` is the type of its table. The constructor only stores its arguments, and checks them.
    """

    Config: ClassVar[type[Options]] = Options
    #: The version of the plugin API that it is written for.
    plugin_api: ClassVar[int] = 1

    def __init__(self, runtime: Runtime, config: Any) -> None:
        self.runtime = runtime
        self.config = config

    @abstractmethod
    def implementations(self) -> object:
        """Return a module or object with functions marked `hookimpl`. Called once."""


def implementation_of(loaded: object, runtime: Runtime, options: Options) -> object:
    """Return the module or object with the functions of an entry point of the group `vdsm.hooks`."""
    if isinstance(loaded, type) and issubclass(loaded, HookProvider):
        return loaded(runtime, options).implementations()
    return loaded


class HookPlugin:
    """The functions of an entry point of the group `vdsm.hooks`, registered between `start` and `stop`.

    :param implementation: the module or object with `@hookimpl` functions
    """

    def __init__(self, hooks: Hooks, name: str, implementation: object) -> None:
        self._hooks = hooks
        self._name = name
        self._implementation = implementation

    def start(self) -> None:
        """Register the functions.

        :raises pluggy.PluginValidationError: one of them does not fit its hook
        """
        self._hooks.register(self._name, self._implementation)

    def stop(self, _: float) -> None:
        """Unregister the functions; running calls continue."""
        self._hooks.unregister(self._name)

    def health(self) -> Health:
        """Return "degraded" while one of its hooks hangs."""
        trouble = self._hooks.trouble(self._name)
        return Health("degraded", trouble) if trouble else Health()
