"""Custom properties: their definitions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import re2

from vdsm_core.errors import ConfigError
from vdsm_hooks.errors import BadCustomProperty
from vdsm_hooks.names import name_fault, value_fault

#: Properties of machines that VDSM and its engines have always had, by name, with the form of each.
VM_PROPERTIES: Final = {
    "sap_agent": r"^(true|false)$",
    "sndbuf": r"^[0-9]+$",
    "tags": r"(?s)^.*$",
    "vhost": r"^[a-zA-Z0-9_]*:(true|false)(,[a-zA-Z0-9_]*:(true|false))*$",
    "viodiskcache": r"^(none|writeback|writethrough)$",
}
#: The same of devices: `queues` of a NIC, `SecurityGroups` of OpenStack's networks.
DEVICE_PROPERTIES: Final = {
    "SecurityGroups": r"^([0-9a-fA-F-]{36}(, *[0-9a-fA-F-]{36})*)?$",
    "queues": r"^[1-9][0-9]*$",
}

#: Bytes of memory of one pattern, and characters of it.
_MAX_MEMORY: Final = 262_144


class Definitions:
    """The custom properties that are defined, of machines and of devices.

    :param vm: patterns of those of machines, by name, beside VDSM's own
    :param device: the same of devices
    :param refuse: whether undefined properties are refused
    :raises ConfigError: a name or a pattern cannot be used
    """

    def __init__(self, vm: Mapping[str, str], device: Mapping[str, str], *, refuse: bool) -> None:
        self._vm = _compiled({**VM_PROPERTIES, **vm}, "vm_properties")
        self._device = _compiled({**DEVICE_PROPERTIES, **device}, "device_properties")
        self._refuse = refuse

    @property
    def vm_names(self) -> frozenset[str]:
        """The names of the properties of machines."""
        return frozenset(self._vm)

    @property
    def device_names(self) -> frozenset[str]:
        """The names of the properties of devices."""
        return frozenset(self._device)

    def check(self, custom: Mapping[str, str], devices: Mapping[str, Mapping[str, str]]) -> None:
        """Check the properties of a machine and of its devices.

        :param devices: the properties of each device, by the member of the request that has them
        :raises BadCustomProperty: one is ill-formed, or is not defined where that is refused
        """
        self._check("vmParams.custom", custom, self._vm)
        for place, properties in devices.items():
            self._check(place, properties, self._device)

    def _check(self, place: str, custom: Mapping[str, str], known: Mapping[str, re2._Regexp]) -> None:
        for name, value in custom.items():
            pattern = known.get(name)
            if pattern is None:
                if self._refuse:
                    raise BadCustomProperty(
                        argument=f"{place}.{name}",
                        reason="this custom property is not defined in [plugin.hooks]",
                    )
                continue
            fault = value_fault(value)
            if fault or not pattern.search(value):
                reason = fault or f"it does not match {pattern.pattern}, which [plugin.hooks] defines for it"
                raise BadCustomProperty(argument=f"{place}.{name}", reason=reason)


def _compiled(patterns: Mapping[str, str], option: str) -> dict[str, re2._Regexp]:
    options = re2.Options()
    options.max_mem = _MAX_MEMORY
    options.log_errors = False
    found = {}
    for name, pattern in patterns.items():
        key = f"plugin.hooks.{option}.{name}"
        if fault := name_fault(name):
            raise ConfigError(file="configuration", key=key, reason=fault)
        try:
            found[name] = re2.compile(pattern, options)
        except re2.error as error:
            raise ConfigError(
                file="configuration", key=key, reason=f"RE2 refuses the pattern: {error}"
            ) from None
    return found
