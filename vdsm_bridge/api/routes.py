"""Routes: where each verb lies in a tree of resources, derived from the declarations, for any HTTP server.

A namespace is a collection (`plural`), its objects are the items; the rules, with the sample's `Lamp` and
`Drawer`, whose parent is `Rack`:

=========================================  =========================================  ===================
declaration                                route                                      arguments are in
=========================================  =========================================  ===================
``part="list"`` (or ``listed_by``)         ``GET /lamps``                             query string
``part="create"``                          ``POST /lamps``                            body
``part="get"``                             ``GET /lamps/{lampID}``                    path, query string
``part="delete"``                          ``DELETE /lamps/{lampID}``                 path, query string
query on an object, ``getStats``           ``GET /lamps/{lampID}/stats``              path, query string
action or task on an object                ``POST /lamps/{lampID}/burn``              path, body
query on no object, ``getSpellings``       ``GET /room/spellings``                    query string
action or task on no object                ``POST /room/break-down``                  body
``part="list"``, with the parent's id      ``GET /racks/{rackID}/drawers``            path, query string
``part="get"``, with both ids              ``GET /racks/{rackID}/drawers/{drawerID}``  path, query string
every verb                                 ``POST /verbs/Lamp.burn``                  body
=========================================  =========================================  ===================

The ids of an object and of its parents are recognized by the names of their parameters, wherever these
stand. A verb that does not require the ids of all parents lies below the collection itself: ``GET /drawers``.

A body is a JSON object of the arguments by name. One exception: a *create* verb with exactly one structured
parameter takes that parameter's object itself as the body, and its other parameters in the query string.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any, Final, Literal

import msgspec

from vdsm_bridge.api.namespace import Level, Namespace, kebab
from vdsm_bridge.api.schema import type_schema
from vdsm_bridge.api.verb import Kind, Param, Part, Verb

Method = Literal["GET", "POST", "DELETE"]
Shape = Literal["scalar", "array", "object", "any"]

#: First segments of paths that belong to the binding itself; no namespace may have one as its plural.
RESERVED: Final = frozenset({"verbs", "docs", "openapi.json", "events"})
#: Path below which every verb can be called by its name.
BY_NAME: Final = "/verbs"


class Place(StrEnum):
    """Where an argument is in a request."""

    PATH = "path"
    QUERY = "query"  # as text; arrays by repetition; objects as JSON
    MEMBER = "member"  # of the JSON object that is the body
    BODY = "body"  # the body itself


class Argument(msgspec.Struct, frozen=True):
    """One argument of a verb on one route."""

    param: Param
    place: Place
    shape: Shape


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """One way to call a verb.

    :ivar path: a template below the root of the API; `{name}` stands for a segment
    :ivar part: what it does to the collection or item of `namespace`; empty for every other verb
    :ivar item: the path of the object that the verb is called on; empty on any other route
    :ivar operation: unique among all routes; the verb's name on the verb's own route
    """

    method: Method
    path: str
    verb: Verb
    namespace: type[Namespace]
    part: Part = ""
    item: str = ""
    arguments: tuple[Argument, ...]
    operation: str

    @property
    def shape(self) -> tuple[str, str]:
        """What no two routes may have in common: the method, and the path without the names in it."""
        return self.method, re.sub(r"\{[^}]*\}", "{}", self.path)


class RouteConflict(msgspec.Struct, frozen=True):
    """Two verbs derive the same route. The first one has it, the second can be called by its name only."""

    method: str
    path: str
    first: str
    second: str

    def __str__(self) -> str:
        if not self.first:
            return (
                f"the route {self.method} {self.path} of {self.second} is reserved; call the verb by its name"
            )
        return (
            f"{self.first} and {self.second} have the same route {self.method} {self.path}; "
            f"call {self.second} by its name"
        )


class Routes(msgspec.Struct, frozen=True):
    """All routes, in the order of their paths, and the conflicts among them."""

    routes: tuple[Route, ...]
    conflicts: tuple[RouteConflict, ...]


def derive(verbs: Mapping[str, Verb]) -> Routes:
    """Return the routes of all verbs. Where two verbs have the same route, the first by name has it."""
    taken: dict[tuple[str, str], Route] = {}
    conflicts = []
    for route in _wanted(verbs):
        holder = taken.get(route.shape)
        if route.path.split("/")[1] in RESERVED and not route.path.startswith(f"{BY_NAME}/{route.verb.name}"):
            conflicts.append(RouteConflict(route.method, route.path, "", route.verb.name))
        elif holder is None:
            taken[route.shape] = route
        elif holder.verb is route.verb:
            # `getImages` of a domain and the list of images in it: the same path, and a list has options.
            taken[route.shape] = msgspec.structs.replace(
                route if route.part else holder, operation=holder.operation
            )
        else:
            conflicts.append(RouteConflict(route.method, route.path, holder.verb.name, route.verb.name))
    ordered = sorted(taken.values(), key=lambda route: (route.path, route.method))
    return Routes(tuple(ordered), tuple(conflicts))


def segment(name: str) -> str:
    """Return a verb's name as a segment: `getAllVmStats` -> `all-vm-stats`, `pause` -> `pause`."""
    return kebab(name[3:] if re.match(r"get[A-Z]", name) else name)


