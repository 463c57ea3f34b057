"""The managed objects of a host, derived from the verbs that list and describe them.

A namespace with a key and a listing verb has an object for each entry of the list: machines, tasks. Objects
that lie in others are listed parent by parent, and their names have the ids of all parents, with `%` and `:`
percent-encoded. A namespace without a key is one object: the host. What the listing returns are the
properties; what `getStats` returns, the statistics.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import unquote

import msgspec

from vdsm_bridge import Kind as VerbKind
from vdsm_bridge import Verb
from vdsm_qmf.schema import types as qmftypes

_STATISTICS: Final = "getStats"


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """A query that returns values of objects. `type` is the struct of one object's values."""

    verb: str
    type: Any
    statistic: bool = False


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """The objects of one namespace.

    :ivar keys: names of the properties with their ids, parents first; empty if there is one object only
    :ivar lists: the query that lists them; empty if none does
    :ivar parent: the objects that they are listed for, one after the other; None if all are listed at once
    """

    name: str
    keys: tuple[str, ...] = ()
    lists: str = ""
    parent: Kind | None = None
    sources: tuple[Source, ...] = ()

    @property
    def key(self) -> str:
        """The name of the property with an object's own id; empty if there is one object only."""
        return self.keys[-1] if self.keys else ""

    def object_name(self, ids: Sequence[str] = ()) -> str:
        """Return the QMF name of one object; of the only one, if there is no key."""
        if len(ids) < 2:
            return ":".join([self.name, *ids])
        return ":".join([self.name, *(id_.replace("%", "%25").replace(":", "%3A") for id_ in ids)])

    def ids_in(self, rest: str) -> tuple[str, ...]:
        """Return the ids in the name of an object, behind that of the kind; empty if they do not fit."""
        if len(self.keys) < 2:
            return (rest,) if rest and self.keys else ()
        ids = tuple(map(unquote, rest.split(":")))
        return ids if len(ids) == len(self.keys) else ()

    def ids_of(self, record: Any, parents: Sequence[str] = ()) -> tuple[str, ...]:
        """Return the ids of one entry of the listing; empty if it has none.

        :param parents: those of the objects that it was listed for
        """
        if not isinstance(record, Mapping):
            return (*parents, str(record)) if len(parents) == len(self.keys) - 1 else ()
        # VDSM spells ids in several ways: vmId, vmID.
        members = {name.lower(): value for name, value in record.items()}
        ids = [*parents, *(members.get(key.lower()) for key in self.keys[len(parents) : -1])]
        own = next(
            (value for name, value in members.items() if name in {self.key.lower(), "id", "uuid"}), None
        )
        return () if own is None or None in ids else (*map(str, ids), str(own))


def kinds(verbs: Mapping[str, Verb]) -> dict[str, Kind]:
    """Return the objects of each namespace, by its name."""
    found: dict[str, list[Verb]] = {}
    for verb in verbs.values():
        found.setdefault(verb.namespace.name, []).append(verb)
    made: dict[str, Kind] = {}
    # Parents first.
    for name, mine in sorted(found.items(), key=lambda one: (len(one[1][0].levels), one[0])):
        made[name] = _kind(mine, verbs, made)
    return dict(sorted(made.items()))


def _kind(mine: Sequence[Verb], verbs: Mapping[str, Verb], others: Mapping[str, Kind]) -> Kind:
    level = mine[0].levels[-1]
    if not level.key:
        return Kind(name=level.name, sources=_of_a_singleton(mine))
    keys = tuple(one.key for one in mine[0].levels)
    listing = next((verb.namespace.listed_by for verb in mine if verb.namespace.listed_by in verbs), "")
    parents = keys[:-1] if listing and _needs_more(verbs[listing], ()) else ()
    parent = others.get(level.parent) if parents else None
    if (
        not listing
        or _needs_more(verbs[listing], parents)
        or (parents and (parent is None or not parent.lists))
    ):
        return Kind(name=level.name, keys=keys)
    sources = [Source(verb=listing, type=qmftypes.element_type(verbs[listing].reply))]
    statistics = verbs.get(f"{level.name}.{_STATISTICS}")
    if statistics is not None and statistics.on_object and not _needs_more(statistics, keys):
        struct = _struct(statistics.reply)
        sources.append(Source(verb=statistics.name, type=struct, statistic=True))
    return Kind(name=level.name, keys=keys, lists=listing, parent=parent, sources=tuple(sources))


def _of_a_singleton(mine: Sequence[Verb]) -> tuple[Source, ...]:
    found = [
        Source(verb=verb.name, type=verb.reply, statistic=verb.method == _STATISTICS)
        for verb in mine
        if verb.kind is VerbKind.QUERY
        and not _needs_more(verb, ())
        and qmftypes.struct_type(verb.reply) is not None
        # Values that depend on arguments are not values of the object.
        and not verb.params
    ]
    return tuple(sorted(found, key=lambda source: source.statistic))


def _struct(type_: Any) -> Any:
    return type_ if qmftypes.struct_type(type_) is not None else qmftypes.element_type(type_)


def _needs_more(verb: Verb, given: Sequence[str]) -> bool:
    return any(param.required and param.name not in given for param in verb.params)
