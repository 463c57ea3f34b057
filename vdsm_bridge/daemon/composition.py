"""The composition root: builds every part from the configuration and passes it down."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from vdsm_bridge.api.registry import Registry
from vdsm_bridge.call.access import Access, read_rules
from vdsm_bridge.call.audit import Auditor
from vdsm_bridge.call.bridge import Bridge
from vdsm_bridge.call.idempotency import IdempotencyStore
from vdsm_bridge.daemon.events import ConfigReloaded, PluginChanged
from vdsm_bridge.plugins.budget import Budget
from vdsm_bridge.plugins.feature import PluginInfo, Runtime
from vdsm_bridge.plugins.lifecycle import Lifecycle
from vdsm_core.audit import AuditFiles, AuditLog, AuditToLog, NoAudit
from vdsm_core.config import TABLES, Config, check_required
from vdsm_core.events import EventBus, EventParams, Journal
from vdsm_core.hooks.manager import Hooks
from vdsm_core.hypervisor import Hypervisor
from vdsm_core.plugins import BINDINGS, HOOKS, VERBS, Discovery, Found
from vdsm_core.state import MEMORY, StateStore
from vdsm_core.state_lock import StateLock
from vdsm_core.work.engine import Engine

log = logging.getLogger(__name__)

_SECONDS_A_DAY = 86_400.0
#: Options outside of the plugins' tables that a reload applies; all others are named by it and wait.
APPLIED_AT_RELOAD: Final = frozenset(
    {"daemon.required"}
    | {f"{table}.{name}" for table in ("access", "hooks") for name in TABLES[table].__struct_fields__}
)


class Host:
    """All parts of one host, put together. `start`, then `stop`; in between, `reload`.

    :param discover: how the plugins of an entry-point group are found; without it, by what is installed
    :param connect: how the hypervisor is connected to; the seam for tests
    :param plugin_changed: called when the state of a plugin has changed, on any thread; it must not wait
    :param root: where the files of the host are
    :param clock: what features measure durations with, in seconds
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
        #: What the parts were built with. A reload does not rebuild them.
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
        self._access = Access(config.access)
        self._notice_change = plugin_changed
        self._stopped = False
        self._lifecycle = Lifecycle(
            discover or Discovery(),
            start_timeout=daemon.start_timeout,
            grace=daemon.grace,
            changed=self._plugin_changed,
        )
        registry = Registry()
        self.bridge = Bridge(
            registry=registry,
            access=self._access,
            work=self._work,
            events=self._events,
            requests=self._requests,
            auditor=Auditor(self._audit),
            call_deadline=daemon.call_deadline,
        )
        self.runtime = Runtime(
            config=config,
            hypervisor=self._hypervisor,
            events=self._events,
            work=self._work,
            hooks=Hooks(config.hooks),
            registry=registry,
            plugins=lambda: self._lifecycle.info(health=True),
            root=root,
            clock=clock,
        )

    def plugins(self) -> list[PluginInfo]:
        """Every plugin with its state."""
        return self._lifecycle.info()

    def start(self) -> None:
        """Bring everything up.

        :raises ConfigError: the configuration cannot be used
        :raises PluginsMissing: a required plugin does not run
        :raises DaemonStops: it was told to hurry meanwhile
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
            self._events.provide(PluginChanged.component, [PluginChanged.operation], self._plugin_states)
            self._requests.start()
            self._access.load()
            self._lifecycle.find()
            self._lifecycle.check(self.config)
            self._hypervisor.start()
            self._lifecycle.apply(self.config, self.runtime, self.bridge, groups=(HOOKS, VERBS))
            # Tasks need the verbs; callers, whom the bindings let in, need the tasks.
            self._work.resume(self.bridge.plan_of)
            self._lifecycle.apply(self.config, self.runtime, self.bridge, groups=(BINDINGS,))
            self._lifecycle.require(self.config.daemon.required)
        except BaseException:
            self.stop()
            raise

    def reload(self, config: Config) -> list[str]:
        """Apply the plugin tables, `[access]` and `[hooks]` of a changed configuration.

        What has not changed serves on.
        Distributions that were installed or removed meanwhile are noticed. Of two reloads at once one waits.

        :returns: the options, as `daemon.state_dir`, whose new value waits for the next start
        :raises ConfigError: an option is not acceptable; then nothing has changed
        :raises DaemonStops: the daemon is about to stop
        """
        with self._lifecycle.changing:
            return self._reload(config)

    def _reload(self, config: Config) -> list[str]:
        check_required(config)
        rules = read_rules(config.access)
        self._lifecycle.find()
        self._lifecycle.check(config)
        # Before the plugins, which may take their time: a revoked token stops working at once.
        self._access.use(rules)
        self.runtime.hooks.use(config.hooks)
        self._lifecycle.apply(config, self.runtime, self.bridge)
        waiting = self._waiting_for_a_start(config)
        reason = f"a restart is needed to apply {', '.join(waiting)}" if waiting else ""
        if reason:
            log.warning("The configuration was applied in part: %s", reason)
        self._events.publish(ConfigReloaded(applied=True, reason=reason))
        self.config = config
        return waiting

    def _waiting_for_a_start(self, config: Config) -> list[str]:
        """The options that differ from those in force, however many reloads ago they were changed."""
        waiting = []
        for table, type_ in TABLES.items():
            wanted, built = getattr(config, table), getattr(self._built_with, table)
            for name in type_.__struct_fields__:
                dotted = f"{table}.{name}"
                if dotted not in APPLIED_AT_RELOAD and getattr(wanted, name) != getattr(built, name):
                    waiting.append(dotted)
        return waiting

    def hurry(self) -> None:
        """Cut a start or a reload short, which goes on on another thread: `stop` follows."""
        self._lifecycle.hurry()

    def reload_refused(self, reason: str) -> None:
        """Tell subscribers that a changed configuration cannot be used, and why."""
        self._events.publish(ConfigReloaded(applied=False, reason=reason))

    def _plugin_changed(self, plugin: PluginInfo) -> None:
        self._events.publish(_plugin_event(plugin), plugin.name)
        self._notice_change()
        if plugin.state == "running":
            self._work.tasks.plugins_changed()

    def _plugin_states(self, barrier: Callable[[], None]) -> list[tuple[str, EventParams]]:
        return [(plugin.name, _plugin_event(plugin)) for plugin in self._lifecycle.at_rest(barrier)]

    def stop(self) -> None:
        """Take everything down: bindings first, so that no call finds half a host.

        All of it takes about `daemon.grace` seconds at the most, whatever hangs.
        """
        self.hurry()
        # Who hangs in a start or a reload all the same does not keep the rest from its end.
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
        self._lifecycle.stop(self.runtime, budget)
        for what, stop in (
            ("work", lambda: self._work.stop(budget.share())),
            ("hypervisor", lambda: self._hypervisor.stop(budget.share())),
            ("events", self._events.stop),
            ("audit log", self._audit.close),
            ("state", self._state.close),
            ("state lock", self._state_lock.release if self._state_lock is not None else lambda: None),
        ):
            try:
                stop()
            except Exception:
                # What comes after it is taken down all the same.
                log.exception("The %s did not stop cleanly", what)


def _plugin_event(plugin: PluginInfo) -> PluginChanged:
    return PluginChanged(group=plugin.group, state=plugin.state, error=plugin.error, retrying=plugin.retrying)


def _journal(config: Config) -> Journal:
    folder = config.daemon.state_dir
    return Journal(
        MEMORY if folder == MEMORY else str(Path(folder) / "events.sqlite"),
        most_bytes=config.events.journal_size * 2**20,
        keep=config.events.keep_days * _SECONDS_A_DAY,
    )


def _audit_log(config: Config) -> AuditLog:
    options, folder = config.audit, config.daemon.state_dir
    if options.to == "log":
        return AuditToLog()
    if options.to == "none" or (folder == MEMORY and not options.file):
        return NoAudit()
    path = Path(options.file or Path(folder) / "audit.log")
    return AuditFiles(path, most_bytes=options.file_size * 2**20, files=options.files)