def shape_of(type_: Any) -> Shape:
    """Return how a value of this type can travel as text: as one value, as several, or as JSON only."""
    schema = type_schema(type_)
    return _shape(schema, schema.get("$defs", {}))


def _shape(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Shape:
    if "$ref" in schema:
        return _shape(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    if "anyOf" in schema:
        shapes = {_shape(choice, definitions) for choice in schema["anyOf"] if choice.get("type") != "null"}
        return shapes.pop() if len(shapes) == 1 else "any"
    kind = schema.get("type")
    if kind == "object":
        return "object"
    if kind == "array":
        return "array" if _shape(schema.get("items", {}), definitions) == "scalar" else "any"
    return "scalar" if kind is not None or "enum" in schema or "const" in schema else "any"


def _wanted(verbs: Mapping[str, Verb]) -> Iterable[Route]:
    for verb in verbs.values():
        yield _own_route(verb)
        yield _route("POST", f"{BY_NAME}/{verb.name}", verb, operation=f"verbs/{verb.name}")
    for namespace in dict.fromkeys(verb.namespace for verb in verbs.values()):
        lister = verbs.get(namespace.listed_by)
        if lister is not None and (
            lister.namespace.name != namespace.name or lister.declaration.part != "list"
        ):
            levels = next(verb.levels for verb in verbs.values() if verb.namespace is namespace)
            yield _route(
                "GET",
                _collection(lister, levels),
                lister,
                part="list",
                namespace=namespace,
                operation=f"{namespace.name}/list",
            )


def _collection(verb: Verb, levels: Sequence[Level]) -> str:
    """Return the path of a collection: below its parents, if the verb requires their ids."""
    required = {param.name for param in verb.params if param.required}
    above = levels[:-1] if all(level.key in required for level in levels[:-1]) else ()
    return "".join([*(f"/{level.plural}/{{{level.key}}}" for level in above), f"/{levels[-1].plural}"])


def _own_route(verb: Verb) -> Route:
    part = verb.declaration.part
    collection = _collection(verb, verb.levels)
    item = f"{collection}/{{{verb.levels[-1].key}}}" if verb.on_object else ""
    if part == "create":
        return _route("POST", collection, verb, part=part)
    if part == "list":
        return _route("GET", collection, verb, part=part)
    base = item or collection
    if part:
        return _route("GET" if part == "get" else "DELETE", base, verb, part=part, item=item)
    method: Method = "GET" if verb.kind is Kind.QUERY else "POST"
    return _route(method, f"{base}/{segment(verb.method)}", verb, item=item)


def _route(
    method: Method,
    path: str,
    verb: Verb,
    *,
    part: Part = "",
    item: str = "",
    namespace: type[Namespace] | None = None,
    operation: str = "",
) -> Route:
    shapes = {param.name: shape_of(param.type) for param in verb.params}
    structured = [name for name, shape in shapes.items() if shape == "object"]
    whole = structured[0] if part == "create" and len(structured) == 1 else ""
    arguments = tuple(
        Argument(param, _place(param.name, method, path, whole), shapes[param.name]) for param in verb.params
    )
    return Route(
        method=method,
        path=path,
        verb=verb,
        namespace=namespace or verb.namespace,
        part=part,
        item=item,
        arguments=arguments,
        operation=operation or verb.name,
    )


def _place(name: str, method: Method, path: str, whole: str) -> Place:
    if f"{{{name}}}" in path:
        return Place.PATH
    if name == whole:
        return Place.BODY
    return Place.QUERY if method != "POST" or whole else Place.MEMBER
