"""The managed objects of the host with their present values."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from vdsm_bridge import Bridge, Context
from vdsm_bridge.errors import NotFound, VdsmError
from vdsm_bridge.types import builtins
from vdsm_qmf.schema.objects import Kind, Source


class Managed(NamedTuple):
    """One object. `created` is when it was first seen, in nanoseconds since 1970."""

    kind: Kind
    name: str
    properties: dict[str, Any]
    statistics: dict[str, Any]
    created: int

    @property
    def values(self) -> dict[str, Any]:
        """Properties and statistics, together as in QMF."""
        return {**self.statistics, **self.properties}


class Ages:
    """When each object was first seen by this agent, in nanoseconds since 1970."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._first: dict[str, dict[str, int]] = {}

    def first_seen(self, kind: Kind, name: str) -> int:
        """Return when an object was first seen; now, if it is new."""
        with self._lock:
            return self._first.setdefault(kind.name, {}).setdefault(name, time.time_ns())

    def keep(self, kind: Kind, names: set[str]) -> None:
        """Forget the objects of a kind that are not among `names`."""
        with self._lock:
            known = self._first.get(kind.name, {})
            for gone in known.keys() - names:
                del known[gone]


class Inventory:
    """Reads objects through the verbs of the bridge, with the access of the caller."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge
        self._ages = Ages()

    def objects(self, kind: Kind, context: Context, *, statistics: bool = True) -> Iterator[Managed]:
        """Yield the objects of one kind; those that can be read, before an error.

        :raises VdsmError: the caller may not list them, or listing fails
        """
        if not kind.keys:
            yield self._singleton(kind, context, statistics=statistics)
        elif kind.lists:
            for ids, record in self._listed(kind, context):
                yield self._managed(kind, ids, record, context, statistics=statistics)

    def one(self, kind: Kind, ids: Sequence[str], context: Context) -> Managed | None:
        """Return one object; None if it does not exist.

        :raises VdsmError: as `objects`
        """
        if not kind.keys:
            return self._singleton(kind, context, statistics=True)
        if not kind.lists or not ids:
            return None
        listed = self._listed_for(kind, ids[:-1], context) if kind.parent else self._listed(kind, context)
        for found, record in listed:
            if found == tuple(ids):
                return self._managed(kind, found, record, context, statistics=True)
        return None

    def with_statistics(self, one: Managed, context: Context) -> Managed:
        """Return an object that was read without its statistics, with them."""
        ids = [str(one.properties.get(key, "")) for key in one.kind.keys]
        return one._replace(statistics=self._statistics(one.kind, ids, context))

    def managed(
        self, kind: Kind, name: str, properties: dict[str, Any], statistics: dict[str, Any]
    ) -> Managed:
        """Return an object with the time when it was first seen."""
        return Managed(kind, name, properties, statistics, self._ages.first_seen(kind, name))

    def _singleton(self, kind: Kind, context: Context, *, statistics: bool) -> Managed:
        properties: dict[str, Any] = {}
        for source in kind.sources:
            if not source.statistic:
                # Of two values of one name the first counts, as in the schema.
                properties = {**self._values_or_none(source, {}, context), **properties}
        found = self._statistics(kind, (), context) if statistics else {}
        return self.managed(kind, kind.object_name(), properties, found)

    def _listed(self, kind: Kind, context: Context) -> Iterator[tuple[tuple[str, ...], Any]]:
        """Yield ids and record of each object; raise the error of one parent after the objects of others."""
        seen: set[str] = set()
        failure: VdsmError | None = None
        parents = [ids for ids, _ in self._listed(kind.parent, context)] if kind.parent is not None else [()]
        for parent in parents:
            try:
                listed = self._listed_for(kind, parent, context)
            except NotFound:
                if not parent:
                    raise
                continue  # the parent has gone meanwhile
            except VdsmError as error:
                failure = error
                continue
            seen |= {kind.object_name(ids) for ids, _ in listed}
            yield from listed
        if failure is not None:
            raise failure
        self._ages.keep(kind, seen)

    def _listed_for(
        self, kind: Kind, parent: Sequence[str], context: Context
    ) -> list[tuple[tuple[str, ...], Any]]:
        given = dict(zip(kind.keys, parent, strict=False))
        listing = builtins(self._bridge.call(kind.lists, given, context))
        if isinstance(listing, Mapping):
            return [((*parent, str(id_)), record) for id_, record in listing.items()]
        found = [(kind.ids_of(record, parent), record) for record in listing or ()]
        return [(ids, record) for ids, record in found if ids]

    def _managed(
        self, kind: Kind, ids: Sequence[str], record: Any, context: Context, *, statistics: bool
    ) -> Managed:
        properties = dict(record) if isinstance(record, Mapping) else {}
        properties.update(zip(kind.keys, ids, strict=True))
        found = self._statistics(kind, ids, context) if statistics else {}
        return self.managed(kind, kind.object_name(ids), properties, found)

    def _statistics(self, kind: Kind, ids: Sequence[str], context: Context) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for source in kind.sources:
            if source.statistic:
                found.update(self._values_or_none(source, dict(zip(kind.keys, ids, strict=True)), context))
        return found

    def _values_or_none(self, source: Source, arguments: dict[str, Any], context: Context) -> dict[str, Any]:
        """Return the values of a query; none if it fails: the rest of the object is still of use."""
        try:
            found = builtins(self._bridge.call(source.verb, arguments, context))
        except VdsmError:
            return {}
        if isinstance(found, list):
            found = found[0] if found else {}
        return dict(found) if isinstance(found, Mapping) else {}
