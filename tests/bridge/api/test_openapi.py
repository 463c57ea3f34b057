"""The OpenAPI document is complete and correct."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from vdsm_bridge.api import openapi
from vdsm_bridge.api.routes import derive
from vdsm_bridge.testing import TestHost
from vdsm_core.deprecated import VERBS, Deprecation
from vdsm_core.errors import InvalidRequest, NotFound, VdsmError
from vdsm_core.types import to_json

jsonschema_rs = pytest.importorskip("jsonschema_rs", reason="it comes with schemathesis")


class Refusal(msgspec.Struct):
    """A refusal of the wire in this test."""

    slug: str


def status_of(error: type[VdsmError]) -> int:
    return 404 if issubclass(error, NotFound) else 422 if issubclass(error, InvalidRequest) else 500


WIRE = openapi.Wire(
    root="/here",
    status_of=status_of,
    framing={"any": (), "body": (), "condition": ()},
    parameters={"list": ({"name": "limit", "in": "query", "schema": {"type": "integer"}},)},
    problem=Refusal,
    pages={},
)


@pytest.fixture
def document() -> dict[str, Any]:
    """The document of a host with the sample."""
    with TestHost() as host:
        made: dict[str, Any] = json.loads(
            to_json(openapi.document(derive(host.bridge.verbs).routes, WIRE, version="1.2.3"))
        )
        return made


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for operation in item.values():
            yield path, operation


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if "$ref" in node:
            yield node["$ref"]
        node = list(node.values())
    if isinstance(node, list):
        for inner in node:
            yield from references(inner)


def test_references_lead_somewhere(document: dict[str, Any]) -> None:
    """Every reference has its target, and every schema is one."""
    schemas = document["components"]["schemas"]
    assert {ref.rpartition("/")[2] for ref in references(document)} <= set(schemas)
    for name in schemas:
        whole = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
        jsonschema_rs.validator_for(whole)


def test_operations_are_complete(document: dict[str, Any]) -> None:
    """Each operation has what a reader and a generator need; path parameters are those of the path."""
    seen = set()
    for path, operation in operations(document):
        assert operation["operationId"] not in seen
        seen.add(operation["operationId"])
        assert operation["summary"]
        assert operation["x-vdsm-access"] in {"monitor", "operator", "admin"}
        in_path = {p["name"] for p in operation["parameters"] if p["in"] == "path"}
        assert in_path == {part[1:-1] for part in path.split("/") if part.startswith("{")}
        assert any(code.startswith("2") for code in operation["responses"])
        assert {"422", "500"} <= set(operation["responses"])


def test_declarations_arrive(document: dict[str, Any]) -> None:
    """Types, defaults, descriptions and errors of a declaration stand in its operation."""
    by_id = {operation["operationId"]: operation for _, operation in operations(document)}
    burn = by_id["Lamp.burn"]
    hours = burn["requestBody"]["content"]["application/json"]["schema"]["properties"]["hours"]
    assert (hours["minimum"], hours["maximum"], hours["default"]) == (1, 1000, 3)
    assert hours["description"] == "How many."
    assert burn["requestBody"]["required"] is False
    assert "`no-such-lamp`" in burn["responses"]["404"]["description"]
    assert "Location" in burn["responses"]["202"]["headers"]
    assert [p["name"] for p in by_id["Lamp.list"]["parameters"]] == ["limit"]
    create = by_id["Lamp.create"]["requestBody"]["content"]["application/json"]["schema"]
    assert create["properties"].keys() >= {"lampID", "name"}
    assert create.get("additionalProperties", True) is not False
    assert by_id["Task/list"]["responses"]["200"]["content"]["application/json"]["schema"]["type"] == "array"
    assert {error["slug"] for error in document["x-vdsm-errors"]} >= {"no-such-lamp", "unexpected-error"}


def test_what_is_deprecated_is_marked(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """By OpenAPI's own mark, which generators of clients know."""
    monkeypatch.setitem(VERBS, "Room.add", Deprecation("0.2", "0.4", "count"))
    made = request.getfixturevalue("document")
    marked = {each["x-vdsm-verb"] for _, each in operations(made) if each.get("deprecated")}
    assert marked == {"Room.add"}
