"""The lifecycle of plugins: discovery, start, restart, stop. A failure affects the failed plugin only.

Privileged operations start first, then hooks, features and bindings, so that nothing is served before it can
be answered; they stop in reverse order. Each start and stop has a time limit: a plugin that exceeds it is
reported and abandoned. At the end of the daemon, all stops together have one.

After a failure that is temporary, a plugin is started again in the background until it runs or fails
permanently, or until a reload or the end of the daemon. A start that succeeds after its time limit counts.

A feature whose options change is replaced: calls of its verbs wait meanwhile. If it does not start with the
new options, it is started with its former ones, and its error has the reason. When a feature is disabled, its
verbs are removed first, and calls that run may finish.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

import msgspec

from vdsm_bridge.api.verb import Verb
from vdsm_bridge.call.bridge import Bridge
from vdsm_bridge.plugins.attempts import Attempts, can_pass
from vdsm_bridge.plugins.binding import Binding
from vdsm_bridge.plugins.budget import Budget
from vdsm_bridge.plugins.feature import Feature, PluginInfo, PluginState, Runtime
from vdsm_bridge.plugins.hook_plugin import HookPlugin
from vdsm_bridge.plugins.kinds import Started, bring_up, take_down
from vdsm_bridge.plugins.option_types import config_type, without_conflicts
from vdsm_bridge.plugins.privileged_plugin import PrivilegedPlugin
from vdsm_bridge.plugins.reasons import is_sentence, reason_of
from vdsm_core import deprecated
from vdsm_core.config import Config, Options
from vdsm_core.errors import PluginsMissing, VdsmError
from vdsm_core.plugins import BINDINGS, HOOKS, PRIVILEGED, VERBS, Found
from vdsm_core.plugins.timeout import run_with_timeout

log = logging.getLogger(__name__)

_ORDER = (PRIVILEGED, HOOKS, VERBS, BINDINGS)
_WITH_HEALTH = (Binding, Feature, HookPlugin, PrivilegedPlugin)
#: The key of a plugin: group, name, target and distribution.
_PluginKey = tuple[str, str, str, str]


class DaemonStops(VdsmError):
    """The daemon is shutting down; plugin changes are refused."""

    slug = "daemon-stops"
    template = "The daemon is shutting down; plugin changes are refused"


class Plugin:
    """One found entry point and its present state."""

    def __init__(self, found: Found, state: PluginState = "stopped", error: str = "") -> None:
        self.found = found
        self.state: PluginState = state
        self.error = error or found.error
        #: Why its last stop failed.
        self.unclean = ""
        self.options: Options | None = None
        #: Its former options, while it is started with new ones.
        self.former: Options | None = None
        self.instance: Any = None
        #: The present attempts to start it, until it runs or fails permanently.
        self.attempts: Attempts[Started] | None = None
        #: Whether it has failed, and is started again in the background.
        self.retrying = False

    def give_up(self) -> None:
        """End the attempts to start it; one that succeeds later is undone."""
        if self.attempts is not None:
            self.attempts.end()

    def address(self) -> list[str]:
        """Return the addresses of a running binding; empty if it raises an error."""
        instance = self.instance
        if self.state != "running" or not isinstance(instance, Binding):
            return []
        try:
            return [str(each) for each in instance.address]
        except Exception:
            # Isolation: one plugin must not fail the report of all.
            log.exception("Cannot read the address of plugin %s", self.found.name)
            return []

    def trouble(self) -> str:
        """Return what is wrong with a running plugin; empty if it is healthy."""
        instance = self.instance
        if self.state != "running" or not isinstance(instance, _WITH_HEALTH):
            return ""
        try:
            health = instance.health()
        except Exception:
            # As above.
            log.exception("Cannot read the health of plugin %s", self.found.name)
            return "its health check failed; see the log"
        return "" if health.state == "ok" else f"{health.state}: {health.reason}"

    def info(self, *, health: bool = False) -> PluginInfo:
        """Return its public description.

        :param health: include its current health
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


def _key(found: Found) -> _PluginKey:
    return found.group, found.name, found.target, found.distribution


