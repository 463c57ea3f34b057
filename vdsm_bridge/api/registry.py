"""The registry: every verb that can be called now. Changed as a whole, read without a lock.

It also counts the calls of each plugin, so that a plugin that stops can first let them end, and holds calls
back while a plugin is being replaced.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Mapping
from types import MappingProxyType

import msgspec

from vdsm_bridge.api.agreement import Agreement
from vdsm_bridge.api.schema import components
from vdsm_bridge.api.verb import Declaration, Verb
from vdsm_core.errors import NoSuchVerb, Unavailable


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
        """Return one verb.

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
        """Return one verb for a call, which `leave` ends. Wait while its plugin is on hold.

        :param seconds: how long to wait at the most
        :raises NoSuchVerb: no plugin that is switched on offers it
        :raises Unavailable: its plugin is still on hold
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
        """Wait until no call of a plugin runs; return how many still do after that time."""
        with self._changed:
            self._draining += 1
            self._changed.wait_for(lambda: not self._calls.get(plugin), seconds)
            self._draining -= 1
            return self._calls.get(plugin, 0)

    def add(self, verbs: Iterable[Verb], source: str = "") -> None:
        """Add the verbs of one plugin, all or none.

        :param source: its distribution and version, for errors
        :raises VerbConflict: one of them, or an old name, is offered already, or the namespace is elsewhere
        :raises MissingParent: a namespace has a parent that no plugin offers
        """
        with self._lock:
            self._replace(self._merged(self._verbs, verbs, source))

    def replace(self, plugin: str, verbs: Iterable[Verb], source: str = "") -> None:
        """Replace the verbs of one plugin, all or none; end its hold.

        :param source: its distribution and version, for errors
        :raises VerbConflict: as `add` does
        :raises MissingParent: as `add` does
        """
        with self._lock:
            self._replace(self._merged(self._without(plugin), verbs, source))
        self._release(plugin)

    def remove(self, plugin: str) -> None:
        """Remove all verbs of one plugin."""
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
        more = list(more)
        self._sources.update({verb.plugin: source for verb in more})
        agreement = Agreement(verbs, self._sources)
        agreement.add(more)
        return agreement.verbs

    def _replace(self, verbs: dict[str, Verb]) -> None:
        self._verbs = MappingProxyType(dict(sorted(verbs.items())))
        self._revision = ""


def _revision(verbs: Mapping[str, Verb]) -> str:
    declared = [
        (verb.name, verb.plugin, _facts(verb.declaration), verb.levels, verb.summary, verb.description)
        for verb in verbs.values()
    ]
    documented = [(verb.result_doc, [(p.name, p.doc) for p in verb.params]) for verb in verbs.values()]
    failing = [error.slug for verb in verbs.values() for error in verb.errors]
    schemas = components(type_ for verb in verbs.values() for type_ in (verb.arguments, verb.reply))
    text = repr((declared, documented, failing, schemas))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _facts(declaration: Declaration) -> list[object]:
    """Return what a declaration states, in a form that is the same in each process that has it."""
    return [
        "a function" if callable(value) else sorted(value) if isinstance(value, frozenset) else value
        for value in msgspec.structs.astuple(declaration)
    ]
