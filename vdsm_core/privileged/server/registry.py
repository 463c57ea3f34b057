"""The closed list of operations that this helper runs."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from vdsm_core import config as configuration
from vdsm_core.plugins import PRIVILEGED, discover, refuse_shared_tables
from vdsm_core.privileged.operation import Operation, operations_of

log = logging.getLogger("vdsm.helper")


class Registry:
    """Operations by full name, `plugin.operation`."""

    def __init__(self) -> None:
        self.operations: dict[str, Operation[..., Any]] = {}
        #: The options of each plugin, by its name.
        self.tables: dict[str, Mapping[str, Any]] = {}

    @classmethod
    def installed(cls, place: Path | None) -> Self:
        """The operations of every installed plugin that the configuration does not switch off.

        One that cannot be loaded is logged and left out.

        :param place: of the configuration, as `vdsmd --config` has it
        :raises ConfigError: the configuration cannot be read
        """
        config = configuration.load(place)
        registry = cls()
        for plugin in refuse_shared_tables(discover(PRIVILEGED)):
            if plugin.error:
                log.error("The operations of plugin %s are left out: %s", plugin.name, plugin.error)
            elif config.enabled(plugin.name):
                registry.add(plugin.name, operations_of(plugin.loaded), config.plugin.get(plugin.name, {}))
        return registry

    def add(
        self, plugin: str, operations: Iterable[Operation[..., Any]], table: Mapping[str, Any] | None = None
    ) -> None:
        """Add the operations of a plugin.

        :param table: its options
        """
        self.tables[plugin] = table or {}
        self.operations |= {f"{plugin}.{each.name}": each for each in operations}

    @property
    def capabilities(self) -> int:
        """All that the operations need together, as a mask."""
        mask = 0
        for each in self.operations.values():
            mask |= each.capability_mask
        return mask
