"""The events of the host itself: plugins, configuration, the connection to the hypervisor."""

from __future__ import annotations

from typing import ClassVar, Literal

from vdsm_bridge.plugins.feature import PluginState
from vdsm_core.events import EventParams


class PluginChanged(EventParams, frozen=True):
    """A plugin came up, went down or failed. The object is its name.

    `retrying`: it has failed for a reason that can pass, and is started again in the background.
    """

    component: ClassVar[str] = "host"
    operation: ClassVar[str] = "plugin"
    group: str
    state: PluginState
    error: str
    retrying: bool = False


class ConfigReloaded(EventParams, frozen=True):
    """A changed configuration was applied, or refused for a reason; then the old one stays in force.

    Where it was applied, `reason` names the options that take a restart.
    """

    component: ClassVar[str] = "host"
    operation: ClassVar[str] = "config"
    applied: bool
    reason: str


class HypervisorConnection(EventParams, frozen=True):
    """The connection to the hypervisor was lost, or is back."""

    component: ClassVar[str] = "host"
    operation: ClassVar[str] = "hypervisor"
    state: Literal["lost", "back"]
    reason: str
