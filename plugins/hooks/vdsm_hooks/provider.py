"""The implementations of hooks: for every point, its scripts."""

from __future__ import annotations

import functools
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

from vdsm_bridge.plugins.feature import Runtime
from vdsm_bridge.plugins.hook_plugin import HookProvider
from vdsm_core.errors import ConfigError
from vdsm_core.hooks import hookimpl, only_if
from vdsm_hooks.errors import HookScriptFailed
from vdsm_hooks.executors import executor
from vdsm_hooks.folder import ScriptFolders
from vdsm_hooks.journal import Journal
from vdsm_hooks.options import HookScriptOptions
from vdsm_hooks.points import POINTS, Point, function_of
from vdsm_hooks.properties import Definitions
from vdsm_hooks.runner import Runner

log = logging.getLogger(__name__)

#: Seconds between the end of the scripts and the deadline of their hook, and the least that scripts get.
_MARGIN: Final = 3.0
_LEAST: Final = 1.0


class ScriptHooks(HookProvider):
    """Runs the scripts of a folder at the hook points of VDSM."""

    Config = HookScriptOptions

    def __init__(self, runtime: Runtime, config: Any) -> None:
        super().__init__(runtime, config)
        self._folders = ScriptFolders(Path(config.folder))
        self._definitions = Definitions(
            config.vm_properties, config.device_properties, refuse=config.undefined_properties == "refuse"
        )
        for name in config.timeouts:
            if name not in POINTS:
                key = f"plugin.hooks.timeouts.{name}"
                raise ConfigError(file="configuration", key=key, reason="there is no such hook point")
        journal = runtime.shared.get(Journal)
        journal.keep = config.runs
        self._journal = journal
        self._runner = Runner(
            self._folders, executor(runtime, config), journal, self._definitions, self._seconds
        )

    def implementations(self) -> object:
        """Return a function for each point, which is called only if the point has scripts."""
        found = {point.hook: self._implementation(point) for point in POINTS.values()}
        found["vdsm_check_custom_properties"] = self._check_custom_properties
        found["vdsm_get_launch_flags"] = self._launch_flags
        found["vdsm_get_editors"] = self._editors
        # The scripts are part of the capabilities: they are added before scripts edit them.
        found["vdsm_after_get_caps"] = self._after_get_caps
        return SimpleNamespace(**found)

    def installed(self) -> dict[str, dict[str, dict[str, str]]]:
        """Return the scripts of each point that has some, with their checksums (SHA-256)."""
        return {
            name: {
                script.name: {"checksum": self._folders.checksum(script)}
                for script in scripts
                if not script.fault
            }
            for name in POINTS
            if (scripts := self._folders.scripts(name))
        }

    def _implementation(self, point: Point) -> Any:
        function = function_of(point, functools.partial(self._runner.run, point))
        return hookimpl(only_if(lambda: self._folders.has(point.name))(function))

    def _seconds(self, point: Point) -> float:
        hooks = self.runtime.config.hooks
        limit = hooks.deadlines.get(point.hook, hooks.deadline) - _MARGIN
        wanted: float = self.config.timeouts.get(point.name, self.config.timeout)
        return max(_LEAST, min(wanted, limit))

    @hookimpl
    def _after_get_caps(self, caps: dict[str, Any]) -> None:
        caps["hooks"] = self.installed()
        try:
            self._runner.run(POINTS["after_get_caps"], caps)
        except HookScriptFailed as error:
            # The list of scripts stays: a failed script must not hide it.
            log.warning("%s", error)

    @hookimpl
    def _check_custom_properties(
        self, kept: dict[str, list[str]], custom: dict[str, str], devices: dict[str, dict[str, str]]
    ) -> None:
        self._definitions.check(custom, devices)
        kept["vm"] = sorted({*kept["vm"], *self._definitions.vm_names})
        kept["device"] = sorted({*kept["device"], *self._definitions.device_names})

    @hookimpl
    def _launch_flags(self, vm_id: str) -> int | None:
        return self._runner.taken_flags(vm_id)

    @hookimpl
    def _editors(self, vm_id: str) -> str | None:
        edits = self._journal.editors(vm_id)
        return f"hook scripts {', '.join(edits)}" if edits else None
