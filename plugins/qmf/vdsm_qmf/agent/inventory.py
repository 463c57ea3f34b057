"""The managed objects of the host with their present values."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from vdsm_bridge import Bridge, Context
from vdsm_bridge.errors import VdsmError
from vdsm_bridge.types import builtins
from vdsm_qmf.objects import Kind, Source


class Managed(NamedTuple):
    """One object: what it is, how it is, and when it was first seen, in nanoseconds since 1970."""

    kind: Kind
    name: str
    properties: dict[str, Any]
    statistics: dict[str, Any]
    created: int

    @property
    def values(self) -> dict[str, Any]:
        """Both, as QMF wants them."""
        return {**self.statistics, **self.properties}


class Ages:
    """When each object was first seen by this agent, in nanoseconds since 1970."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._first: dict[str, dict[str, int]] = {}

    def first_seen(self, kind: Kind, name: str) -> int:
        """The time of an object; now, if this is the first time."""
        with self._lock:
            return self._first.setdefault(kind.name, {}).setdefault(name, time.time_ns())

    def keep(self, kind: Kind, names: set[str]) -> None:
        """These are all that are there of one kind: the others are forgotten."""
        with self._lock:
            known = self._first.get(kind.name, {})
            for gone in known.keys() - names:
                del known[gone]


class Inventory:
    """Reads objects through the verbs of the bridge, with the access of whoever asks."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge
        self._ages = Ages()

    def objects(self, kind: Kind, context: Context, *, statistics: bool = True) -> Iterator[Managed]:
        """The objects of one kind.

        :raises VdsmError: the caller may not list them, or the host cannot
        """
        if not kind.key:
            yield self._singleton(kind, context, statistics=statistics)
        elif kind.lists:
            for id_, record in self._listed(kind, context):
                yield self._managed(kind, id_, record, context, statistics=statistics)

    def one(self, kind: Kind, id_: str, context: Context) -> Managed | None:
        """One object; None if it is not there.

        :raises VdsmError: as `objects`
        """
        if not kind.key:
            return self._singleton(kind, context, statistics=True)
        if not kind.lists:
            return None
        for found, record in self._listed(kind, context):
            if found == id_:
                return self._managed(kind, id_, record, context, statistics=True)
        return None

    def with_statistics(self, one: Managed, context: Context) -> Managed:
        """An object that was read without its statistics, with them."""
        id_ = str(one.properties.get(one.kind.key, ""))
        return one._replace(statistics=self._statistics(one.kind, id_, context))

    def managed(
        self, kind: Kind, name: str, properties: dict[str, Any], statistics: dict[str, Any]
    ) -> Managed:
        """An object with its age."""
        return Managed(kind, name, properties, statistics, self._ages.first_seen(kind, name))

    def _singleton(self, kind: Kind, context: Context, *, statistics: bool) -> Managed:
        properties: dict[str, Any] = {}
        for source in kind.sources:
            if not source.statistic:
                # Of two that tell the same, the first is believed, as in the schema.
                properties = {**self._quietly(source, {}, context), **properties}
        told = self._statistics(kind, "", context) if statistics else {}
        return self.managed(kind, kind.object_name(""), properties, told)

    def _listed(self, kind: Kind, context: Context) -> list[tuple[str, Any]]:
        listing = builtins(self._bridge.call(kind.lists, {}, context))
        if isinstance(listing, Mapping):
            found = [(str(id_), record) for id_, record in listing.items()]
        else:
            found = [(kind.id_of(record), record) for record in listing or ()]
        self._ages.keep(kind, {kind.object_name(id_) for id_, _ in found})
        return found

    def _managed(self, kind: Kind, id_: str, record: Any, context: Context, *, statistics: bool) -> Managed:
        properties = dict(record) if isinstance(record, Mapping) else {}
        properties[kind.key] = id_
        told = self._statistics(kind, id_, context) if statistics else {}
        return self.managed(kind, kind.object_name(id_), properties, told)

    def _statistics(self, kind: Kind, id_: str, context: Context) -> dict[str, Any]:
        told: dict[str, Any] = {}
        for source in kind.sources:
            if source.statistic:
                told.update(self._quietly(source, {kind.key: id_} if kind.key else {}, context))
        return told

    def _quietly(self, source: Source, arguments: dict[str, Any], context: Context) -> dict[str, Any]:
        """What a query tells; nothing if it cannot now, or not this caller: the rest of the object can."""
        try:
            told = builtins(self._bridge.call(source.verb, arguments, context))
        except VdsmError:
            return {}
        if isinstance(told, list):
            told = told[0] if told else {}
        return dict(told) if isinstance(told, Mapping) else {}
