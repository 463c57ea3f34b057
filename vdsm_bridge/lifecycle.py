"""The life of plugins: found, switched on, started, stopped; a failure stays with the plugin that failed.

Hooks come first, then features, then bindings, so that nothing is served before it can be answered;
they go in the opposite order. Starting and stopping have a bound each: a plugin that does not come back is
reported and left alone.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any, Literal

from vdsm_bridge.binding import Binding
from vdsm_bridge.bridge import Bridge
from vdsm_bridge.feature import Feature, PluginInfo, Runtime
from vdsm_bridge.verb import collect
from vdsm_core import plugins
from vdsm_core.config import Config, Options
from vdsm_core.errors import PluginsMissing, VdsmError
from vdsm_core.plugins import BINDINGS, HOOKS, VERBS, Found

log = logging.getLogger(__name__)

State = Literal["disabled", "failed", "running", "stopped"]
_ORDER = (HOOKS, VERBS, BINDINGS)


class StartStopTimeout(VdsmError):
    """A plugin did not start or stop in time. Facts: `what`, `seconds`."""

    slug = "plugin-timeout"
    template = "{what} did not come to an end within {seconds:.1f} s"


class Plugin:
    """One found entry point and its present state."""

    def __init__(self, found: Found) -> None:
        self.found = found
        self.state: State = "stopped"
        self.error = found.error
        self.options: Options | None = None
        self.instance: Any = None

    def info(self) -> PluginInfo:
        """What is told of it."""
        binding = isinstance(self.instance, Binding) and self.state == "running"
        return PluginInfo(
            name=self.found.name,
            group=self.found.group,
            state=self.state,
            distribution=self.found.distribution,
            version=self.found.version,
            error=self.error,
            address=list(self.instance.address) if binding else [],
        )


class Lifecycle:
    """All plugins of the host.

    :param discover: how the plugins of a group are found
    """

    def __init__(
        self, discover: Callable[[str], Sequence[Found]] = plugins.discover, *, grace: float = 4.0
    ) -> None:
        self._discover = discover
        self._grace = grace
        self._plugins: list[Plugin] = []

    def info(self) -> list[PluginInfo]:
        """Every plugin with its state, by group and name."""
        return [plugin.info() for plugin in self._plugins]

    def find(self) -> None:
        """Look for installed plugins. Those already known stay as they are."""
        known = {(plugin.found.group, plugin.found.name, plugin.found.target) for plugin in self._plugins}
        for group in _ORDER:
            for found in self._discover(group):
                if (found.group, found.name, found.target) not in known:
                    self._plugins.append(Plugin(found))
        self._plugins.sort(key=lambda plugin: (_ORDER.index(plugin.found.group), plugin.found.name))

    def check(self, config: Config) -> dict[int, Options]:
        """The typed options of each plugin that is switched on, by its place in the list.

        :raises ConfigError: an option is unknown or has a bad value, or a table fits no plugin
        """
        return {
            number: config.options(plugin.found.name, _config_type(plugin.found, self._plugins))
            for number, plugin in enumerate(self._plugins)
            if config.enabled(plugin.found.name) and plugin.found.loaded is not None
        }

    def apply(self, config: Config, runtime: Runtime, bridge: Bridge) -> None:
        """Bring every plugin to the state that `config` asks for; those already there are not touched.

        :raises ConfigError: an option is not acceptable; then nothing has changed
        """
        wanted = self.check(config)
        for number, plugin in reversed(list(enumerate(self._plugins))):
            if plugin.state == "running" and plugin.options != wanted.get(number):
                self._stop(plugin, runtime)
        for number, plugin in enumerate(self._plugins):
            if number in wanted:
                if plugin.state != "running":
                    self._start(plugin, wanted[number], runtime, bridge)
            elif not config.enabled(plugin.found.name):
                plugin.state, plugin.error = "disabled", ""
            else:
                plugin.state = "failed"

    def require(self, names: Sequence[str]) -> None:
        """Insist on plugins.

        :raises PluginsMissing: one is absent, or does not run
        """
        reasons = []
        for name in names:
            mine = [plugin for plugin in self._plugins if plugin.found.name == name]
            if not mine:
                reasons.append(f"{name}: not installed")
            reasons += [f"{name}: {p.error or p.state}" for p in mine if p.state != "running"]
        if reasons:
            raise PluginsMissing(
                names=list(names),
                reasons="; ".join(reasons),
                file="configuration",
                key="daemon.required",
                reason="; ".join(reasons),
            )

    def stop(self, runtime: Runtime) -> None:
        """Stop everything that runs, bindings first."""
        for plugin in reversed(self._plugins):
            if plugin.state == "running":
                self._stop(plugin, runtime)

    def _start(self, plugin: Plugin, options: Options, runtime: Runtime, bridge: Bridge) -> None:
        name = plugin.found.name
        try:
            _bounded(f"start of {name}", lambda: _bring_up(plugin, options, runtime, bridge), self._grace)
        except Exception as error:
            # Isolation: whatever a plugin raises, the daemon and its neighbours go on.
            plugin.state = "failed"
            plugin.error = str(error) if isinstance(error, VdsmError) else f"{type(error).__name__}: {error}"
            log.exception("Plugin %s (%s) did not start", name, plugin.found.group)
            runtime.registry.remove(name)
            return
        plugin.state, plugin.error, plugin.options = "running", "", options
        where = ", ".join(plugin.info().address)
        log.info("Plugin %s runs%s", name, f" on {where}" if where else "")

    def _stop(self, plugin: Plugin, runtime: Runtime) -> None:
        name = plugin.found.name
        try:
            _bounded(f"stop of {name}", lambda: _take_down(plugin, runtime, self._grace), self._grace + 1.0)
        except Exception as error:
            # As above: what cannot stop is reported and left alone.
            plugin.error = str(error)
            log.exception("Plugin %s (%s) did not stop cleanly", name, plugin.found.group)
        plugin.state, plugin.options, plugin.instance = "stopped", None, None


def _bring_up(plugin: Plugin, options: Options, runtime: Runtime, bridge: Bridge) -> None:
    loaded, name = plugin.found.loaded, plugin.found.name
    if plugin.found.group == HOOKS:
        plugin.instance = loaded
        runtime.hooks.register(name, loaded)
    elif plugin.found.group == VERBS:
        feature: Feature = loaded(runtime, options)
        plugin.instance = feature
        verbs = [verb for namespace in feature.namespaces() for verb in collect(namespace, name)]
        feature.start()
        runtime.registry.add(verbs)
    else:
        plugin.instance = loaded(bridge, options)
        plugin.instance.start()


def _take_down(plugin: Plugin, runtime: Runtime, grace: float) -> None:
    if plugin.found.group == HOOKS:
        runtime.hooks.unregister(plugin.found.name)
        return
    if plugin.found.group == VERBS:
        runtime.registry.remove(plugin.found.name)
    plugin.instance.stop(grace)


def _config_type(found: Found, known: Sequence[Plugin]) -> type[Options]:
    """A name may stand in several groups (verbs and hooks); one of them owns the options."""
    candidates = [found.loaded, *(p.found.loaded for p in known if p.found.name == found.name)]
    for candidate in candidates:
        config = getattr(candidate, "Config", None)
        if isinstance(config, type) and issubclass(config, Options) and config is not Options:
            return config
    return Options


def _bounded(what: str, work: Callable[[], None], seconds: float) -> None:
    """Run `work` for at most `seconds`; a longer one is left running on a thread of its own."""
    outcome: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - handed to the caller, whatever it is
            outcome.append(error)

    thread = threading.Thread(target=run, name=what, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise StartStopTimeout(what=what, seconds=seconds)
    if outcome:
        raise outcome[0]
