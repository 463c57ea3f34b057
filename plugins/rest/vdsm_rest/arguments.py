"""From a request to the arguments of a verb: path, query string and JSON body.

Text (path, query) is converted by the text rule of the types: numbers and booleans may be spelled as text.
A body is JSON and is taken strictly.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec

from vdsm_bridge import types
from vdsm_bridge.api.routes import Argument, Place, Route
from vdsm_bridge.errors import InvalidArgument
from vdsm_bridge.types import TypeMismatch
from vdsm_rest import query_options
from vdsm_rest.problems import MalformedRequest

#: Most parameters in a query string.
_MOST_PARAMETERS: Final = 1000
_NOTHING: Final[Mapping[str, Sequence[str]]] = {}

#: Beyond this a float does not hold every whole number.
_EXACT: Final = 2.0**53
_FRACTION: Final = re.compile(rb"[0-9](?:\.0|[eE])")

#: Stands for an absent body; `None` is JSON's null.
NO_BODY: Final = object()

Query = Mapping[str, Sequence[str]]


class Plan:
    """How the arguments of one route are read, computed once."""

    def __init__(self, route: Route) -> None:
        by_place = {place: {a.param.name: a for a in route.arguments if a.place is place} for place in Place}
        # In the order of the path: parameters may stand in any order in the declaration.
        self._path = sorted(
            by_place[Place.PATH].values(), key=lambda argument: route.path.index(f"{{{argument.param.name}}}")
        )
        self._query = by_place[Place.QUERY]
        self._whole = next(iter(by_place[Place.BODY]), "")
        self._known = {argument.param.name for argument in route.arguments}
        #: Whether the request may have a body.
        self.body = route.method == "POST"
        #: Whether all arguments are text, so that the bridge converts them by the text rule.
        self.text = not self.body
        offered = {
            "list": (query_options.FIELDS, query_options.FILTER, query_options.LIMIT, query_options.OFFSET),
            "get": (query_options.FIELDS,),
        }.get(route.part, ())
        #: Parameters of the query that are query options; an argument of the same name takes precedence.
        self.query_options = frozenset(offered) - self._query.keys()

    def arguments(self, segments: Sequence[str], query: Query, body: Any) -> dict[str, Any]:
        """Return the arguments by wire name; `query` holds no query options.

        :param segments: the values of the path's parameters
        :param body: decoded JSON, or `NO_BODY`
        :raises InvalidArgument: an argument is in the wrong place
        """
        values: dict[str, Any] = {}
        if self._whole:
            if body is not NO_BODY:
                values[self._whole] = self._itself(body)
        elif body is not NO_BODY:
            values = self._members(body)
        for argument, segment in zip(self._path, segments, strict=True):
            values[argument.param.name] = segment if self.text else _converted(argument, segment)
        for name, texts in query.items():
            values[name] = self._queried(name, texts)
        return values

    def _itself(self, body: Any) -> Any:
        """Return the body as an argument; refuse a body that names it, as for `/api/verbs/...`."""
        if isinstance(body, dict) and body.keys() <= self._known and isinstance(body.get(self._whole), dict):
            reason = "the body is the argument itself: omit its name, and give others in the query string"
            raise InvalidArgument(argument=self._whole, reason=reason)
        return body

    def _members(self, body: Any) -> dict[str, Any]:
        if not isinstance(body, dict):
            raise InvalidArgument(argument="(body)", reason="expected a JSON object")
        for argument in self._path:
            if argument.param.name in body:
                raise InvalidArgument(
                    argument=argument.param.name, reason="it is in the path already; leave it out of the body"
                )
        return body

    def _queried(self, name: str, texts: Sequence[str]) -> Any:
        argument = self._query.get(name)
        if argument is None:
            raise InvalidArgument(argument=name, reason="there is no such argument")
        if argument.shape == "array":
            value: Any = list(texts)
        elif len(texts) > 1:
            raise InvalidArgument(argument=name, reason="it is given more than once")
        else:
            value = texts[0] if argument.shape == "scalar" else _json_text(name, texts[0])
        return value if self.text else _converted(argument, value)


def read_query(text: str) -> Query:
    """Return the parameters of a query string, each with all its values.

    :raises MalformedRequest: it is not UTF-8, or has too many parameters
    """
    if not text:
        return _NOTHING
    try:
        raw = text.encode("latin-1").decode("utf-8")
        pairs = parse_qsl(raw, keep_blank_values=True, errors="strict", max_num_fields=_MOST_PARAMETERS)
    except ValueError:
        raise MalformedRequest(reason="the query string is not UTF-8, or has too many parameters") from None
    query: dict[str, list[str]] = {}
    for name, value in pairs:
        query.setdefault(name, []).append(value)
    return query


def read_json(data: bytes, depth: int) -> Any:
    """Return the value of a JSON body.

    :raises MalformedRequest: it is not JSON, or nested deeper than `depth`
    """
    try:
        value = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedRequest(reason=str(error)) from None
    except RecursionError:
        raise MalformedRequest(
            reason=f"the body is nested deeper than {depth} levels ([plugin.rest] max_depth)"
        ) from None
    if data.count(b"{") + data.count(b"[") > depth and _deeper(value, depth):
        raise MalformedRequest(
            reason=f"the body is nested deeper than {depth} levels ([plugin.rest] max_depth)"
        )
    return _whole_numbers(value) if _FRACTION.search(data) else value


def _whole_numbers(value: Any) -> Any:
    """Return a value with `1.0` as 1: JSON has one kind of number (JSON Schema 2020-12, section 6.1.1)."""
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        return int(value)
    if isinstance(value, list):
        return [_whole_numbers(item) for item in value]
    if isinstance(value, dict):
        return {name: _whole_numbers(item) for name, item in value.items()}
    return value


def _deeper(value: Any, depth: int) -> bool:
    level = [value]
    for _ in range(depth + 1):
        containers = [item for item in level if isinstance(item, (dict, list))]
        if not containers:
            return False
        level = [
            inner for item in containers for inner in (item.values() if isinstance(item, dict) else item)
        ]
    return True


def _json_text(name: str, text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidArgument(argument=name, reason=f"expected JSON: {error}") from None


def _converted(argument: Argument, value: Any) -> Any:
    """Return text as plain data that a strict check accepts."""
    try:
        return types.builtins(types.convert(value, argument.param.type, text=True))
    except TypeMismatch as mismatch:
        raise InvalidArgument(argument=argument.param.name, reason=mismatch.reason) from None
