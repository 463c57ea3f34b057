"""The life of plugins: found, switched on, started, stopped; a failure stays with the plugin that failed.

Hooks come first, then features, then bindings, so that nothing is served before it can be answered;
they go in the opposite order. Starting and stopping have a bound each: a plugin that does not come back is
reported and left alone. When the daemon ends, all of it together has one.

A plugin that did not start for a reason that can pass is started again in the background, until it runs or
fails for good; a reload, and the end of the daemon, end that. A start that comes to its end late counts.

A feature whose options change is replaced: calls of its verbs wait meanwhile. What does not start with other
options goes on with those that it had, and says so. A feature that is switched off takes its verbs away
first, and has the time to finish the calls that it has begun.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

import msgspec

from vdsm_bridge.api.declare import Verb
from vdsm_bridge.call.bridge import Bridge
from vdsm_bridge.plugins.attempts import Attempts, can_pass
from vdsm_bridge.plugins.binding import Binding
from vdsm_bridge.plugins.budget import Budget
from vdsm_bridge.plugins.feature import Feature, PluginInfo, PluginState, Runtime
from vdsm_bridge.plugins.hook_plugin import HookPlugin
from vdsm_bridge.plugins.kinds import Started, bring_up, take_down
from vdsm_bridge.plugins.option_types import config_type, without_conflicts
from vdsm_bridge.plugins.reasons import is_sentence, reason_of
from vdsm_core import deprecated
from vdsm_core.bounded import bounded
from vdsm_core.config import Config, Options
from vdsm_core.errors import PluginsMissing, VdsmError
from vdsm_core.plugins import BINDINGS, HOOKS, VERBS, Found

log = logging.getLogger(__name__)

_ORDER = (HOOKS, VERBS, BINDINGS)
#: What a plugin is known by: group, name, target and distribution.
_Place = tuple[str, str, str, str]


class DaemonStops(VdsmError):
    """The plugins are not changed any more."""

    slug = "daemon-stops"
    template = "The daemon stops; its plugins are not changed any more"


class Plugin:
    """One found entry point and its present state."""

    def __init__(self, found: Found, state: PluginState = "stopped", error: str = "") -> None:
        self.found = found
        self.state: PluginState = state
        self.error = error or found.error
        #: Why it did not stop cleanly the last time.
        self.unclean = ""
        self.options: Options | None = None
        #: The options that it ran with, while others are tried.
        self.former: Options | None = None
        self.instance: Any = None
        #: The present attempts to start it, until it runs or fails for good.
        self.attempts: Attempts[Started] | None = None
        #: It has failed, and is tried again in the background.
        self.retrying = False

    def give_up(self) -> None:
        """Start it no more: what is still to come of its attempts is undone."""
        if self.attempts is not None:
            self.attempts.end()

    def address(self) -> list[str]:
        """Where it listens. A binding that is about to stop, or has a mistake there, listens nowhere."""
        instance = self.instance
        if self.state != "running" or not isinstance(instance, Binding):
            return []
        try:
            return [str(each) for each in instance.address]
        except Exception:
            # Isolation: what is told of all plugins does not fail because of one.
            log.exception("Plugin %s cannot tell its address", self.found.name)
            return []

    def trouble(self) -> str:
        """What is wrong with the health of a plugin that runs; empty if all is well."""
        instance = self.instance
        if self.state != "running" or not isinstance(instance, Binding | Feature | HookPlugin):
            return ""
        try:
            health = instance.health()
        except Exception:
            # As above.
            log.exception("Plugin %s cannot tell how it is", self.found.name)
            return "it cannot tell how it is; see the log"
        return "" if health.state == "ok" else f"{health.state}: {health.reason}"

    def info(self, *, health: bool = False) -> PluginInfo:
        """What is told of it.

        :param health: ask it, too, how it is now
        """
        return PluginInfo(
            name=self.found.name,
            group=self.found.group,
            state=self.state,
            distribution=self.found.distribution,
            version=self.found.version,
            error=self.error or (self.trouble() if health else ""),
            retrying=self.retrying,
            address=self.address(),
        )


def _place(found: Found) -> _Place:
    return found.group, found.name, found.target, found.distribution


class Lifecycle:
    """All plugins of the host.

    :param discover: how the plugins of a group are found
    :param start_timeout: seconds that each gets to start
    :param grace: seconds that each gets to stop while the daemon goes on
    :param changed: told of each plugin whose state has changed
    """

    def __init__(
        self,
        discover: Callable[[str], Sequence[Found]],
        *,
        start_timeout: float = 20.0,
        grace: float = 4.0,
        changed: Callable[[PluginInfo], None] = lambda _: None,
    ) -> None:
        self._discover = discover
        self._changed = changed
        self._start_timeout = start_timeout
        self._grace = grace
        self._plugins: list[Plugin] = []
        #: What the last look has found; it takes the place of `_plugins` when it is applied.
        self._next: list[Plugin] = []
        #: The version of each plugin whose code is in memory. Python cannot load another one over it.
        self._in_memory: dict[_Place, str] = {}
        #: Held while plugins are changed: by the start, a reload, an attempt in the background, or the end.
        self.changing = threading.RLock()
        # Held while a state changes and is told of, so that a snapshot is before or after that.
        self._turning = threading.Lock()
        #: Done once the daemon stops: no start is begun any more, or waited for.
        self._hurry: Future[None] = Future()

    def info(self, *, health: bool = False) -> list[PluginInfo]:
        """Every plugin with its state, by group and name.

        :param health: ask those that run how they are now
        """
        return [plugin.info(health=health) for plugin in self._plugins]

    def at_rest(self, barrier: Callable[[], None]) -> list[PluginInfo]:
        """Every plugin with its state, at the moment when `barrier` is called, in which none changes."""
        with self._turning:
            barrier()
            return self.info()

    def find(self) -> None:
        """Look for what is installed now. It is told and used from the next `apply` on."""
        known = {_place(plugin.found): plugin for plugin in self._plugins}
        found = [self._as_in_memory(each) for group in _ORDER for each in self._discover(group)]
        self._next = [self._seen_again(each, known) for each in without_conflicts(found)]
        self._next.sort(key=lambda plugin: (_ORDER.index(plugin.found.group), plugin.found.name))

    @staticmethod
    def _seen_again(found: Found, known: Mapping[_Place, Plugin]) -> Plugin:
        before = known.get(_place(found))
        if before is None:
            return Plugin(found)
        # What runs, runs on, even if another distribution claims its name by now.
        if before.state == "running":
            return before
        plugin = Plugin(found, before.state, before.error)
        plugin.unclean = before.unclean
        return plugin

    def _as_in_memory(self, found: Found) -> Found:
        if found.loaded is None:
            return found
        version = self._in_memory.setdefault(_place(found), found.version)
        if version != found.version:
            log.warning(
                "%s is installed; the code of version %s stays in use until the daemon starts again",
                found.source,
                version,
            )
        return msgspec.structs.replace(found, version=version)

    def check(self, config: Config) -> dict[int, Options]:
        """The typed options of each plugin that is switched on, by its place in the list.

        :raises ConfigError: an option is unknown or has a bad value
        """
        known = [plugin.found for plugin in self._next]
        return {
            number: config.options(plugin.found.name, config_type(plugin.found, known))
            for number, plugin in enumerate(self._next)
            if config.enabled(plugin.found.name) and plugin.found.loaded is not None
        }

    def apply(
        self, config: Config, runtime: Runtime, bridge: Bridge, *, groups: Sequence[str] = _ORDER
    ) -> None:
        """Bring the plugins of some groups to the state that `config` asks for; those there are not touched.

        :raises ConfigError: an option is not acceptable; then nothing has changed
        :raises DaemonStops: it was told to hurry; plugins that had not had their turn are as before
        """
        wanted = self.check(config)
        self._drop_what_is_gone(runtime)
        if HOOKS in groups:
            self._remark_on(config)
        for number, plugin in reversed(list(enumerate(self._plugins))):
            if (
                plugin.found.group in groups
                and plugin.state == "running"
                and plugin.options != wanted.get(number)
            ):
                self._go_on()
                self._stop(plugin, runtime, self._grace, comes_back=number in wanted)
        for number, plugin in enumerate(self._plugins):
            if plugin.found.group not in groups:
                continue
            if number in wanted:
                self._run(plugin, wanted[number], runtime, bridge)
            elif not config.enabled(plugin.found.name):
                self._turn(plugin, "disabled", plugin.unclean)
            else:
                self._turn(plugin, "failed", plugin.found.error)

    def _run(self, plugin: Plugin, options: Options, runtime: Runtime, bridge: Bridge) -> None:
        if plugin.state == "running":
            # It may have been about options that nobody wants any more.
            self._turn(plugin, "running", "")
        else:
            self._go_on()
            self._start(plugin, options, runtime, bridge)

    def _remark_on(self, config: Config) -> None:
        for name in sorted(set(config.plugin) - {plugin.found.name for plugin in self._plugins}):
            # An empty one asks for nothing: packages leave those of their examples behind.
            if config.enabled(name) and config.plugin[name]:
                log.warning("The table [plugin.%s] belongs to no plugin that is installed", name)
        for notice in deprecated.options_in_use(config.origin):
            log.warning("%s", notice)

    def hurry(self) -> None:
        """Do not wait for starts any more, and let no plugin be changed; the daemon is about to stop."""
        if not self._hurry.done():
            self._hurry.set_result(None)
        for plugin in self._plugins:
            plugin.give_up()

    def _go_on(self) -> None:
        if self._hurry.done():
            raise DaemonStops

    def _drop_what_is_gone(self, runtime: Runtime) -> None:
        for plugin in reversed(self._plugins):
            if plugin in self._next:
                continue
            plugin.give_up()
            if plugin.state == "running":
                log.info("Plugin %s (%s) is no longer installed", plugin.found.name, plugin.found.source)
                self._stop(plugin, runtime, self._grace)
        self._plugins = self._next

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

    def stop(self, runtime: Runtime, budget: Budget) -> None:
        """Stop everything that runs, bindings first; those of one group side by side, in its share."""
        for plugin in self._plugins:
            if plugin.found.group == VERBS and plugin.state != "running":
                runtime.registry.remove(plugin.found.name)  # nobody waits for it to come back
        for group in reversed(_ORDER):
            share = budget.share()
            stops = [
                threading.Thread(target=self._stop, args=(plugin, runtime, share), name=f"stop {group}")
                for plugin in self._plugins
                if plugin.found.group == group and plugin.state == "running"
            ]
            for stop in stops:
                stop.start()
            for stop in stops:
                stop.join()

    def _start(self, plugin: Plugin, options: Options, runtime: Runtime, bridge: Bridge) -> None:
        found = plugin.found
        attempts = plugin.attempts = Attempts(
            f"start of {found.name}",
            lambda: bring_up(found, options, runtime, bridge),
            self._start_timeout,
            done=lambda started: self._came_up(plugin, attempts, options, started, runtime),
            failed=lambda error: self._failed_again(plugin, attempts, error),
        )
        try:
            self._serve(plugin, options, attempts.first(self._hurry), runtime)
        except Exception as error:
            # Isolation: whatever a plugin raises, the daemon and its neighbours go on.
            reason = reason_of(error)
            # What the plugin says itself needs no traceback; anything else is a bug, and does.
            trace = None if is_sentence(error) else error
            log.error("Plugin %s (%s) did not start: %s", found.name, found.group, reason, exc_info=trace)  # noqa: TRY400
            self._did_not_start(plugin, error, runtime, bridge)

    def _serve(self, plugin: Plugin, options: Options, started: Started, runtime: Runtime) -> None:
        instance, verbs = started
        self._offer(plugin.found, instance, verbs, runtime)
        plugin.options, plugin.instance, plugin.unclean, plugin.former = options, instance, "", None
        plugin.give_up()
        self._turn(plugin, "running", "")
        where = ", ".join(plugin.address())
        log.info("Plugin %s runs%s", plugin.found.name, f" on {where}" if where else "")

    def _did_not_start(self, plugin: Plugin, error: Exception, runtime: Runtime, bridge: Bridge) -> None:
        reason, attempts = reason_of(error), plugin.attempts
        former, plugin.former = plugin.former, None
        if former is not None and not self._hurry.done():
            self._start(plugin, former, runtime, bridge)
            if plugin.state == "running":
                if attempts is not None:
                    attempts.end()
                self._turn(plugin, "running", f"it goes on with its options of before: {reason}")
                return
            plugin.give_up()
            plugin.attempts = attempts
        if plugin.found.group == VERBS:
            runtime.registry.remove(plugin.found.name)
        retrying = attempts is not None and can_pass(error) and not self._hurry.done()
        self._turn(plugin, "failed", reason, retrying=retrying)
        if attempts is not None and retrying:
            log.info("Plugin %s is tried again in the background", plugin.found.name)
            attempts.go_on()
        else:
            plugin.give_up()

    def _came_up(
        self,
        plugin: Plugin,
        attempts: Attempts[Started],
        options: Options,
        started: Started,
        runtime: Runtime,
    ) -> None:
        """Take over what an attempt that nobody waited for has started; undo it if it is not wanted now."""
        with self.changing:
            if not attempts.over:
                try:
                    self._serve(plugin, options, started, runtime)
                except VdsmError as error:
                    self._failed_again(plugin, attempts, error)
                return
        try:
            take_down(plugin.found, started[0], runtime, self._grace)
        except Exception:
            # As for every stop: what cannot be undone is reported and left alone.
            log.exception("The late start of plugin %s could not be undone", plugin.found.name)

    def _failed_again(self, plugin: Plugin, attempts: Attempts[Started], error: Exception) -> None:
        with self.changing:
            if attempts.over:
                return
            retrying = can_pass(error)
            if not retrying:
                attempts.end()
            log.warning("Plugin %s did not start this time either: %s", plugin.found.name, reason_of(error))
            self._turn(plugin, "failed", reason_of(error), retrying=retrying)

    def _offer(self, found: Found, instance: Any, verbs: Sequence[Verb], runtime: Runtime) -> None:
        if found.group != VERBS:
            return
        try:
            runtime.registry.replace(found.name, verbs, found.source)
        except VdsmError:
            with suppress(VdsmError):  # the first trouble is the one to tell
                self._end(found, instance, runtime, self._grace)
            raise

    def _stop(self, plugin: Plugin, runtime: Runtime, grace: float, *, comes_back: bool = False) -> None:
        found = plugin.found
        if found.group == VERBS:
            if comes_back:
                runtime.registry.hold(found.name)
            else:
                runtime.registry.remove(found.name)
        plugin.former = plugin.options if comes_back else None
        reason = ""
        try:
            self._end(found, plugin.instance, runtime, grace)
        except Exception as error:
            # As above: what cannot stop is reported and left alone.
            reason = reason_of(error)
            log.exception("Plugin %s (%s) did not stop cleanly", found.name, found.group)
        plugin.options, plugin.instance, plugin.unclean = None, None, reason
        self._turn(plugin, "stopped", reason)

    def _turn(self, plugin: Plugin, state: PluginState, error: str, *, retrying: bool = False) -> None:
        with self._turning:
            if (plugin.state, plugin.error, plugin.retrying) != (state, error, retrying):
                plugin.state, plugin.error, plugin.retrying = state, error, retrying
                self._changed(plugin.info())

    def _end(self, found: Found, instance: Any, runtime: Runtime, grace: float) -> None:
        bounded(
            f"stop of {found.name}",
            lambda: take_down(found, instance, runtime, grace),
            # Who uses all of the grace still has to close what it holds.
            grace * 1.25,
            late=lambda _: self._ended_after_all(_place(found)),
        )

    def _ended_after_all(self, place: _Place) -> None:
        for plugin in self._plugins:
            if _place(plugin.found) == place and plugin.unclean:
                still, plugin.unclean = plugin.unclean, ""
                if plugin.error == still:
                    self._turn(plugin, plugin.state, "")
