"""Queries: objects, their ids, classes, their ids."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

from vdsm_bridge import Bridge, Context
from vdsm_bridge.errors import VdsmError
from vdsm_qmf import forms
from vdsm_qmf.agent.inventory import Inventory, Managed
from vdsm_qmf.agent.schemas import Schemas
from vdsm_qmf.failures import InvalidQuery
from vdsm_qmf.names import AgentName
from vdsm_qmf.objects import Kind
from vdsm_qmf.predicate import compile_predicate
from vdsm_qmf.schema import AGENT_CLASS, Schema

Answers = tuple[str, Iterator[Any]]

#: The kind of the agent's own object.
_AGENT: Final = Kind(name=AGENT_CLASS, key="")


class Queries:
    """Answers what QMF asks with `_query_request`."""

    def __init__(self, bridge: Bridge, schemas: Schemas, inventory: Inventory, name: AgentName) -> None:
        self._bridge = bridge
        self._schemas = schemas
        self._inventory = inventory
        self._name = str(name)

    def schema(self, body: Mapping[str, Any]) -> Answers | None:
        """The answer, if it is about the schema; the API is no secret.

        :raises InvalidQuery: it is no query
        """
        what = body.get("_what")
        if what not in ("SCHEMA", "SCHEMA_ID"):  # whatever it is: a list is not hashable
            return None
        classes = self._schemas.current().select(_map(body, "_schema_id"))
        if what == "SCHEMA_ID":
            return forms.SCHEMA_ID, (dict(one.id) for one in classes)
        return forms.SCHEMA, (one.to_map() for one in classes)

    def objects(self, body: Mapping[str, Any], context: Context) -> Answers:
        """The answer, if it is about objects.

        :raises VdsmError: it is no query, or the caller may not see the objects
        """
        what = body.get("_what")
        if what not in ("OBJECT", "OBJECT_ID"):
            raise InvalidQuery(reason=f"'{what}' is none of OBJECT, OBJECT_ID, SCHEMA, SCHEMA_ID")
        matches = compile_predicate(body.get("_where"))
        oid, wanted = _map(body, "_object_id"), _map(body, "_schema_id")
        schema = self._schemas.current()
        names = {one.name for one in schema.select(wanted) if one.kind == forms.DATA}
        found = self._by_id(oid, schema, context) if oid else self._by_class(names, schema, context)
        # Read as a whole before the first answer goes out: an error afterwards would come too late.
        chosen = [one for one in found if one.kind.name in names and matches(one.values)]
        if what == "OBJECT_ID":
            return forms.OBJECT_ID, (forms.object_id(one.name, self._name) for one in chosen)
        return forms.DATA, (self.described(one, schema) for one in chosen)

    def described(self, one: Managed, schema: Schema, *, deleted: int = 0) -> dict[str, Any]:
        """An object as a query or an indication tells it.

        :param deleted: when it was found gone, in nanoseconds since 1970
        """
        now = time.time_ns()
        return forms.managed_object(
            forms.object_id(one.name, self._name),
            schema.data_class(one.kind.name).id,
            one.values,
            created=one.created,
            updated=deleted or now,
            deleted=deleted,
        )

    def agent(self) -> Managed:
        """The agent's own object."""
        told = {"name": self._name, "revision": self._bridge.revision}
        return self._inventory.managed(_AGENT, AGENT_CLASS, told, {})

    def _by_id(self, oid: Mapping[str, Any], schema: Schema, context: Context) -> list[Managed]:
        name = oid.get("_object_name")
        if not isinstance(name, str) or oid.get("_agent_name", self._name) != self._name:
            return []
        if name == AGENT_CLASS:
            return [self.agent()]
        kind, id_ = split_name(name, schema)
        one = self._inventory.one(kind, id_, context) if kind is not None else None
        return [one] if one is not None else []

    def _by_class(self, names: set[str], schema: Schema, context: Context) -> list[Managed]:
        found: list[Managed] = [self.agent()] if AGENT_CLASS in names else []
        kinds = [schema.kinds[name] for name in sorted(names & schema.kinds.keys())]
        for kind in kinds:
            try:
                found += self._inventory.objects(kind, context)
            except VdsmError:
                # Who asks for everything gets what can be read; who asks for one class, why it cannot.
                if len(kinds) == 1:
                    raise
        return found


def split_name(name: str, schema: Schema) -> tuple[Kind | None, str]:
    """The kind and the id that the name of an object stands for; no kind if there is none of this name."""
    class_name, _, id_ = name.partition(":")
    return schema.kinds.get(class_name), id_


def _map(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = body.get(name)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise InvalidQuery(reason=f"{name} must be a map")
    return value
