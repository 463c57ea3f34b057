"""Finding plugins: entry points through stevedore, with every failure kept and shown.

A plugin declares the version of the plugin API that it was written for, `plugin_api = 1`, as an attribute of
the class or module that its entry point names. One that declares nothing counts as written for version 1.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from importlib import metadata
from typing import Any, Final

import msgspec
from stevedore import ExtensionManager

from vdsm_core.bounded import StartStopTimeout, bounded
from vdsm_core.importpath import ImportPath

log = logging.getLogger(__name__)

#: The entry-point groups, in the order in which their plugins start.
VERBS: Final = "vdsm.verbs"
HOOKS: Final = "vdsm.hooks"
BINDINGS: Final = "vdsm.bindings"
GROUPS: Final = (HOOKS, VERBS, BINDINGS)

#: The version of the plugin API. It changes only when plugins have to change; docs/reference/plugin-api.md.
PLUGIN_API: Final = 1
#: Seconds that the import of one plugin may take. Most take a tenth of one.
_IMPORT: Final = 30.0
#: What a plugin that declares no version was written for.
_FIRST_API: Final = 1


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """One entry point: what it loaded to, or why it did not."""

    group: str
    name: str
    target: str
    distribution: str
    version: str
    loaded: Any = None
    error: str = ""
    #: Why its import was not waited for any longer.
    late: StartStopTimeout | None = None

    @property
    def hangs(self) -> bool:
        """Whether its import still goes on, so that the next one would wait for that."""
        return self.late is not None and self.late.hopeless

    @property
    def source(self) -> str:
        """Its distribution with its version."""
        return f"{self.distribution} {self.version}"


def discover(group: str, seconds: float = _IMPORT) -> list[Found]:
    """Every plugin of a group, by name. A plugin that cannot be imported is there, with its error.

    Of a name that several distributions use, each is there with an error that names all of them.

    :param seconds: what the import of one may take
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
        log.error("Plugin %s of group %s cannot be loaded", entry_point.name, group, exc_info=error)
        late = error if isinstance(error, StartStopTimeout) else None
        reason = str(error) if late else f"{type(error).__name__}: {error}"
        found.append(_found(group, entry_point, None, error=reason, late=late))
    return sorted(_refuse_doubles(found), key=lambda plugin: (plugin.name, plugin.distribution))


class Discovery:
    """`discover` for a process that goes on while distributions are installed and removed.

    What it has found it remembers while nothing is: reading the metadata of every distribution takes
    time that callers of the same process would notice.
    """

    def __init__(self) -> None:
        self._path = ImportPath()
        self._known: dict[str, list[Found]] = {}

    def __call__(self, group: str) -> list[Found]:
        """Every plugin of a group that is installed now. What could not be loaded is tried again.

        What hangs is not before it has come to its end, and what computes without an end not before
        something else is installed or removed.
        """
        if self._path.refresh():
            self._known.clear()
        known = self._known.get(group)
        if known is None or any(plugin.error and not plugin.hangs for plugin in known):
            known = self._known[group] = discover(group)
        return known


class _Manager(ExtensionManager):  # type: ignore[misc]  # stevedore has no types
    """stevedore's, but it asks the installation itself: its caches know no distributions, and get stale.

    :param seconds: what the import of one plugin may take
    """

    def __init__(self, namespace: str, seconds: float, **options: Any) -> None:
        self._seconds = seconds
        super().__init__(namespace, **options)

    def list_entry_points(self) -> list[metadata.EntryPoint]:
        """The entry points of the group, as installed now."""
        return list(metadata.entry_points(group=self.namespace))

    def _load_one_plugin(self, entry_point: Any, *arguments: Any) -> Any:
        return bounded(
            f"import of {entry_point.name}", lambda: self._load(entry_point, *arguments), self._seconds
        )

    def _load(self, entry_point: Any, *arguments: Any) -> Any:
        try:
            return super()._load_one_plugin(entry_point, *arguments)
        except (AssertionError, SystemExit) as error:
            # stevedore lets these through, and one plugin would end the daemon.
            raise ImportError(f"{type(error).__name__}: {error}") from error


def _found(
    group: str, entry_point: Any, loaded: Any, *, error: str = "", late: StartStopTimeout | None = None
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
        late=late,
    )


def _suitable(plugin: Found) -> Found:
    """Without what it loaded to, if that was written for another version of the plugin API."""
    api = getattr(plugin.loaded, "plugin_api", _FIRST_API)
    if api == PLUGIN_API:
        return plugin
    reason = f"it is made for version {api!r} of the plugin API, and this is version {PLUGIN_API}"
    return msgspec.structs.replace(plugin, loaded=None, error=reason)


def _refuse_doubles(found: list[Found]) -> list[Found]:
    counts = Counter(plugin.name for plugin in found)
    return [_refused(plugin, "a plugin", found) if counts[plugin.name] > 1 else plugin for plugin in found]


def refuse_shared_tables(found: Sequence[Found]) -> list[Found]:
    """Plugins of all groups; those of different distributions that would share a table of options, refused.

    One distribution may use a name in several groups: they are switched, and set, together.
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
