"""The registry: every verb that can be called now. Changed as a whole, read without a lock.

It also counts the calls of each plugin, so that a plugin can end those that it has begun before it stops,
and holds calls back while a plugin is being replaced.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from vdsm_bridge.api.declare import Verb
from vdsm_bridge.api.schema import components
from vdsm_core.errors import NoSuchVerb, Unavailable, VdsmError


class VerbConflict(VdsmError):
    """Two plugins offer the same verb, or disagree on a namespace. Facts: `what`, `first`, `second`."""

    slug = "verb-conflict"
    template = "{what} is offered by the plugins {first} and {second}"


class Registry:
    """Verbs by full name, from every plugin that is switched on."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._verbs: Mapping[str, Verb] = MappingProxyType({})
        self._revision = ""
        self._sources: dict[str, str] = {}
        # Each call takes it twice: the lock itself is quicker than its condition.
        self._counting = threading.Lock()
        self._changed = threading.Condition(self._counting)
        self._calls: dict[str, int] = {}
        self._draining = 0
        self._held: set[str] = set()

    @property
    def verbs(self) -> Mapping[str, Verb]:
        """All verbs by full name (`VM.pause`), sorted. The mapping never changes; a new one replaces it."""
        return self._verbs

    @property
    def revision(self) -> str:
        """Changes exactly when the set of verbs, a declaration, or a type in one changes."""
        with self._lock:
            if not self._revision:
                self._revision = _revision(self._verbs)
            return self._revision

    def find(self, name: str) -> Verb:
        """One verb.

        :raises NoSuchVerb: no plugin that is switched on offers it
        """
        try:
            return self._verbs[name]
        except KeyError:
            raise NoSuchVerb(verb=name) from None

    def offers(self, verb: Verb) -> bool:
        """Whether this very verb can be called now."""
        return self._verbs.get(verb.name) is verb

    def enter(self, name: str, seconds: float) -> Verb:
        """One verb, for a call of it, which `leave` ends. It waits while its plugin is on hold.

        :param seconds: how long it waits at the most
        :raises NoSuchVerb: no plugin that is switched on offers it
        :raises Unavailable: its plugin was on hold all the time
        """
        with self._counting:
            verb = self._verbs.get(name)
            if verb is None or verb.plugin in self._held:
                verb = self._wait_for(name, seconds)
            self._calls[verb.plugin] = self._calls.get(verb.plugin, 0) + 1
            return verb

    def _wait_for(self, name: str, seconds: float) -> Verb:
        if not self._changed.wait_for(lambda: self.find(name).plugin not in self._held, seconds):
            plugin = self.find(name).plugin
            raise Unavailable(reason=f"the plugin '{plugin}', which offers {name}, is being restarted")
        return self.find(name)

    def leave(self, verb: Verb) -> None:
        """End a call."""
        with self._counting:
            left = self._calls[verb.plugin] - 1
            self._calls[verb.plugin] = left
            if not left and self._draining:
                self._changed.notify_all()

    def hold(self, plugin: str) -> None:
        """Let new calls of a plugin wait until it is replaced or removed."""
        with self._changed:
            self._held.add(plugin)

    def drain(self, plugin: str, seconds: float) -> int:
        """Wait until no call of a plugin runs; how many do so after that time."""
        with self._changed:
            self._draining += 1
            self._changed.wait_for(lambda: not self._calls.get(plugin), seconds)
            self._draining -= 1
            return self._calls.get(plugin, 0)

    def add(self, verbs: Iterable[Verb], source: str = "") -> None:
        """Add the verbs of one plugin, all or none.

        :param source: its distribution and version, for errors
        :raises VerbConflict: another plugin offers one of them, or gives the namespace another key or plural
        """
        with self._lock:
            self._replace(self._merged(self._verbs, verbs, source))

    def replace(self, plugin: str, verbs: Iterable[Verb], source: str = "") -> None:
        """Put the verbs of one plugin, all or none, in the place of those that it has; end its hold.

        :param source: its distribution and version, for errors
        :raises VerbConflict: as `add` does
        """
        with self._lock:
            self._replace(self._merged(self._without(plugin), verbs, source))
        self._release(plugin)

    def remove(self, plugin: str) -> None:
        """Take all verbs of one plugin away."""
        with self._lock:
            self._replace(self._without(plugin))
        self._release(plugin)

    def _without(self, plugin: str) -> dict[str, Verb]:
        return {name: verb for name, verb in self._verbs.items() if verb.plugin != plugin}

    def _release(self, plugin: str) -> None:
        with self._changed:
            self._held.discard(plugin)
            self._changed.notify_all()

    def _merged(self, verbs: Mapping[str, Verb], more: Iterable[Verb], source: str) -> dict[str, Verb]:
        merged = dict(verbs)
        for verb in more:
            self._sources[verb.plugin] = source
            if verb.name in merged:
                raise self._conflict(verb.name, merged[verb.name], verb)
            self._check_namespace(verb, merged)
            merged[verb.name] = verb
        return merged

    def _conflict(self, what: str, first: Verb, second: Verb) -> VerbConflict:
        names = []
        for plugin in (first.plugin, second.plugin):
            source = self._sources.get(plugin)
            names.append(f"'{plugin}' ({source})" if source else f"'{plugin}'")
        return VerbConflict(what=what, first=names[0], second=names[1])

    def _check_namespace(self, verb: Verb, merged: Mapping[str, Verb]) -> None:
        mine = verb.namespace
        for other in merged.values():
            theirs = other.namespace
            same_name, same_plural = mine.name == theirs.name, mine.plural == theirs.plural
            if same_name != same_plural or (same_name and mine.key != theirs.key):
                what = f"the namespace {mine.name} (key '{mine.key}', plural '{mine.plural}')"
                raise self._conflict(what, other, verb)

    def _replace(self, verbs: dict[str, Verb]) -> None:
        self._verbs = MappingProxyType(dict(sorted(verbs.items())))
        self._revision = ""


def _revision(verbs: Mapping[str, Verb]) -> str:
    declared = [
        (verb.name, verb.plugin, verb.declaration, verb.summary, verb.description, verb.result_doc)
        for verb in verbs.values()
    ]
    documented = [(param.name, param.doc) for verb in verbs.values() for param in verb.params]
    failing = [error.slug for verb in verbs.values() for error in verb.errors]
    schemas = components(type_ for verb in verbs.values() for type_ in (verb.arguments, verb.reply))
    text = repr((declared, documented, failing, schemas))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
