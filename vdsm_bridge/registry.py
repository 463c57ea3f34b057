"""The registry: every verb that can be called now. Changed as a whole, read without a lock."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from vdsm_bridge.schema import components
from vdsm_bridge.verb import Verb
from vdsm_core.errors import NoSuchVerb, VdsmError


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

    def add(self, verbs: Iterable[Verb], source: str = "") -> None:
        """Add the verbs of one plugin, all or none.

        :param source: its distribution and version, for errors
        :raises VerbConflict: another plugin offers one of them, or gives the namespace another key or plural
        """
        with self._lock:
            merged = dict(self._verbs)
            for verb in verbs:
                self._sources[verb.plugin] = source
                if verb.name in merged:
                    raise self._conflict(verb.name, merged[verb.name], verb)
                self._check_namespace(verb, merged)
                merged[verb.name] = verb
            self._replace(merged)

    def remove(self, plugin: str) -> None:
        """Take all verbs of one plugin away."""
        with self._lock:
            self._replace({name: verb for name, verb in self._verbs.items() if verb.plugin != plugin})

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
