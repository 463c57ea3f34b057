"""The composition root: builds every part from the configuration and passes it down."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from vdsm_bridge.api.registry import Registry
from vdsm_bridge.call.access import Access, Rules, Scopes, read_rules
from vdsm_bridge.call.access.rules import weaknesses
from vdsm_bridge.call.access.tokens import path_of
from vdsm_bridge.call.audit import Auditor
from vdsm_bridge.call.bridge import Bridge
from vdsm_bridge.call.context import running
from vdsm_bridge.call.idempotency import IdempotencyStore
from vdsm_bridge.daemon.events import ConfigReloaded, PluginChanged
from vdsm_bridge.plugins.budget import Budget
from vdsm_bridge.plugins.feature import PluginInfo, Runtime
from vdsm_bridge.plugins.lifecycle import Lifecycle
from vdsm_core.audit import AuditFiles, AuditLog, AuditToLog, NoAudit, configured_path
from vdsm_core.config import TABLES, Config, TlsOptions, check_required
from vdsm_core.events import EventBus, EventParams, Journal
from vdsm_core.hooks.manager import Hooks
from vdsm_core.hooks.specs.host import vdsm_after_vdsm_stop, vdsm_before_vdsm_start
from vdsm_core.hypervisor import Hypervisor
from vdsm_core.plugins import BINDINGS, HOOKS, PRIVILEGED, VERBS, Discovery, Found
from vdsm_core.plugins.timeout import StartStopTimeout, run_with_timeout
from vdsm_core.privileged.client import Caller, PrivilegedClient
from vdsm_core.privileged.frames import MAX_SECONDS
from vdsm_core.state import MEMORY, StateStore
from vdsm_core.state_lock import StateLock
from vdsm_core.work.engine import Engine

log = logging.getLogger(__name__)

_SECONDS_A_DAY = 86_400.0
#: Options outside of the plugins' tables that a reload applies; all others are named by it and wait.
APPLIED_AT_RELOAD: Final = frozenset(
    {"daemon.required"}
    | {
        f"{table}.{name}"
        for table in ("access", "hooks", "limits", "tls")
        for name in TABLES[table].__struct_fields__
    }
)


class Host:
    """All parts of one host. Call `start`, then `stop`; in between, `reload`.

    :param discover: returns the plugins of an entry-point group; by default the installed ones
    :param connect: connects to the hypervisor; for tests
    :param plugin_changed: called when the state of a plugin has changed, on any thread; it must not wait
    :param root: the root of the host's files
    :param clock: the clock of features for durations, in seconds
    """

    def __init__(
        self,
        config: Config,
        *,
        discover: Callable[[str], Sequence[Found]] | None = None,
        connect: Callable[[str], Any] | None = None,
        plugin_changed: Callable[[], None] = lambda: None,
        root: Path = Path("/"),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.config = config
        #: The configuration that the parts were built with. A reload does not rebuild them.
        self._built_with = config
        daemon = config.daemon
        keep = daemon.keep_days * _SECONDS_A_DAY
        path = MEMORY if daemon.state_dir == MEMORY else str(Path(daemon.state_dir) / "state.sqlite")
        self._state_lock = StateLock(Path(daemon.state_dir)) if daemon.state_dir != MEMORY else None
        self._state = StateStore(path)
        self._events = EventBus(_journal(config), sync_interval=config.events.sync_interval)
        self._work = Engine(
            self._state,
            self._events,
            short=daemon.short_workers,
            long=daemon.task_workers,
            limit=daemon.task_limit,
            keep=keep,
        )
        self._hypervisor = Hypervisor(config.hypervisor, **({"connect": connect} if connect else {}))
        self._requests = IdempotencyStore(self._state, keep)
        self._audit = _audit_log(config)
        self._access = Access(config.access, path_of(config))
        self._notice_change = plugin_changed
        self._stopped = False
        self._lifecycle = Lifecycle(
            discover or Discovery(),
            start_timeout=daemon.start_timeout,
            grace=daemon.grace,
            changed=self._plugin_changed,
        )
        registry = Registry()
        scopes = Scopes(registry)
        self.bridge = Bridge(
            registry=registry,
            scopes=scopes,
            access=self._access,
            work=self._work,
            events=self._events,
            requests=self._requests,
            auditor=Auditor(self._audit),
            call_deadline=daemon.call_deadline,
        )
        self._work.tasks.on_end = self.bridge.task_ended
        self.bridge.shared.provide(TlsOptions, config.tls)
        self.bridge.limits.use(config.limits)
        #: Whether hooks were called: those of the daemon's end follow those of its start.
        self._hooks_started = False
        self.runtime = Runtime(
            config=config,
            hypervisor=self._hypervisor,
            events=self._events,
            work=self._work,
            hooks=Hooks(config.hooks),
            registry=registry,
            privileged=PrivilegedClient(daemon.helper_socket, _caller),
            scopes=scopes,
            shared=self.bridge.shared,
            plugins=lambda: self._lifecycle.info(health=True),
            root=root,
            clock=clock,
        )

    def plugins(self) -> list[PluginInfo]:
        """Return every plugin with its state."""
        return self._lifecycle.info()

    def start(self) -> None:
        """Start all parts.

        :raises ConfigError: the configuration cannot be used
        :raises PluginsMissing: a required plugin does not run
        :raises DaemonStops: `begin_stop` was called meanwhile
        """
        with self._lifecycle.changing:
            self._start()

    def _start(self) -> None:
        try:
            if self._state_lock is not None:
                self._state_lock.acquire()
            self._state.open()
            self._audit.open()
            self._events.start()
            self._work.start()
            self._report_head_later()
            self._events.provide(PluginChanged.component, [PluginChanged.operation], self._plugin_states)
            self._requests.start()
            self._use_rules(self.config, _rules(self.config))
            self._lifecycle.find()
            self._lifecycle.check(self.config)
            self._hypervisor.start()
            self._lifecycle.apply(self.config, self.runtime, self.bridge, groups=(PRIVILEGED, HOOKS))
            self._hooks_started = True
            self.runtime.hooks.run(vdsm_before_vdsm_start)
            self._lifecycle.apply(self.config, self.runtime, self.bridge, groups=(VERBS,))
            # Resume tasks after the features, which offer their verbs, and before the bindings, which let
            # callers in.
            self._work.resume(self.bridge.plan_of)
            self._lifecycle.apply(self.config, self.runtime, self.bridge, groups=(BINDINGS,))
            self._lifecycle.require(self.config.daemon.required)
        except BaseException:
            self.stop()
            raise

    def _report_head_later(self) -> None:
        def report() -> None:
            self._audit.report_head()
            self._report_head_later()

        after = self.config.audit.head_interval
        self._work.scheduler.plan("log the head of the audit log", report, after=after, second="replaces")

    def reload(self, config: Config) -> list[str]:
        """Apply the plugin tables, `[access]`, `[hooks]`, `[limits]` and `[tls]` of a changed configuration.

        Unchanged plugins keep serving. Distributions that were installed or removed meanwhile are detected.
        Reloads run one after the other.

        :returns: the options, as `daemon.state_dir`, whose new value takes effect at the next start
        :raises ConfigError: an option is not acceptable; then nothing has changed
        :raises DaemonStops: the daemon is about to stop
        """
        with self._lifecycle.changing:
            return self._reload(config)

    def _reload(self, config: Config) -> list[str]:
        check_required(config)
        rules = _rules(config)
        self._lifecycle.find()
        self._lifecycle.check(config)
        # Before the plugins, which may be slow: a revoked token must stop working at once.
        self._use_rules(config, rules)
        self.runtime.hooks.use(config.hooks)
        self.bridge.shared.provide(TlsOptions, config.tls)
        self.bridge.limits.use(config.limits)
        # Before the plugins, whose operations may be new.
        self.runtime.privileged.reload()
        self._lifecycle.apply(config, self.runtime, self.bridge)
        waiting = self._waiting_for_a_start(config)
        reason = f"a restart is needed to apply {', '.join(waiting)}" if waiting else ""
        if reason:
            log.warning("The configuration was applied in part: %s", reason)
        self._events.publish(ConfigReloaded(applied=True, reason=reason))
        self.config = config
        return waiting

    def _use_rules(self, config: Config, rules: Rules) -> None:
        self._access.use(rules)
        for weakness in weaknesses(config, rules):
            log.warning("%s", weakness)

    def _waiting_for_a_start(self, config: Config) -> list[str]:
        """Return the options that differ from those that the parts were built with."""
        waiting = []
        for table, type_ in TABLES.items():
            wanted, built = getattr(config, table), getattr(self._built_with, table)
            for name in type_.__struct_fields__:
                dotted = f"{table}.{name}"
                if dotted not in APPLIED_AT_RELOAD and getattr(wanted, name) != getattr(built, name):
                    waiting.append(dotted)
        return waiting

    def _notify_of_stop(self, seconds: float) -> None:
        """Call the hook of the daemon's end, at most for some seconds: deadlines of hooks may be longer."""
        hooks = self.runtime.hooks
        if not self._hooks_started or not hooks.implemented(vdsm_after_vdsm_stop):
            return
        try:
            run_with_timeout(vdsm_after_vdsm_stop.name, lambda: hooks.run(vdsm_after_vdsm_stop), seconds)
        except StartStopTimeout as error:
            log.warning("%s", error)

    def begin_stop(self) -> None:
        """Cut a start or reload on another thread short: `stop` follows."""
        self._lifecycle.begin_stop()

    def reload_refused(self, reason: str) -> None:
        """Publish that a changed configuration cannot be used, and the reason."""
        self._events.publish(ConfigReloaded(applied=False, reason=reason))

    def _plugin_changed(self, plugin: PluginInfo) -> None:
        self._events.publish(_plugin_event(plugin), plugin.name)
        self._notice_change()
        if plugin.state == "running":
            self._work.tasks.plugins_changed()

    def _plugin_states(self, barrier: Callable[[], None]) -> list[tuple[str, EventParams]]:
        return [(plugin.name, _plugin_event(plugin)) for plugin in self._lifecycle.at_rest(barrier)]

    def stop(self) -> None:
        """Stop all parts: bindings first, so that no call reaches a partly stopped host.

        This takes at most about `daemon.grace` seconds, even if a part hangs.
        """
        self.begin_stop()
        # A start or reload that hangs all the same must not block the stop of the rest.
        mine = self._lifecycle.changing.acquire(timeout=self.config.daemon.grace)
        try:
            if not self._stopped:
                self._stopped = True
                self._stop()
        finally:
            if mine:
                self._lifecycle.changing.release()

    def _stop(self) -> None:
        budget = Budget(self.config.daemon.grace)
        self._lifecycle.stop(self.runtime, budget, (BINDINGS, VERBS))
        self._notify_of_stop(budget.share())
        self._lifecycle.stop(self.runtime, budget, (HOOKS, PRIVILEGED))
        for what, stop in (
            ("work", lambda: self._work.stop(budget.share())),
            ("privileged client", self.runtime.privileged.close),
            ("hypervisor", lambda: self._hypervisor.stop(budget.share())),
            ("events", self._events.stop),
            ("audit log", self._audit.close),
            ("state", self._state.close),
            ("state lock", self._state_lock.release if self._state_lock is not None else lambda: None),
        ):
            try:
                stop()
            except Exception:
                # Stop the remaining parts all the same.
                log.exception("Cannot stop the %s cleanly", what)


def _caller() -> Caller:
    """For whom this thread works: the call that runs on it, or else the daemon itself."""
    context = running()
    if context is None:
        return Caller()
    return Caller(context.identity.name, context.flow_id, context.remaining(MAX_SECONDS))


def _rules(config: Config) -> Rules:
    return read_rules(config.access, path_of(config), config.origin)


def _plugin_event(plugin: PluginInfo) -> PluginChanged:
    return PluginChanged(group=plugin.group, state=plugin.state, error=plugin.error, retrying=plugin.retrying)


def _journal(config: Config) -> Journal:
    folder = config.daemon.state_dir
    return Journal(
        MEMORY if folder == MEMORY else str(Path(folder) / "events.sqlite"),
        max_bytes=config.events.journal_size * 2**20,
        keep=config.events.keep_days * _SECONDS_A_DAY,
    )


def _audit_log(config: Config) -> AuditLog:
    options, path = config.audit, configured_path(config)
    if path is not None:
        return AuditFiles(path, max_bytes=options.file_size * 2**20, files=options.files)
    return AuditToLog() if options.to == "log" else NoAudit()
