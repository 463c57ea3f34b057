"""What starting and stopping means for each kind of plugin: hooks, features, bindings."""

from __future__ import annotations

import logging
import time
from typing import Any, Final

from vdsm_bridge.api.declare import Verb, collect
from vdsm_bridge.call.bridge import Bridge
from vdsm_bridge.plugins.binding import Binding
from vdsm_bridge.plugins.feature import Feature, Runtime
from vdsm_bridge.plugins.hook_plugin import HookPlugin
from vdsm_core.config import Options
from vdsm_core.plugins import HOOKS, VERBS, Found

log = logging.getLogger(__name__)

#: What was started, and the verbs that it offers.
Started = tuple[Any, list[Verb]]
#: The part of its time to stop that a feature gives to the calls that run.
_FINISHING: Final = 0.5


def bring_up(found: Found, options: Options, runtime: Runtime, bridge: Bridge) -> Started:
    """Make and start a plugin; whatever it raises is its error."""
    if found.group == HOOKS:
        implementations = HookPlugin(runtime.hooks, found.name, found.loaded)
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
    """Stop a plugin; a feature first lets the calls of its verbs end.

    :param grace: seconds that it gets
    """
    end = time.monotonic() + grace
    if found.group == VERBS and (left := runtime.registry.drain(found.name, grace * _FINISHING)):
        log.warning("Plugin %s stops while %d calls of its verbs run", found.name, left)
    instance.stop(max(0.0, end - time.monotonic()))
