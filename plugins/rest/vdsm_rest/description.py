"""This binding's part of the OpenAPI document: headers, query options, errors, resources."""

from __future__ import annotations

from typing import Any, Final

from vdsm_bridge.api.openapi import Wire
from vdsm_rest import events, query_options
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
from vdsm_rest.router import ROOT


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
_PREFER: Final = _header("Prefer", "`wait=N`: time limit of the call in seconds (RFC 7240).")
_TIMEOUT: Final = _header(
    "Request-Timeout",
    "Time limit of the call in seconds, fractions included; overrides `Prefer`.",
    pattern=r"^[0-9]{1,6}(\.[0-9]{1,9})?$",
)
_REQUEST_ID: Final = _header(
    "Idempotency-Key",
    "Id of the request. Sent again with its id, a request returns the first reply, and is not repeated.",
    pattern=r"^[\x21-\x7e]+$",
    minLength=1,
    maxLength=255,
)
_FIELDS: Final = _query(
    query_options.FIELDS,
    "Members to return; dotted, separated by commas.",
    {"type": "string", "pattern": query_options.FIELDS_PATTERN},
)
_FILTER: Final = _query(
    query_options.FILTER,
    "Condition on the items to return: `member:value`; also `!:` not equal, `>:` at least, `<:` at most, "
    "`~:` contains. Repeated conditions must all match.",
    {"type": "array", "items": {"type": "string", "pattern": query_options.FILTER_PATTERN}},
)
_LIMIT: Final = _query(
    query_options.LIMIT, "Most items to return.", {"type": "integer", "minimum": 1, "maximum": 2**31 - 1}
)
_OFFSET: Final = _query(
    query_options.OFFSET, "Number of items to skip.", {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}
)
_IF_MATCH: Final = _header("If-Match", "Refuse the request unless the item has this entity tag.")
_IF_NONE_MATCH: Final = _header("If-None-Match", "Reply 304 if the entity tag is still this one.")


def _refusals(statuses: dict[int, str]) -> dict[str, Any]:
    refusal = {"content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}}
    return {str(status): {"description": text, **refusal} for status, text in statuses.items()}


def _page(summary: str, content: dict[str, Any]) -> dict[str, Any]:
    statuses = {401: "Unauthorized", 403: "Forbidden", 406: "Not Acceptable", 412: "Precondition Failed"}
    return {
        "get": {
            "summary": summary,
            "tags": ["API"],
            "operationId": "api" if summary.startswith("The entry") else "openapi",
            "responses": {
                "200": {"description": "OK", "content": {"application/json": {"schema": content}}},
                "304": {"description": "Not changed: the entity tag is that of `If-None-Match`."},
                **_refusals(statuses),
            },
        }
    }


#: The parameters are those of `vdsm_rest.events.Wanted`.
_EVENTS: Final = {
    "get": {
        "summary": "Events of the host, as server-sent events.",
        "description": (
            "`id` is the event's number, `event` its kind as `component.operation`, `data` the event as one "
            "JSON object, see `Event`. Missing events are announced by `events.gap`: read the state again. A "
            "client that reconnects sends the last number that it received and misses nothing; a stream "
            "without events repeats the number, with a comment as heartbeat.\n\n"
            "With `snapshot` the stream begins with the current states: events without an `id`, each valid "
            "at its number; no later event is older.\n\n"
            "The stream of a client that does not read is closed."
        ),
        "tags": ["API"],
        "operationId": "events",
        "parameters": [
            _query(
                "filter",
                "An event id in which `*` stands for any text within a part; omitted parts match everything. "
                "Of several, one must match.",
                {
                    "type": "array",
                    "maxItems": events.MOST_FILTERS,
                    "items": {"type": "string", "maxLength": events.LONGEST_FILTER},
                },
            ),
            _query(
                "after",
                "Begin after the event of this number; by default with the next event.",
                {"type": "integer", "minimum": 0, "maximum": 2**63 - 1},
            ),
            _query(
                "snapshot",
                "Begin with the current states; ignored if a number is given.",
                {"type": "boolean"},
            ),
            _header("Last-Event-ID", "As `after`, which it overrides.", pattern="^[0-9]{1,18}$"),
        ],
        "responses": {
            "200": {
                "description": "The stream. It ends with the connection.",
                "content": {"text/event-stream": {"schema": {"type": "string"}}},
            },
            **_refusals(
                {
                    400: "Bad Request",
                    401: "Unauthorized",
                    403: "Forbidden",
                    406: "Not Acceptable",
                    422: "Unprocessable Entity",
                    503: "`too-many-streams`; try again after `Retry-After` seconds.",
                }
            ),
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

#: This binding, as `vdsm_bridge.api.openapi` needs it.
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
        ROOT: _page("The entry point: product, capabilities, links to all parts.", _ROOT_SCHEMA),
        events.PATH: _EVENTS,
        f"{ROOT}/openapi.json": _page("This document.", {"type": "object"}),
    },
)