class Lifecycle:
    """All plugins of the host.

    :param discover: returns the plugins of a group
    :param start_timeout: time limit of each start, in seconds
    :param grace: time limit of each stop while the daemon keeps running, in seconds
    :param changed: called with each plugin whose state has changed
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
        #: The result of the last discovery; it replaces `_plugins` at the next `apply`.
        self._next: list[Plugin] = []
        #: The version of each plugin whose code is loaded. Python cannot load another one over it.
        self._in_memory: dict[_PluginKey, str] = {}
        #: Held while plugins are changed: by the start, a reload, a background attempt, or the end.
        self.changing = threading.RLock()
        # Held while a state changes and is published, so that a snapshot is before or after that.
        self._state_lock = threading.Lock()
        #: Done once the daemon is shutting down: no start is begun or waited for.
        self._stopping: Future[None] = Future()

    def info(self, *, health: bool = False) -> list[PluginInfo]:
        """Return every plugin with its state, by group and name.

        :param health: include the current health of running ones
        """
        return [plugin.info(health=health) for plugin in self._plugins]

    def at_rest(self, barrier: Callable[[], None]) -> list[PluginInfo]:
        """Call `barrier` and return every plugin with its state, while none changes."""
        with self._state_lock:
            barrier()
            return self.info()

    def find(self) -> None:
        """Rediscover installed plugins. Takes effect at the next `apply()`."""
        known = {_key(plugin.found): plugin for plugin in self._plugins}
        found = [self._as_in_memory(each) for group in _ORDER for each in self._discover(group)]
        self._next = [self._merged(each, known) for each in without_conflicts(found)]
        self._next.sort(key=lambda plugin: (_ORDER.index(plugin.found.group), plugin.found.name))

    @staticmethod
    def _merged(found: Found, known: Mapping[_PluginKey, Plugin]) -> Plugin:
        before = known.get(_key(found))
        if before is None:
            return Plugin(found)
        # A running plugin stays, even if another distribution uses its name by now.
        if before.state == "running":
            return before
        plugin = Plugin(found, before.state, before.error)
        plugin.unclean = before.unclean
        return plugin

    def _as_in_memory(self, found: Found) -> Found:
        if found.loaded is None:
            return found
        version = self._in_memory.setdefault(_key(found), found.version)
        if version != found.version:
            log.warning(
                "%s is installed; the code of version %s stays in use until the daemon starts again",
                found.source,
                version,
            )
        return msgspec.structs.replace(found, version=version)

    def check(self, config: Config) -> dict[int, Options]:
        """Return the typed options of each enabled plugin, by its index in the list.

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
        """Bring the plugins of some groups to the state that `config` requires. Unchanged ones are not
        touched.

        :raises ConfigError: an option is not acceptable; then nothing has changed
        :raises DaemonStops: `begin_stop` was called; the remaining plugins are unchanged
        """
        wanted = self.check(config)
        self._remove_uninstalled(runtime)
        if PRIVILEGED in groups:
            self._warn_about(config)
        for number, plugin in reversed(list(enumerate(self._plugins))):
            if (
                plugin.found.group in groups
                and plugin.state == "running"
                and plugin.options != wanted.get(number)
            ):
                self._check_running()
                self._stop(plugin, runtime, self._grace, restarting=number in wanted)
        for number, plugin in enumerate(self._plugins):
            if plugin.found.group not in groups:
                continue
            if number in wanted:
                self._run(plugin, wanted[number], runtime, bridge)
            elif not config.enabled(plugin.found.name):
                self._set_state(plugin, "disabled", plugin.unclean)
            else:
                self._set_state(plugin, "failed", plugin.found.error)

    def _run(self, plugin: Plugin, options: Options, runtime: Runtime, bridge: Bridge) -> None:
        if plugin.state == "running":
            # Its error may concern options that are no longer configured.
            self._set_state(plugin, "running", "")
        else:
            self._check_running()
            self._start(plugin, options, runtime, bridge)

    def _warn_about(self, config: Config) -> None:
        for name in sorted(set(config.plugin) - {plugin.found.name for plugin in self._plugins}):
            # An empty table configures nothing: packages leave those of their examples behind.
            if config.enabled(name) and config.plugin[name]:
                log.warning("The table [plugin.%s] belongs to no installed plugin", name)
        for notice in deprecated.options_in_use(config.origin):
            log.warning("%s", notice)

    def begin_stop(self) -> None:
        """Abandon starts and refuse plugin changes: the daemon is shutting down."""
        if not self._stopping.done():
            self._stopping.set_result(None)
        for plugin in self._plugins:
            plugin.give_up()

    def _check_running(self) -> None:
        if self._stopping.done():
            raise DaemonStops

    def _remove_uninstalled(self, runtime: Runtime) -> None:
        for plugin in reversed(self._plugins):
            if plugin in self._next:
                continue
            plugin.give_up()
            if plugin.state == "running":
                log.info("Plugin %s (%s) is no longer installed", plugin.found.name, plugin.found.source)
                self._stop(plugin, runtime, self._grace)
        self._plugins = self._next

    def require(self, names: Sequence[str]) -> None:
        """Check that required plugins run.

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

    def stop(self, runtime: Runtime, budget: Budget, groups: Sequence[str] = _ORDER) -> None:
        """Stop the running plugins of some groups, bindings first.

        Those of one group are stopped in parallel, within its share.
        """
        for plugin in self._plugins:
            if plugin.found.group == VERBS and plugin.state != "running":
                runtime.registry.remove(plugin.found.name)  # end calls that wait for its restart
        for group in (group for group in reversed(_ORDER) if group in groups):
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
            done=lambda started: self._started_later(plugin, attempts, options, started, runtime),
            failed=lambda error: self._failed_again(plugin, attempts, error),
        )
        try:
            self._serve(plugin, options, attempts.first(self._stopping), runtime)
        except Exception as error:
            # Isolation: an error of one plugin must not affect the daemon and other plugins.
            reason = reason_of(error)
            # An error meant for people needs no traceback; any other one is a bug, and does.
            trace = None if is_sentence(error) else error
            log.error("Cannot start plugin %s (%s): %s", found.name, found.group, reason, exc_info=trace)  # noqa: TRY400
            self._start_failed(plugin, error, runtime, bridge)

    def _serve(self, plugin: Plugin, options: Options, started: Started, runtime: Runtime) -> None:
        instance, verbs = started
        self._offer(plugin.found, instance, verbs, runtime)
        plugin.options, plugin.instance, plugin.unclean, plugin.former = options, instance, "", None
        plugin.give_up()
        self._set_state(plugin, "running", "")
        where = ", ".join(plugin.address())
        log.info("Started plugin %s%s", plugin.found.name, f" on {where}" if where else "")

    def _start_failed(self, plugin: Plugin, error: Exception, runtime: Runtime, bridge: Bridge) -> None:
        reason, attempts = reason_of(error), plugin.attempts
        former, plugin.former = plugin.former, None
        if former is not None and not self._stopping.done():
            self._start(plugin, former, runtime, bridge)
            if plugin.state == "running":
                if attempts is not None:
                    attempts.end()
                self._set_state(plugin, "running", f"it keeps running with its former options: {reason}")
                return
            plugin.give_up()
            plugin.attempts = attempts
        if plugin.found.group == VERBS:
            runtime.registry.remove(plugin.found.name)
        retrying = attempts is not None and can_pass(error) and not self._stopping.done()
        self._set_state(plugin, "failed", reason, retrying=retrying)
        if attempts is not None and retrying:
            log.info("Retrying the start of plugin %s in the background", plugin.found.name)
            attempts.go_on()
        else:
            plugin.give_up()

    def _started_later(
        self,
        plugin: Plugin,
        attempts: Attempts[Started],
        options: Options,
        started: Started,
        runtime: Runtime,
    ) -> None:
        """Use the result of a background attempt; undo it if the plugin is not to run any more."""
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
            # As for every stop: a failure is reported, and the plugin abandoned.
            log.exception("Cannot undo the late start of plugin %s", plugin.found.name)

    def _failed_again(self, plugin: Plugin, attempts: Attempts[Started], error: Exception) -> None:
        with self.changing:
            if attempts.over:
                return
            retrying = can_pass(error)
            if not retrying:
                attempts.end()
            log.warning(
                "Cannot start plugin %s at this attempt either: %s", plugin.found.name, reason_of(error)
            )
            self._set_state(plugin, "failed", reason_of(error), retrying=retrying)

    def _offer(self, found: Found, instance: Any, verbs: Sequence[Verb], runtime: Runtime) -> None:
        if found.group != VERBS:
            return
        try:
            runtime.registry.replace(found.name, verbs, found.source)
        except VdsmError:
            with suppress(VdsmError):  # report the first error
                self._end(found, instance, runtime, self._grace)
            raise

    def _stop(self, plugin: Plugin, runtime: Runtime, grace: float, *, restarting: bool = False) -> None:
        found = plugin.found
        if found.group == VERBS:
            if restarting:
                runtime.registry.hold(found.name)
            else:
                runtime.registry.remove(found.name)
        plugin.former = plugin.options if restarting else None
        reason = ""
        try:
            self._end(found, plugin.instance, runtime, grace)
        except Exception as error:
            # As above: a failure is reported, and the plugin abandoned.
            reason = reason_of(error)
            log.exception("Cannot stop plugin %s (%s) cleanly", found.name, found.group)
        plugin.options, plugin.instance, plugin.unclean = None, None, reason
        self._set_state(plugin, "stopped", reason)

    def _set_state(self, plugin: Plugin, state: PluginState, error: str, *, retrying: bool = False) -> None:
        with self._state_lock:
            if (plugin.state, plugin.error, plugin.retrying) != (state, error, retrying):
                plugin.state, plugin.error, plugin.retrying = state, error, retrying
                self._changed(plugin.info())

    def _end(self, found: Found, instance: Any, runtime: Runtime, grace: float) -> None:
        run_with_timeout(
            f"stop of {found.name}",
            lambda: take_down(found, instance, runtime, grace),
            # A plugin that uses all of the grace still has to release its resources.
            grace * 1.25,
            on_late_result=lambda _: self._stopped_late(_key(found)),
        )

    def _stopped_late(self, key: _PluginKey) -> None:
        for plugin in self._plugins:
            if _key(plugin.found) == key and plugin.unclean:
                still, plugin.unclean = plugin.unclean, ""
                if plugin.error == still:
                    self._set_state(plugin, plugin.state, "")
