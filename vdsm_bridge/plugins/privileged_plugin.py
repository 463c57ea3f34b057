"""The privileged operations of one plugin, with the life of a plugin."""

from __future__ import annotations

from vdsm_bridge.plugins.binding import Health
from vdsm_core.errors import ConfigError
from vdsm_core.privileged import operations_of
from vdsm_core.privileged.client import PrivilegedClient


class PrivilegedPlugin:
    """What an entry point of the group `vdsm.privileged` names, callable between `start` and `stop`.

    :param module: the module or object with operations
    """

    def __init__(self, client: PrivilegedClient, name: str, module: object) -> None:
        self._client = client
        self._name = name
        self._module = module

    def start(self) -> None:
        """Let the operations be called.

        :raises ConfigError: there are none
        """
        operations = operations_of(self._module)
        if not operations:
            reason = "the entry point in vdsm.privileged names nothing with operations"
            raise ConfigError(file=self._name, key="vdsm.privileged", reason=reason)
        self._client.register(self._name, operations)

    def stop(self, _: float) -> None:
        """Let the operations be called no more; those that run go on."""
        self._client.unregister(self._name)

    def health(self) -> Health:
        """Degraded when the last call found no helper."""
        trouble = self._client.trouble
        return Health("degraded", trouble) if trouble else Health()
