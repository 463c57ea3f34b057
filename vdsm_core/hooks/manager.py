"""The one owner of pluggy: registers implementations and runs hooks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any, ParamSpec, TypeVar

import pluggy

from vdsm_core.config import HookOptions
from vdsm_core.hooks import PROJECT, is_needed, specs
from vdsm_core.hooks.calls import Implementation, Slots
from vdsm_core.hooks.declare import Hook

P = ParamSpec("P")
R = TypeVar("R")

#: A hook, a plugin, and the function of that plugin.
_Key = tuple[str, str, Callable[..., Any]]


class Hooks:
    """The implementations of all plugins.

    :param options: deadlines and slots; without it, the defaults
    """

    def __init__(self, options: HookOptions | None = None) -> None:
        self._options = options or HookOptions()
        self._manager = pluggy.PluginManager(PROJECT)
        self._manager.add_hookspecs(_declarations())
        self._lock = threading.Lock()
        self._slots: dict[_Key, Slots] = {}

    def use(self, options: HookOptions) -> None:
        """Apply other options to the calls that begin from now on."""
        self._options = options

    def register(self, name: str, implementation: object) -> None:
        """Add the `@hookimpl` functions of a module or object, under its plugin's name.

        :raises pluggy.PluginValidationError: a function's arguments do not fit its hook, no hook has its
            name, or it is a wrapper
        """
        try:
            self._manager.register(implementation, name)
            self._manager.check_pending()
            self._refuse_wrappers(implementation)
        except pluggy.PluginValidationError:
            # pluggy keeps a plugin that it has just refused, with the functions before the bad one.
            self.unregister(name)
            raise

    def unregister(self, name: str) -> None:
        """Remove a plugin's functions; unknown names are ignored."""
        if self._manager.has_plugin(name):
            self._manager.unregister(name=name)
        with self._lock:
            # Hung calls are remembered: the same function may be registered again.
            self._slots = {
                key: slots for key, slots in self._slots.items() if key[1] != name or not slots.idle()
            }

    def run(self, hook: Hook[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call a hook's implementations, in the order of their plugins' names.

        Each has the hook's full deadline. One that hangs is not called again until that call has returned.

        :returns: depends on the hook's decorator; see `vdsm_core.hooks.declare`
        :raises HookDeadline: an implementation that may refuse, or has to answer, did not return in time
        :raises HookUnavailable: such an implementation still hangs in an earlier call
        """
        return hook.call(self._implementations(hook.name), *args, **kwargs)

    def implemented(self, hook: Hook[..., Any]) -> bool:
        """Return whether a call of a hook would call anything now.

        For callers whose arguments are costly: a document that has to be read, or converted.
        """
        caller: pluggy.HookCaller = getattr(self._manager.hook, hook.name)
        return any(is_needed(each.function) for each in caller.get_hookimpls())

    def trouble(self, plugin: str) -> str:
        """Which hooks of a plugin hang, in words; empty if none does."""
        with self._lock:
            mine = [(key[0], slots) for key, slots in self._slots.items() if key[1] == plugin]
        hung = [(hook, seconds) for hook, slots in mine if (seconds := slots.hung()) is not None]
        return "; ".join(f"{hook} has not returned for {seconds:.0f} s" for hook, seconds in sorted(hung))

    def _implementations(self, hook: str) -> list[Implementation]:
        # pluggy calls the newest registration first; sorting by name makes the order visible to
        # administrators.
        caller: pluggy.HookCaller = getattr(self._manager.hook, hook)
        found = sorted(caller.get_hookimpls(), key=lambda each: each.plugin_name)
        options = self._options
        return [
            Implementation(
                hook,
                each.plugin_name,
                each.function,
                each.argnames,
                self._slots_of((hook, each.plugin_name, each.function)),
                seconds=options.deadlines.get(hook, options.deadline),
                limit=options.max_calls,
            )
            for each in found
            if is_needed(each.function)
        ]

    def _slots_of(self, key: _Key) -> Slots:
        with self._lock:
            return self._slots.setdefault(key, Slots())

    def _refuse_wrappers(self, implementation: object) -> None:
        """Refuse what pluggy would call around other plugins' functions: those have a call each."""
        for caller in self._manager.get_hookcallers(implementation) or []:
            for each in caller.get_hookimpls():
                if each.plugin is implementation and (each.hookwrapper or getattr(each, "wrapper", False)):
                    raise pluggy.PluginValidationError(
                        implementation, f"{caller.name}: hook wrappers are not supported"
                    )


def _declarations() -> ModuleType:
    """The declared functions of all hooks, in the shape that pluggy takes."""
    module = ModuleType(specs.__name__)
    vars(module).update({name: hook.function for name, hook in specs.every().items()})
    return module
