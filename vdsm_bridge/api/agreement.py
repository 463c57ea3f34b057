"""What plugins agree on: who offers each verb and old name, and where each namespace lies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from vdsm_bridge.api.namespace import Level
from vdsm_bridge.api.verb import Verb, placed
from vdsm_core.errors import Unavailable, VdsmError


class VerbConflict(VdsmError):
    """Two plugins, or two classes of one, offer the same verb or old name, or disagree on a namespace.

    Facts: `what`, `by`, `first`, `second`.
    """

    slug = "verb-conflict"
    template = "{what} is offered by {by} {first} and {second}"


class MissingParent(Unavailable):
    """No running plugin has the namespace that is named as a parent. Facts: `namespace`, `parent`."""

    slug = "missing-parent"
    template = (
        "Cannot offer the namespace {namespace}: no running plugin offers its parent {parent}. "
        "Install or enable the plugin that has it"
    )


class Agreement:
    """Verbs that fit together.

    :ivar verbs: by full name, in order of arrival
    :param verbs: those that are there already
    :param sources: distribution and version of each plugin, for errors
    """

    def __init__(self, verbs: Mapping[str, Verb], sources: Mapping[str, str]) -> None:
        self.verbs: dict[str, Verb] = {}
        self._sources = sources
        self._levels: dict[str, tuple[Level, Verb]] = {}
        self._plurals: dict[str, tuple[str, Verb]] = {}
        self._old_names: dict[str, Verb] = {}
        #: The place of each namespace that has verbs.
        self._places: dict[str, tuple[Level, ...]] = {}
        for verb in verbs.values():
            self._accept(verb)

    def add(self, verbs: Iterable[Verb]) -> None:
        """Add verbs, those of parents first.

        :raises VerbConflict: they do not fit to others
        :raises MissingParent: a namespace has a parent that no plugin offers
        """
        waiting = list(verbs)
        while waiting:
            orphans = [verb for verb in waiting if not self._place(verb)]
            if len(orphans) == len(waiting):
                first = orphans[0].levels[0]
                raise MissingParent(namespace=first.name, parent=first.parent)
            waiting = orphans

    def _place(self, verb: Verb) -> bool:
        """Add a verb if all its parents are at hand; return whether they are."""
        parent = verb.levels[0].parent
        if parent and parent not in self._places:
            return False
        self._accept(placed(verb, (*self._places[parent], *verb.levels)) if parent else verb)
        return True

    def _accept(self, verb: Verb) -> None:
        if verb.name in self.verbs:
            raise self._conflict(verb.name, self.verbs[verb.name], verb)
        for level in verb.levels:
            agreed, other = self._levels.setdefault(level.name, (level, verb))
            name, holder = self._plurals.setdefault(level.plural, (level.name, verb))
            if agreed != level or name != level.name:
                parent = f", parent '{level.parent}'" if level.parent else ""
                what = f"the namespace {level.name} (key '{level.key}', plural '{level.plural}'{parent})"
                raise self._conflict(what, other if agreed != level else holder, verb)
        for method in verb.legacy_methods:
            holder = self._old_names.setdefault(method.name, verb)
            if holder is not verb:
                what = f"the old name '{method.name}' (of {holder.name} and {verb.name})"
                raise self._conflict(what, holder, verb)
        self._places[verb.namespace.name] = verb.levels
        self.verbs[verb.name] = verb

    def _conflict(self, what: str, first: Verb, second: Verb) -> VerbConflict:
        if first.plugin == second.plugin:
            by, names = "the classes", [_class(first), f"{_class(second)} of the plugin '{first.plugin}'"]
        else:
            by, names = "the plugins", [self._plugin(first), self._plugin(second)]
        return VerbConflict(what=what, by=by, first=names[0], second=names[1])

    def _plugin(self, verb: Verb) -> str:
        source = self._sources.get(verb.plugin)
        return f"'{verb.plugin}' ({source})" if source else f"'{verb.plugin}'"


def _class(verb: Verb) -> str:
    return f"{verb.group.__module__}.{verb.group.__qualname__}"
