"""The API as one OpenAPI 3.1 document, from the routes and the declarations behind them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

import msgspec

from vdsm_bridge.api import schema
from vdsm_bridge.api.routes import BY_NAME, Argument, Place, Route
from vdsm_bridge.api.verb import Kind, Verb
from vdsm_core import deprecated, errors
from vdsm_core.errors import VdsmError
from vdsm_core.types import builtins

_REF: Final = "#/components/schemas/{name}"
_JSON: Final = "application/json"
_PROBLEM: Final = "application/problem+json"

#: Errors of any verb, besides those that it declares.
_ANY_VERB: Final[tuple[type[VdsmError], ...]] = (
    errors.InvalidRequest,
    errors.Unauthenticated,
    errors.AccessRefused,
    errors.ResourceExhausted,
    errors.Unavailable,
    errors.DeadlineExceeded,
    errors.OperationFailed,
    errors.UnexpectedError,
)


class Wire(msgspec.Struct, frozen=True, kw_only=True):
    """What the binding that serves the document adds to the declarations.

    :ivar root: prefix of all paths
    :ivar status_of: returns the status code of an error
    :ivar framing: errors of the protocol itself: of "any" route, of one with a "body", with a "condition"
    :ivar problem: the type of an error on the wire
    """

    root: str
    status_of: Callable[[type[VdsmError]], int]
    framing: Mapping[str, Sequence[type[VdsmError]]]
    #: Parameters by the routes that have them: "any", "change", "read", "item", "list", "get".
    parameters: Mapping[str, Sequence[dict[str, Any]]]
    problem: type[msgspec.Struct]
    #: Operations beside the verbs, by path.
    pages: Mapping[str, dict[str, Any]]


def document(routes: Sequence[Route], wire: Wire, *, version: str) -> dict[str, Any]:
    """Return the document. `version` is the product's."""
    types = list(dict.fromkeys(_types(routes)))
    schemas, components = schema.components([wire.problem, *types], _REF)
    writer = _Writer(wire, dict(zip(types, schemas[1:], strict=True)), problem=schemas[0], routes=routes)
    paths: dict[str, dict[str, Any]] = {path: dict(item) for path, item in wire.pages.items()}
    for route in routes:
        paths.setdefault(wire.root + route.path, {})[route.method.lower()] = writer.operation(route)
    namespaces = {route.namespace.name: route.namespace for route in routes}
    return {
        "openapi": "3.1.0",
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "info": {
            "title": "vdsm",
            "version": version,
            "summary": "The management API of one KVM host",
            "license": {"name": "GPL-2.0-or-later", "identifier": "GPL-2.0-or-later"},
        },
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}, {}],
        "tags": [
            {"name": name, "description": _first_line(namespaces[name].__doc__)}
            for name in sorted(namespaces)
        ],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": (
                        "A token of this host. Not needed on the unix socket, nor on loopback if the "
                        "configuration admits callers there."
                    ),
                }
            },
        },
        "x-vdsm-errors": [_error_entry(error, wire.status_of) for error in _declared(routes)],
    }


