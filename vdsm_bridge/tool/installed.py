"""The declarations of the installed plugins, read without a daemon and without the hypervisor."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from vdsm_bridge.api.agreement import MissingParent
from vdsm_bridge.api.collect import collect
from vdsm_bridge.api.registry import Registry
from vdsm_bridge.api.verb import Verb
from vdsm_bridge.daemon.composition import Host
from vdsm_bridge.plugins.option_types import config_type, without_conflicts
from vdsm_bridge.plugins.reasons import reason_of
from vdsm_core import config as configuration
from vdsm_core import plugins
from vdsm_core.config import Config, Options
from vdsm_core.errors import VdsmError
from vdsm_core.plugins import GROUPS, VERBS, Found


class Installed(msgspec.Struct, frozen=True, kw_only=True):
    """Declarations of plugins.

    :ivar options: the type of the table of each plugin; plugins without options are left out
    :ivar failures: the reason why something of a plugin could not be loaded, by its name
    """

    plugins: tuple[Found, ...]
    verbs: Mapping[str, Verb]
    options: Mapping[str, type[Options]]
    failures: Mapping[str, str]

    @property
    def names(self) -> list[str]:
        """The names of the plugins, sorted; a plugin in several groups is listed once."""
        return sorted({plugin.name for plugin in self.plugins})


def read(
    config: Config | None = None,
    *,
    only: Iterable[str] = (),
    discover: Callable[[str], Sequence[Found]] = plugins.discover,
) -> Installed:
    """Collect the declarations of installed plugins.

    :param config: it switches plugins off, which are left out, and has their options
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
    offers = []
    for plugin in found:
        if plugin.group != VERBS or plugin.loaded is None:
            continue
        try:
            feature = plugin.loaded(runtime, config.options(plugin.name, config_type(plugin, found)))
            offers.append((plugin, [v for n in feature.namespaces() for v in collect(n, plugin.name)]))
        except Exception as error:  # noqa: BLE001 - reported with the plugin's name, whatever it is
            failures[plugin.name] = reason_of(error)
    failures.update(_add(offers, registry))
    types = {plugin.name: config_type(plugin, found) for plugin in found if plugin.loaded is not None}
    return Installed(
        plugins=tuple(found),
        verbs=registry.verbs,
        options={name: type_ for name, type_ in sorted(types.items()) if type_ is not Options},
        failures=failures,
    )


def _add(offers: Sequence[tuple[Found, list[Verb]]], registry: Registry) -> dict[str, str]:
    """Add the verbs of plugins, those with the parents of others first; return who could not, and why."""
    failures: dict[str, str] = {}
    waiting = list(offers)
    while waiting:
        orphans = []
        for plugin, verbs in waiting:
            try:
                registry.add(verbs, plugin.source)
                failures.pop(plugin.name, None)
            except MissingParent as error:
                orphans.append((plugin, verbs))
                failures[plugin.name] = reason_of(error)
            except VdsmError as error:
                failures[plugin.name] = reason_of(error)
        if len(orphans) == len(waiting):
            break
        waiting = orphans
    return failures
