"""Finding plugins: entry points through stevedore, with every failure kept and shown."""

from __future__ import annotations

import logging
from collections import Counter
from importlib import metadata
from typing import Any, Final

import msgspec
from stevedore import ExtensionManager

log = logging.getLogger(__name__)

#: The entry-point groups, in the order in which their plugins start.
VERBS: Final = "vdsm.verbs"
HOOKS: Final = "vdsm.hooks"
BINDINGS: Final = "vdsm.bindings"
GROUPS: Final = (HOOKS, VERBS, BINDINGS)


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """One entry point: what it loaded to, or why it did not."""

    group: str
    name: str
    target: str
    distribution: str
    version: str
    loaded: Any = None
    error: str = ""


def discover(group: str) -> list[Found]:
    """Every plugin of a group, by name. A plugin that cannot be imported is there, with its error.

    Of a name that several distributions use, each is there with an error that names all of them.
    """
    failures: list[tuple[Any, BaseException]] = []
    manager = _Manager(
        group,
        invoke_on_load=False,
        on_load_failure_callback=lambda _, entry_point, error: failures.append((entry_point, error)),
    )
    found = [_found(group, extension.entry_point, extension.plugin) for extension in manager]
    for entry_point, error in failures:
        log.error("Plugin %s of group %s cannot be loaded", entry_point.name, group, exc_info=error)
        found.append(_found(group, entry_point, None, f"{type(error).__name__}: {error}"))
    return sorted(_refuse_doubles(found), key=lambda plugin: (plugin.name, plugin.distribution))


class _Manager(ExtensionManager):  # type: ignore[misc]  # stevedore has no types
    """stevedore's, but it asks the installation itself: its caches know no distributions, and get stale."""

    def list_entry_points(self) -> list[metadata.EntryPoint]:
        """The entry points of the group, as installed now."""
        return list(metadata.entry_points(group=self.namespace))

    def _load_one_plugin(self, entry_point: Any, *arguments: Any) -> Any:
        try:
            return super()._load_one_plugin(entry_point, *arguments)
        except (AssertionError, SystemExit) as error:
            # stevedore lets these through, and one plugin would end the daemon.
            raise ImportError(f"{type(error).__name__}: {error}") from error


def _found(group: str, entry_point: Any, loaded: Any, error: str = "") -> Found:
    distribution = getattr(entry_point, "dist", None)
    return Found(
        group=group,
        name=entry_point.name,
        target=entry_point.value,
        distribution=distribution.name if distribution is not None else "",
        version=distribution.version if distribution is not None else "",
        loaded=loaded,
        error=error,
    )


def _refuse_doubles(found: list[Found]) -> list[Found]:
    counts = Counter(plugin.name for plugin in found)
    result = []
    for plugin in found:
        if counts[plugin.name] > 1:
            owners = ", ".join(f"{p.distribution} {p.version}" for p in found if p.name == plugin.name)
            reason = f"several distributions offer a plugin of this name: {owners}"
            result.append(msgspec.structs.replace(plugin, loaded=None, error=reason))
        else:
            result.append(plugin)
    return result
