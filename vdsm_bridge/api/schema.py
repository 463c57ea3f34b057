"""The types of the API as JSON Schema (2020-12)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from vdsm_core.secret import Secret
from vdsm_core.types import Open


def components(
    types: Iterable[Any], ref_template: str = "#/$defs/{name}"
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the schemas of several types, and the named schemas that they refer to."""
    nested: dict[str, Any] = {}

    def schema_hook(type_: Any) -> dict[str, Any]:
        if isinstance(type_, type) and issubclass(type_, Open):
            (schema,), inner = components([type_.inner], ref_template)
            body = inner.pop(type_.inner.__name__) if "$ref" in schema else schema
            nested.update(inner)
            return {key: value for key, value in body.items() if key != "additionalProperties"}
        if isinstance(type_, type) and issubclass(type_, Secret):
            return {"type": "string", "format": "password", "writeOnly": True, "maxLength": type_.max_length}
        raise NotImplementedError(f"no schema for {type_}")

    schemas, definitions = msgspec.json.schema_components(
        types, schema_hook=schema_hook, ref_template=ref_template
    )
    return list(schemas), {**nested, **definitions}


def struct_schema(type_: type[msgspec.Struct]) -> dict[str, Any]:
    """Return the schema of a struct, with its members at the top instead of a reference to itself."""
    schema = type_schema(type_)
    definitions = dict(schema.get("$defs", {}))
    own = definitions.pop(schema.get("$ref", "").rpartition("/")[2], {})
    return {**own, "$defs": definitions} if definitions else own


def type_schema(type_: Any) -> dict[str, Any]:
    """Return the schema of one type, with its references under `$defs`."""
    if type_ is None or type_ is type(None):
        return {"type": "null"}
    (schema,), definitions = components([type_])
    return {**schema, "$defs": definitions} if definitions else schema
