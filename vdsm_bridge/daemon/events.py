"""The events of the daemon itself: its plugins and its configuration."""

from __future__ import annotations

from typing import ClassVar

from vdsm_bridge.plugins.feature import PluginState
from vdsm_core.events import EventParams


class PluginChanged(EventParams, frozen=True):
    """A plugin was started or stopped, or failed. The object is its name.

    `retrying`: its start failed for a temporary reason, and is tried again in the background.
    """

    component: ClassVar[str] = "host"
    operation: ClassVar[str] = "plugin"
    group: str
    state: PluginState
    error: str
    retrying: bool = False


class ConfigReloaded(EventParams, frozen=True):
    """A changed configuration was applied, or refused for a reason; then the old one stays in force.

    If it was applied, `reason` names the options that need a restart.
    """

    component: ClassVar[str] = "host"
    operation: ClassVar[str] = "config"
    applied: bool
    reason: str
