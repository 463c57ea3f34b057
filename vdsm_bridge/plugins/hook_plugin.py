"""The hook implementations of one plugin, with the life of a plugin."""

from __future__ import annotations

from vdsm_bridge.plugins.binding import Health
from vdsm_core.hooks.manager import Hooks


class HookPlugin:
    """What an entry point of the group `vdsm.hooks` names, registered between `start` and `stop`.

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
        """Remove the functions; calls that run go on."""
        self._hooks.unregister(self._name)

    def health(self) -> Health:
        """Degraded while one of its hooks hangs."""
        trouble = self._hooks.trouble(self._name)
        return Health("degraded", trouble) if trouble else Health()