class _Writer:
    """Writes operations; has the schemas of all types."""

    def __init__(
        self,
        wire: Wire,
        schemas: Mapping[Any, dict[str, Any]],
        *,
        problem: dict[str, Any],
        routes: Sequence[Route],
    ) -> None:
        self._wire = wire
        self._schemas = schemas
        self._problem = problem
        self._items = {route.path for route in routes if route.part == "get"}

    def operation(self, route: Route) -> dict[str, Any]:
        """Return one operation object."""
        verb = route.verb
        operation: dict[str, Any] = {
            "operationId": route.operation,
            "tags": [route.namespace.name],
            "summary": verb.summary,
            "parameters": self._parameters(route),
            "responses": {**self._success(route), **self._errors(route)},
            "x-vdsm-verb": verb.name,
            "x-vdsm-kind": verb.kind.value,
            "x-vdsm-access": verb.access,
            "x-vdsm-since": verb.declaration.since,
            "x-vdsm-plugin": verb.plugin,
        }
        if verb.name in deprecated.VERBS:
            operation["deprecated"] = True
        if verb.description:
            operation["description"] = verb.description
        if route.method == "POST" and (body := self._body(route)):
            operation["requestBody"] = body
        return operation

    def _parameters(self, route: Route) -> list[dict[str, Any]]:
        own = [
            self._parameter(argument)
            for argument in route.arguments
            if argument.place in {Place.PATH, Place.QUERY}
        ]
        taken = {parameter["name"] for parameter in own}
        return [*own, *(extra for extra in self._extras(route) if extra["name"] not in taken)]

    def _extras(self, route: Route) -> Iterable[dict[str, Any]]:
        extras = self._wire.parameters
        yield from extras.get("any", ())
        if route.verb.kind is not Kind.QUERY:
            yield from extras.get("change", ())
        if route.method == "GET":
            yield from extras.get("read", ())
        elif route.item in self._items:
            yield from extras.get("item", ())
        yield from extras.get(route.part, ())

    def _parameter(self, argument: Argument) -> dict[str, Any]:
        param = argument.param
        described: dict[str, Any] = {
            "name": param.name,
            "in": argument.place.value,
            "required": argument.place is Place.PATH or param.required,
        }
        if param.doc:
            described["description"] = _sentence(param.doc)
        value = self._with_default(argument)
        if argument.shape in {"object", "any"}:
            described["content"] = {_JSON: {"schema": value}}
        else:
            described["schema"] = value
        return described

    def _with_default(self, argument: Argument) -> dict[str, Any]:
        param = argument.param
        value = dict(self._schemas[param.type])
        if not param.required:
            default = builtins(param.default)
            if default is not None and default is not msgspec.UNSET:
                value["default"] = default
        return value

    def _body(self, route: Route) -> dict[str, Any]:
        for argument in route.arguments:
            if argument.place is Place.BODY:
                return self._content(self._schemas[argument.param.type], argument.param.required)
        members = [argument for argument in route.arguments if argument.place is Place.MEMBER]
        if not members:
            return {}
        required = [argument.param.name for argument in members if argument.param.required]
        body: dict[str, Any] = {
            "type": "object",
            "properties": {argument.param.name: self._member(argument) for argument in members},
            "additionalProperties": False,
        }
        if required:
            body["required"] = required
        return self._content(body, bool(required))

    def _member(self, argument: Argument) -> dict[str, Any]:
        value = self._with_default(argument)
        if argument.param.doc:
            value["description"] = _sentence(argument.param.doc)
        return value

    @staticmethod
    def _content(body: dict[str, Any], required: bool) -> dict[str, Any]:
        return {"required": required, "content": {_JSON: {"schema": body}}}

    def _success(self, route: Route) -> dict[str, Any]:
        verb = route.verb
        nothing = verb.reply is None or verb.reply is type(None)
        headers: dict[str, Any] = {}
        status = 200
        if route.method == "GET":
            headers = {"ETag": _header("Entity tag: changes exactly when the reply changes.")}
            if route.part == "list":
                headers["Total-Count"] = _header("Number of items without paging.", "integer")
                headers["Link"] = _header("The previous and the next page, `rel` `prev` and `next`.")
        elif verb.kind is Kind.TASK:
            status, headers = 202, {"Location": _header("Path of the task.")}
        elif route.part == "create":
            status, headers = 201, {"Location": _header("Path of the new object.")}
        if nothing and status == 200:
            return {"204": {"description": "Done, without a result."}}
        reply: dict[str, Any] = {"description": _sentence(verb.result_doc) or HTTPStatus(status).phrase}
        if headers:
            reply["headers"] = headers
        if not nothing:
            reply["content"] = {_JSON: {"schema": self._result(route)}}
        replies = {str(status): reply}
        if route.method == "GET":
            replies["304"] = {"description": "Not changed: the entity tag is that of `If-None-Match`."}
        return replies

    def _result(self, route: Route) -> dict[str, Any]:
        result = self._schemas[route.verb.reply]
        if route.part == "list":
            items = result.get("items", result.get("additionalProperties", {}))
            return {"type": "array", "items": self._perhaps_cut(items)}
        return self._perhaps_cut(result) if route.part == "get" else result

    @staticmethod
    def _perhaps_cut(whole: dict[str, Any]) -> dict[str, Any]:
        return {"anyOf": [whole, {"type": "object", "description": "The members in `fields`."}]}

    def _errors(self, route: Route) -> dict[str, Any]:
        framing = self._wire.framing
        possible = [*_ANY_VERB, *route.verb.errors, *framing["any"]]
        if route.method == "POST":
            possible += framing["body"]
        if route.method == "GET" or route.item in self._items:
            possible += framing["condition"]
        if "{" in route.path or route.path.startswith(BY_NAME):
            possible.append(errors.NotFound)
        if route.verb.kind is not Kind.QUERY:
            possible.append(errors.Conflict)
        slugs: dict[int, list[str]] = {}
        for error in dict.fromkeys(possible):
            slugs.setdefault(self._wire.status_of(error), []).append(error.slug)
        return {str(status): self._refusal(status, slugs[status]) for status in sorted(slugs)}

    def _refusal(self, status: int, slugs: Sequence[str]) -> dict[str, Any]:
        described = f"{HTTPStatus(status).phrase}: {', '.join(f'`{slug}`' for slug in slugs)}"
        refusal: dict[str, Any] = {
            "description": described,
            "content": {_PROBLEM: {"schema": self._problem}},
        }
        if status in {429, 503}:
            refusal["headers"] = {
                "Retry-After": _header("Seconds to wait before the next attempt.", "integer")
            }
        if status == 401:
            refusal["headers"] = {"WWW-Authenticate": _header("Scheme of the credentials.")}
        return refusal


def _types(routes: Iterable[Route]) -> Iterable[Any]:
    for verb in _verbs(routes):
        yield from (param.type for param in verb.params)
        yield verb.reply


def _verbs(routes: Iterable[Route]) -> list[Verb]:
    return list({route.verb.name: route.verb for route in routes}.values())


def _declared(routes: Iterable[Route]) -> list[type[VdsmError]]:
    """Return the whole tree: any error can be the reply to some request."""
    declared = [error for verb in _verbs(routes) for error in verb.errors]
    known = {error.slug: error for error in [*errors.tree(), *declared] if "__init__" not in vars(error)}
    return [errors.VdsmError, *(known[slug] for slug in sorted(known) if slug != "error")]


def _error_entry(error: type[VdsmError], status_of: Callable[[type[VdsmError]], int]) -> dict[str, Any]:
    return {
        "slug": error.slug,
        "status": status_of(error),
        "code": error.code,
        "description": " ".join((error.__doc__ or "").split()),
    }


def _header(description: str, type_: str = "string") -> dict[str, Any]:
    return {"description": description, "schema": {"type": type_}}


def _first_line(text: str | None) -> str:
    return " ".join((text or "").strip().partition("\n\n")[0].split())


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}." if text and not text.endswith(".") else text
