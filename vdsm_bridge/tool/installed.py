"""What the installed plugins declare, without a daemon: nothing is started and no hypervisor is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from vdsm_bridge.api.declare import Verb, collect
from vdsm_bridge.api.registry import Registry
from vdsm_bridge.daemon.composition import Host
from vdsm_bridge.plugins.option_types import config_type, without_conflicts
from vdsm_bridge.plugins.reasons import reason_of
from vdsm_core import config as configuration
from vdsm_core import plugins
from vdsm_core.config import Config, Options
from vdsm_core.plugins import GROUPS, VERBS, Found


class Installed(msgspec.Struct, frozen=True, kw_only=True):
    """Declarations of plugins. `failures` tells, by plugin, why something of it is not among them."""

    plugins: tuple[Found, ...]
    verbs: Mapping[str, Verb]
    #: Plugin -> the type of its table; plugins without options are not there.
    options: Mapping[str, type[Options]]
    failures: Mapping[str, str]

    @property
    def names(self) -> list[str]:
        """Of the plugins, sorted; one that stands in several groups has one name."""
        return sorted({plugin.name for plugin in self.plugins})


def read(
    config: Config | None = None,
    *,
    only: Iterable[str] = (),
    discover: Callable[[str], Sequence[Found]] = plugins.discover,
) -> Installed:
    """Collect the declarations of installed plugins.

    :param config: plugins that it switches off are left out; their options are those of this configuration
    :param only: names of plugins; empty means all
    """
    config = config or configuration.merge([])
    wanted = frozenset(only)
    everything = without_conflicts([plugin for group in GROUPS for plugin in discover(group)])
    found = [
        plugin
        for plugin in everything
        if (not wanted or plugin.name in wanted) and config.enabled(plugin.name)
    ]
    runtime = Host(config).runtime
    registry = Registry()
    failures = {plugin.name: plugin.error for plugin in found if plugin.error}
    for plugin in found:
        if plugin.group != VERBS or plugin.loaded is None:
            continue
        try:
            feature = plugin.loaded(runtime, config.options(plugin.name, config_type(plugin, found)))
            verbs = [verb for namespace in feature.namespaces() for verb in collect(namespace, plugin.name)]
            registry.add(verbs, plugin.source)
        except Exception as error:  # noqa: BLE001 - reported with the plugin's name, whatever it is
            failures[plugin.name] = reason_of(error)
    types = {plugin.name: config_type(plugin, found) for plugin in found if plugin.loaded is not None}
    return Installed(
        plugins=tuple(found),
        verbs=registry.verbs,
        options={name: type_ for name, type_ in sorted(types.items()) if type_ is not Options},
        failures=failures,
    )
