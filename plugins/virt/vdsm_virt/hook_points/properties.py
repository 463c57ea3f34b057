"""Custom properties of new machines: plugins check them, and name those that are stored with the machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from vdsm_core.hooks.manager import Hooks
from vdsm_core.hooks.specs.vm import vdsm_check_custom_properties


class KeptProperties(NamedTuple):
    """Shell patterns of the custom properties that are stored, of machines and of devices."""

    vm: Sequence[str] = ()
    device: Sequence[str] = ()


class CustomProperties:
    """Checks custom properties.

    :param kept: shell patterns of those that are stored, whatever plugins say
    """

    def __init__(self, hooks: Hooks, kept: Sequence[str]) -> None:
        self._hooks = hooks
        self._kept = list(kept)

    def checked(self, custom: Mapping[str, str], devices: Mapping[str, Mapping[str, str]]) -> KeptProperties:
        """Check the properties of a machine, and return which of them are stored.

        :param devices: those of each device, by the member of the request that has them
        :raises VdsmError: a plugin refuses one
        """
        kept = {"vm": list(self._kept), "device": list(self._kept)}
        given = {place: dict(properties) for place, properties in devices.items()}
        chosen = self._hooks.run(vdsm_check_custom_properties, kept, dict(custom), given)
        return KeptProperties(chosen["vm"], chosen["device"])
