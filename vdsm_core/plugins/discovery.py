"""Discovery of plugins: entry points through stevedore, with every failure kept and reported.

A plugin declares the version of the plugin API that it was written for, `plugin_api = 1`, as an attribute of
the class or module that its entry point names. A plugin without it counts as written for version 1.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from importlib import metadata
from typing import Any, Final

import msgspec
from stevedore import ExtensionManager

from vdsm_core.plugins.import_path import ImportPath
from vdsm_core.plugins.timeout import StartStopTimeout, run_with_timeout

log = logging.getLogger(__name__)

#: The entry-point groups. GROUPS has the order in which their plugins start.
PRIVILEGED: Final = "vdsm.privileged"
VERBS: Final = "vdsm.verbs"
HOOKS: Final = "vdsm.hooks"
BINDINGS: Final = "vdsm.bindings"
GROUPS: Final = (PRIVILEGED, HOOKS, VERBS, BINDINGS)

#: The version of the plugin API. It changes only when plugins have to change; docs/reference/plugin-api.md.
PLUGIN_API: Final = 1
#: Seconds that the import of one plugin may take. Most imports take 0.1 s.
_IMPORT: Final = 30.0
#: The API version of a plugin that declares none.
_FIRST_API: Final = 1


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """One entry point, with the loaded object or the reason why it could not be loaded."""

    group: str
    name: str
    target: str
    distribution: str
    version: str
    loaded: Any = None
    error: str = ""
    #: The error of an import that exceeded its time limit.
    timed_out: StartStopTimeout | None = None

    @property
    def hangs(self) -> bool:
        """Whether its import still runs or loops, so that another one would fail the same way."""
        return self.timed_out is not None and self.timed_out.hopeless

    @property
    def source(self) -> str:
        """The distribution and its version."""
        return f"{self.distribution} {self.version}"


def discover(group: str, seconds: float = _IMPORT) -> list[Found]:
    """Return every plugin of a group, by name. A plugin that cannot be imported is included, with its error.

    If several distributions use a name, each of these plugins has an error that names all of them.

    :param seconds: time limit of the import of one plugin
    """
    failures: list[tuple[Any, BaseException]] = []
    manager = _Manager(
        group,
        seconds,
        invoke_on_load=False,
        on_load_failure_callback=lambda _, entry_point, error: failures.append((entry_point, error)),
    )
    found = [_suitable(_found(group, extension.entry_point, extension.plugin)) for extension in manager]
    for entry_point, error in failures:
        log.error("Cannot load plugin %s of group %s", entry_point.name, group, exc_info=error)
        timed_out = error if isinstance(error, StartStopTimeout) else None
        reason = str(error) if timed_out else f"{type(error).__name__}: {error}"
        found.append(_found(group, entry_point, None, error=reason, timed_out=timed_out))
    return sorted(_refuse_doubles(found), key=lambda plugin: (plugin.name, plugin.distribution))


class Discovery:
    """`discover` for a process that keeps running while distributions are installed and removed.

    Results are cached until something is installed or removed: reading the metadata of every distribution
    would delay other work of the process.
    """

    def __init__(self) -> None:
        self._path = ImportPath()
        self._known: dict[str, list[Found]] = {}

    def __call__(self, group: str) -> list[Found]:
        """Return every plugin of a group that is installed now. Failed imports are tried again.

        An import that hangs is tried again once it has ended, one that loops once something is installed or
        removed.
        """
        if self._path.refresh():
            self._known.clear()
        known = self._known.get(group)
        if known is None or any(plugin.error and not plugin.hangs for plugin in known):
            known = self._known[group] = discover(group)
        return known


class _Manager(ExtensionManager):  # type: ignore[misc]  # stevedore has no types
    """stevedore's manager, reading the installed metadata: stevedore's cache lacks distributions, and gets
    stale.

    :param seconds: time limit of the import of one plugin
    """

    def __init__(self, namespace: str, seconds: float, **options: Any) -> None:
        self._seconds = seconds
        super().__init__(namespace, **options)

    def list_entry_points(self) -> list[metadata.EntryPoint]:
        """Return the entry points of the group, as installed now."""
        return list(metadata.entry_points(group=self.namespace))

    def _load_one_plugin(self, entry_point: Any, *arguments: Any) -> Any:
        return run_with_timeout(
            f"import of {entry_point.name}", lambda: self._load(entry_point, *arguments), self._seconds
        )

    def _load(self, entry_point: Any, *arguments: Any) -> Any:
        try:
            return super()._load_one_plugin(entry_point, *arguments)
        except (AssertionError, SystemExit) as error:
            # stevedore does not catch these: one plugin would end the daemon.
            raise ImportError(f"{type(error).__name__}: {error}") from error


def _found(
    group: str, entry_point: Any, loaded: Any, *, error: str = "", timed_out: StartStopTimeout | None = None
) -> Found:
    distribution = getattr(entry_point, "dist", None)
    return Found(
        group=group,
        name=entry_point.name,
        target=entry_point.value,
        distribution=distribution.name if distribution is not None else "",
        version=distribution.version if distribution is not None else "",
        loaded=loaded,
        error=error,
        timed_out=timed_out,
    )


def _suitable(plugin: Found) -> Found:
    """Return the plugin; refuse one that was written for another version of the plugin API."""
    api = getattr(plugin.loaded, "plugin_api", _FIRST_API)
    if api == PLUGIN_API:
        return plugin
    reason = f"it is made for version {api!r} of the plugin API, and this is version {PLUGIN_API}"
    return msgspec.structs.replace(plugin, loaded=None, error=reason)


def _refuse_doubles(found: list[Found]) -> list[Found]:
    counts = Counter(plugin.name for plugin in found)
    return [_refused(plugin, "a plugin", found) if counts[plugin.name] > 1 else plugin for plugin in found]


def refuse_shared_tables(found: Sequence[Found]) -> list[Found]:
    """Return the plugins of all groups; refuse those of different distributions with one table of options.

    One distribution may use a name in several groups: these plugins are enabled and configured together.
    """
    sources: dict[str, set[str]] = {}
    for plugin in found:
        sources.setdefault(plugin.name, set()).add(plugin.source)
    return [
        plugin
        if len(sources[plugin.name]) == 1 or plugin.error
        else _refused(plugin, f"a table [plugin.{plugin.name}], and thus a plugin", found)
        for plugin in found
    ]


def _refused(plugin: Found, what: str, found: Sequence[Found]) -> Found:
    owners = ", ".join(sorted({other.source for other in found if other.name == plugin.name}))
    reason = f"several distributions offer {what} of this name: {owners}"
    return msgspec.structs.replace(plugin, loaded=None, error=reason)
