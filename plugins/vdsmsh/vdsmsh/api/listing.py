"""Which verbs list objects, and which events may change such a list."""

from __future__ import annotations

from vdsmsh.api.catalogue import Catalogue, Verb


def lists(verb: Verb, catalogue: Catalogue) -> bool:
    """Return whether a verb lists objects."""
    return verb.kind == "query" and (verb.part == "list" or bool(catalogue.key_listed_by(verb.name)))


def patterns_of(verb: Verb, catalogue: Catalogue) -> list[str]:
    """Return patterns of the events that may change the list of a verb.

    These are the events whose component has the name of the plugin, or of the namespace, of the verb or of
    the objects that it lists.
    """
    listed = [other for other in catalogue.verbs.values() if other.listed_by == verb.name]
    names = [name for each in (verb, *listed) for name in (each.plugin, each.namespace.lower())]
    return [name for name in dict.fromkeys(names) if name]
