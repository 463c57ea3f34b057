"""The one owner of pluggy: registers implementations, calls hooks. Nobody else writes `pm.hook`."""

from __future__ import annotations

import logging
from typing import Any
from xml.etree.ElementTree import Element

import pluggy

from vdsm_core import hookspecs
from vdsm_core.errors import VdsmError

log = logging.getLogger(__name__)


class Hooks:
    """One method per hook. See `vdsm_core.hookspecs` for their meaning."""

    def __init__(self) -> None:
        self._manager = pluggy.PluginManager(hookspecs.PROJECT)
        self._manager.add_hookspecs(hookspecs)

    def register(self, name: str, implementation: object) -> None:
        """Add the `@hookimpl` functions of a module or object, under its plugin's name.

        :raises pluggy.PluginValidationError: a function's arguments do not fit its hook, or no hook has
            its name
        """
        try:
            self._manager.register(implementation, name)
            self._manager.check_pending()
        except pluggy.PluginValidationError:
            # pluggy keeps a plugin that it has just refused, with the functions before the bad one.
            self.unregister(name)
            raise

    def unregister(self, name: str) -> None:
        """Remove a plugin's functions; unknown names are ignored."""
        if self._manager.has_plugin(name):
            self._manager.unregister(name=name)

    def before_vm_start(self, vm_id: str, domain: Element, custom: dict[str, str]) -> None:
        """Let plugins change `domain` in place, or refuse by an error."""
        self._ask("vdsm_before_vm_start", vm_id=vm_id, domain=domain, custom=custom)

    def after_vm_start(self, vm_id: str, domain: Element, custom: dict[str, str]) -> None:
        """Tell that a machine has started."""
        self._tell("vdsm_after_vm_start", vm_id=vm_id, domain=domain, custom=custom)

    def before_vm_pause(self, vm_id: str) -> None:
        """Let plugins refuse by an error."""
        self._ask("vdsm_before_vm_pause", vm_id=vm_id)

    def after_vm_pause(self, vm_id: str) -> None:
        """Tell that a machine was paused."""
        self._tell("vdsm_after_vm_pause", vm_id=vm_id)

    def before_vm_cont(self, vm_id: str) -> None:
        """Let plugins refuse by an error."""
        self._ask("vdsm_before_vm_cont", vm_id=vm_id)

    def after_vm_cont(self, vm_id: str) -> None:
        """Tell that a machine was resumed."""
        self._tell("vdsm_after_vm_cont", vm_id=vm_id)

    def before_vm_destroy(self, vm_id: str) -> None:
        """Tell that a machine is about to be destroyed."""
        self._tell("vdsm_before_vm_destroy", vm_id=vm_id)

    def after_vm_destroy(self, vm_id: str) -> None:
        """Tell that a machine was destroyed."""
        self._tell("vdsm_after_vm_destroy", vm_id=vm_id)

    def prepare_disk(self, vm_id: str, disk: dict[str, object]) -> str | None:
        """The path of a prepared disk, None if no plugin knows the disk."""
        for implementation in self._implementations("vdsm_prepare_disk"):
            facts = {"vm_id": vm_id, "disk": disk}
            path = implementation.function(*(facts[name] for name in implementation.argnames))
            if path is not None:
                return str(path)
        return None

    def _implementations(self, hook: str) -> list[pluggy.HookImpl]:
        # pluggy calls the newest registration first; names give an order that an administrator can see.
        caller: pluggy.HookCaller = getattr(self._manager.hook, hook)
        return sorted(caller.get_hookimpls(), key=lambda implementation: implementation.plugin_name)

    def _ask(self, hook: str, **facts: Any) -> None:
        for implementation in self._implementations(hook):
            implementation.function(*(facts[name] for name in implementation.argnames))

    def _tell(self, hook: str, **facts: Any) -> None:
        for implementation in self._implementations(hook):
            try:
                implementation.function(*(facts[name] for name in implementation.argnames))
            except VdsmError as error:
                log.warning("Plugin %s objects in %s: %s", implementation.plugin_name, hook, error)
            except Exception:
                # Isolation: a hook that only learns of things must not break what it learns of.
                log.exception("Plugin %s failed in %s", implementation.plugin_name, hook)
