"""JSON Schemas of the types."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from vdsm_bridge.api.schema import components, struct_schema, type_schema
from vdsm_bridge.testing import TestHost
from vdsm_core.types import Open, Request


class Disk(Request, frozen=True):
    """A disk."""

    path: str
    parts: list[Part] = []


class Part(Request, frozen=True):
    """A part of a disk."""

    size: int


class Params(Request, frozen=True):
    """The known members."""

    disks: list[Disk]


class OpenParams(Open[Params]):
    """An open dictionary with structures inside."""


def refs(schema: Any) -> set[str]:
    """Every reference in a schema."""
    if isinstance(schema, dict):
        found = {schema["$ref"]} if "$ref" in schema else set()
        return found.union(*map(refs, schema.values()))
    return set().union(*map(refs, schema)) if isinstance(schema, list) else set()


@pytest.mark.parametrize("template", ["#/$defs/{name}", "#/components/schemas/{name}"])
def test_no_reference_leads_nowhere(template: str) -> None:
    """Also those inside of an open dictionary have what they refer to."""
    schemas, definitions = components([OpenParams, list[OpenParams]], template)
    known = {template.format(name=name) for name in definitions}
    assert refs([schemas, definitions]) <= known


def test_an_open_dictionary_takes_more_than_it_knows() -> None:
    """Its known members are described, and others are not forbidden."""
    schema = type_schema(OpenParams)
    assert "disks" in schema["properties"]
    assert refs(schema) <= {f"#/$defs/{name}" for name in schema.get("$defs", {})}
    assert schema.get("additionalProperties", True)


def test_no_result() -> None:
    """Nothing is null."""
    assert type_schema(None) == type_schema(type(None)) == {"type": "null"}


def test_every_verb_has_schemas(vdsm_host: TestHost) -> None:
    """The schemas of all arguments and replies can be made, and no reference in one of them leads nowhere."""
    for verb in vdsm_host.bridge.verbs.values():
        for type_ in (verb.arguments, verb.reply):
            schema = type_schema(type_)
            known = {f"#/$defs/{name}" for name in schema.get("$defs", {})}
            assert refs(schema) <= known, verb.name


def test_what_has_no_schema_is_named() -> None:
    """A type that no protocol can carry is an error that names it."""

    class Thing(msgspec.Struct):
        what: object

    with pytest.raises((NotImplementedError, TypeError)):
        type_schema(complex)


def test_a_struct_shows_its_members_at_the_top() -> None:
    """Who reads one struct's schema need not follow a reference to it; others stay under `$defs`."""
    schema = struct_schema(Params)
    assert schema["properties"]["disks"]["items"] == {"$ref": "#/$defs/Disk"}
    assert set(schema["$defs"]) == {"Disk", "Part"}
    assert struct_schema(Part)["properties"]["size"]["type"] == "integer"
    assert "$defs" not in struct_schema(Part)
