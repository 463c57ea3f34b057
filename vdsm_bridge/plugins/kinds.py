"""Starting and stopping each kind of plugin: privileged operations, hooks, features, bindings."""

from __future__ import annotations

import logging
import time
from typing import Any, Final

from vdsm_bridge.api.collect import collect
from vdsm_bridge.api.verb import Verb
from vdsm_bridge.call.bridge import Bridge
from vdsm_bridge.plugins.binding import Binding
from vdsm_bridge.plugins.feature import Feature, Runtime
from vdsm_bridge.plugins.hook_plugin import HookPlugin, implementation_of
from vdsm_bridge.plugins.privileged_plugin import PrivilegedPlugin
from vdsm_core.config import Options
from vdsm_core.plugins import HOOKS, PRIVILEGED, VERBS, Found

log = logging.getLogger(__name__)

#: A started plugin, and the verbs that it offers.
Started = tuple[Any, list[Verb]]
#: The fraction of the time to stop in which running calls of a feature may finish.
_FINISHING: Final = 0.5


def bring_up(found: Found, options: Options, runtime: Runtime, bridge: Bridge) -> Started:
    """Construct and start a plugin. Any exception is its error."""
    if found.group == PRIVILEGED:
        operations = PrivilegedPlugin(runtime.privileged, found.name, found.loaded)
        operations.start()
        return operations, []
    if found.group == HOOKS:
        implementations = HookPlugin(
            runtime.hooks, found.name, implementation_of(found.loaded, runtime, options)
        )
        implementations.start()
        return implementations, []
    if found.group == VERBS:
        feature: Feature = found.loaded(runtime, options)
        verbs = [verb for namespace in feature.namespaces() for verb in collect(namespace, found.name)]
        feature.start()
        return feature, verbs
    binding: Binding = found.loaded(bridge, options)
    binding.start()
    return binding, []


def take_down(found: Found, instance: Any, runtime: Runtime, grace: float) -> None:
    """Stop a plugin; for a feature, first wait for running calls of its verbs.

    :param grace: time limit in seconds
    """
    end = time.monotonic() + grace
    if found.group == VERBS and (left := runtime.registry.drain(found.name, grace * _FINISHING)):
        log.warning("Stopping plugin %s although %d calls of its verbs still run", found.name, left)
    instance.stop(max(0.0, end - time.monotonic()))
