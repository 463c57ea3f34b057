"""What the managed objects of a host are: worked out from the verbs that list and describe them.

A namespace with a key and a listing verb has an object for each entry of the list: machines, tasks. A
namespace without a key is one object: the host. What the listing returns are the properties; what
`getStats` returns, the statistics.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from vdsm_bridge import Kind as VerbKind
from vdsm_bridge import Verb
from vdsm_qmf import qmftypes

_STATISTICS: Final = "getStats"


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """A query that tells values of objects. `type` is the struct of one object's values."""

    verb: str
    type: Any
    statistic: bool = False


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """The objects of one namespace. `lists` names the query that lists them, where there are several."""

    name: str
    key: str
    lists: str = ""
    sources: tuple[Source, ...] = ()

    def object_name(self, id_: str) -> str:
        """The QMF name of one object; of the only one, if there is no key."""
        return f"{self.name}:{id_}" if self.key else self.name

    def id_of(self, record: Any) -> str:
        """The id of one entry of the listing; empty if it tells none."""
        if not isinstance(record, Mapping):
            return str(record)
        # VDSM spells ids in several ways: vmId, vmID.
        wanted = {self.key.lower(), "id", "uuid"}
        return next((str(value) for name, value in record.items() if name.lower() in wanted), "")


def kinds(verbs: Mapping[str, Verb]) -> dict[str, Kind]:
    """The objects of each namespace, by its name."""
    found: dict[str, list[Verb]] = {}
    for verb in verbs.values():
        found.setdefault(verb.namespace.name, []).append(verb)
    return {name: _kind(name, mine, verbs) for name, mine in sorted(found.items())}


def _kind(name: str, mine: Sequence[Verb], verbs: Mapping[str, Verb]) -> Kind:
    key = next((verb.namespace.key for verb in mine if verb.namespace.key), "")
    if not key:
        return Kind(name=name, key="", sources=_of_a_singleton(mine))
    listing = next((verb.namespace.listed_by for verb in mine if verb.namespace.listed_by in verbs), "")
    if not listing or _needs_more(verbs[listing], ()):
        return Kind(name=name, key=key)
    sources = [Source(verb=listing, type=qmftypes.element_type(verbs[listing].reply))]
    statistics = verbs.get(f"{name}.{_STATISTICS}")
    if statistics is not None and statistics.on_object and not _needs_more(statistics, (key,)):
        struct = _struct(statistics.reply)
        sources.append(Source(verb=statistics.name, type=struct, statistic=True))
    return Kind(name=name, key=key, lists=listing, sources=tuple(sources))


def _of_a_singleton(mine: Sequence[Verb]) -> tuple[Source, ...]:
    found = [
        Source(verb=verb.name, type=verb.reply, statistic=verb.method == _STATISTICS)
        for verb in mine
        if verb.kind is VerbKind.QUERY
        and not _needs_more(verb, ())
        and qmftypes.struct_type(verb.reply) is not None
        # Its values depend on what it is given, so they are none of the object's.
        and not verb.params
    ]
    return tuple(sorted(found, key=lambda source: source.statistic))


def _struct(type_: Any) -> Any:
    return type_ if qmftypes.struct_type(type_) is not None else qmftypes.element_type(type_)


def _needs_more(verb: Verb, given: Sequence[str]) -> bool:
    return any(param.required and param.name not in given for param in verb.params)
