"""What this binding adds to the OpenAPI document: headers, views, its own errors, its own resources."""

from __future__ import annotations

from typing import Any, Final

from vdsm_bridge.openapi import Wire
from vdsm_rest import views
from vdsm_rest.problems import (
    BodyTooLarge,
    ForeignHost,
    HeaderTooLarge,
    MalformedRequest,
    NotAcceptable,
    PreconditionFailed,
    Problem,
    UnsupportedMediaType,
    UriTooLong,
    status_of,
)
from vdsm_rest.table import ROOT


def _header(name: str, description: str, **schema: Any) -> dict[str, Any]:
    return {
        "name": name,
        "in": "header",
        "required": False,
        "description": description,
        "schema": {"type": "string", **schema},
    }


def _query(name: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "description": description, "schema": schema}


_FLOW_ID: Final = _header("FlowID", "A tag for the log.", pattern=r"^[\x20-\x7e]*$", maxLength=128)
_PREFER: Final = _header("Prefer", "`wait=N`: give up after N seconds (RFC 7240).")
_TIMEOUT: Final = _header(
    "Request-Timeout",
    "Give up after so many seconds; a fraction is possible, and it goes before `Prefer`.",
    pattern=r"^[0-9]{1,6}(\.[0-9]{1,9})?$",
)
_REQUEST_ID: Final = _header(
    "Idempotency-Key",
    "The request's id: sent again with the same id, the first answer comes back and nothing is done twice.",
    pattern=r"^[\x21-\x7e]+$",
    minLength=1,
    maxLength=255,
)
_FIELDS: Final = _query(
    views.FIELDS,
    "Show these members only; dotted, separated by commas.",
    {"type": "string", "pattern": views.FIELDS_PATTERN},
)
_FILTER: Final = _query(
    views.FILTER,
    "Show what fits only: `member:value`; also `!:` not equal, `>:` at least, `<:` at most, `~:` contains. "
    "Repeated, all must fit.",
    {"type": "array", "items": {"type": "string", "pattern": views.FILTER_PATTERN}},
)
_LIMIT: Final = _query(
    views.LIMIT, "Show so many at the most.", {"type": "integer", "minimum": 1, "maximum": 2**31 - 1}
)
_OFFSET: Final = _query(
    views.OFFSET, "Leave out so many first.", {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}
)
_IF_MATCH: Final = _header("If-Match", "Go on only if the item still has this entity tag.")
_IF_NONE_MATCH: Final = _header("If-None-Match", "Answer 304 if the entity tag is still this one.")


def _page(summary: str, content: dict[str, Any]) -> dict[str, Any]:
    refusal = {"content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}}
    statuses = {401: "Unauthorized", 403: "Forbidden", 406: "Not Acceptable", 412: "Precondition Failed"}
    return {
        "get": {
            "summary": summary,
            "tags": ["API"],
            "operationId": "api" if summary.startswith("The entry") else "openapi",
            "responses": {
                "200": {"description": "OK", "content": {"application/json": {"schema": content}}},
                "304": {"description": "It is as `If-None-Match` says."},
                **{str(status): {"description": text, **refusal} for status, text in statuses.items()},
            },
        }
    }


_ROOT_SCHEMA: Final = {
    "type": "object",
    "required": ["product_info", "capabilities", "links"],
    "properties": {
        "product_info": {"type": "object"},
        "capabilities": {"type": "array", "items": {"type": "string"}},
        "links": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["rel", "href"],
                "properties": {"rel": {"type": "string"}, "href": {"type": "string"}},
            },
        },
    },
}

#: This binding, as `vdsm_bridge.openapi` needs it.
WIRE: Final = Wire(
    root=ROOT,
    status_of=status_of,
    framing={
        "any": (MalformedRequest, NotAcceptable, UriTooLong, HeaderTooLarge, ForeignHost),
        "body": (BodyTooLarge, UnsupportedMediaType),
        "condition": (PreconditionFailed,),
    },
    parameters={
        "any": (_FLOW_ID, _PREFER, _TIMEOUT),
        "change": (_REQUEST_ID,),
        "read": (_IF_NONE_MATCH,),
        "item": (_IF_MATCH,),
        "list": (_FIELDS, _FILTER, _LIMIT, _OFFSET),
        "get": (_FIELDS,),
    },
    problem=Problem,
    pages={
        ROOT: _page("The entry point: what this is, what it can do, where its parts are.", _ROOT_SCHEMA),
        f"{ROOT}/openapi.json": _page("This document.", {"type": "object"}),
    },
)
