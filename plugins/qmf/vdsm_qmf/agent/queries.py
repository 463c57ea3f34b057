"""Queries for objects, classes, and the ids of both."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

from vdsm_bridge import Bridge, Context
from vdsm_bridge.errors import VdsmError
from vdsm_qmf.agent.inventory import Inventory, Managed
from vdsm_qmf.agent.schema_cache import SchemaCache
from vdsm_qmf.protocol import bodies
from vdsm_qmf.protocol.errors import InvalidQuery
from vdsm_qmf.protocol.names import AgentName
from vdsm_qmf.protocol.predicate import compile_predicate
from vdsm_qmf.schema.classes import AGENT_CLASS, Schema
from vdsm_qmf.schema.objects import Kind

Answers = tuple[str, Iterator[Any]]

#: The kind of the agent's own object.
_AGENT: Final = Kind(name=AGENT_CLASS)


class Queries:
    """Answers `_query_request`."""

    def __init__(self, bridge: Bridge, schemas: SchemaCache, inventory: Inventory, name: AgentName) -> None:
        self._bridge = bridge
        self._schemas = schemas
        self._inventory = inventory
        self._name = str(name)

    def schema(self, body: Mapping[str, Any]) -> Answers | None:
        """Answer a query for classes, for any caller: the API is not secret. None: it is a query for objects.

        :raises InvalidQuery: the query is malformed
        """
        what = body.get("_what")
        if what not in ("SCHEMA", "SCHEMA_ID"):  # a tuple: the value may not be hashable
            return None
        classes = self._schemas.current().select(_map(body, "_schema_id"))
        if what == "SCHEMA_ID":
            return bodies.SCHEMA_ID, (dict(one.id) for one in classes)
        return bodies.SCHEMA, (one.to_map() for one in classes)

    def objects(self, body: Mapping[str, Any], context: Context) -> Answers:
        """Answer a query for objects.

        :raises VdsmError: the query is malformed, or the caller may not see the objects
        """
        what = body.get("_what")
        if what not in ("OBJECT", "OBJECT_ID"):
            raise InvalidQuery(reason=f"'{what}' is none of OBJECT, OBJECT_ID, SCHEMA, SCHEMA_ID")
        matches = compile_predicate(body.get("_where"))
        oid, wanted = _map(body, "_object_id"), _map(body, "_schema_id")
        schema = self._schemas.current()
        names = {one.name for one in schema.select(wanted) if one.kind == bodies.DATA}
        found = self._by_id(oid, schema, context) if oid else self._by_class(names, schema, context)
        # Read all before the first answer is sent: after that an error could not be reported.
        chosen = [one for one in found if one.kind.name in names and matches(one.values)]
        if what == "OBJECT_ID":
            return bodies.OBJECT_ID, (bodies.object_id(one.name, self._name) for one in chosen)
        return bodies.DATA, (self.describe(one, schema) for one in chosen)

    def describe(self, one: Managed, schema: Schema, *, deleted: int = 0) -> dict[str, Any]:
        """Return the body of an object, for an answer or an indication.

        :param deleted: when the object was found deleted, in nanoseconds since 1970
        """
        now = time.time_ns()
        return bodies.managed_object(
            bodies.object_id(one.name, self._name),
            schema.data_class(one.kind.name).id,
            one.values,
            created=one.created,
            updated=deleted or now,
            deleted=deleted,
        )

    def agent(self) -> Managed:
        """Return the agent's own object."""
        properties = {"name": self._name, "revision": self._bridge.revision}
        return self._inventory.managed(_AGENT, AGENT_CLASS, properties, {})

    def _by_id(self, oid: Mapping[str, Any], schema: Schema, context: Context) -> list[Managed]:
        name = oid.get("_object_name")
        if not isinstance(name, str) or oid.get("_agent_name", self._name) != self._name:
            return []
        if name == AGENT_CLASS:
            return [self.agent()]
        kind, ids = split_name(name, schema)
        one = self._inventory.one(kind, ids, context) if kind is not None else None
        return [one] if one is not None else []

    def _by_class(self, names: set[str], schema: Schema, context: Context) -> list[Managed]:
        found: list[Managed] = [self.agent()] if AGENT_CLASS in names else []
        kinds = [schema.kinds[name] for name in sorted(names & schema.kinds.keys())]
        for kind in kinds:
            try:
                found += self._inventory.objects(kind, context)
            except VdsmError:
                # A query for all classes gets what can be read; one for a single class gets the reason.
                if len(kinds) == 1:
                    raise
        return found


def split_name(name: str, schema: Schema) -> tuple[Kind | None, tuple[str, ...]]:
    """Return the kind and the ids that the name of an object stands for; no kind if there is none."""
    class_name, _, rest = name.partition(":")
    kind = schema.kinds.get(class_name)
    return kind, () if kind is None else kind.ids_in(rest)


def _map(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = body.get(name)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise InvalidQuery(reason=f"{name} must be a map")
    return value
