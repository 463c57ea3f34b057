"""Query options of collections and items: `filter=`, `limit=`/`offset=`, `fields=`.

`filter=member<op>value`; repeated filters must all match. A member may be dotted. Operators:

======  =======================================
``:``   equal
``!:``  not equal
``>:``  greater or equal (numbers, else text)
``<:``  less or equal
``~:``  text that contains, without regard to case
======  =======================================

A value is compared by the member's type: numbers as numbers, `true`/`false`, `null`, else text. A list
matches if one of its elements does. An absent member matches `!:` only.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlencode

import msgspec

from vdsm_bridge.errors import InvalidArgument

#: The names of the parameters.
FIELDS: Final = "fields"
FILTER: Final = "filter"
LIMIT: Final = "limit"
OFFSET: Final = "offset"
#: The bound of `limit` and `offset`, beyond the length of any list.
_MOST: Final = 2**31 - 1
FILTER_PATTERN: Final = r"^[^:!<>~]+[!<>~]?:"
FIELDS_PATTERN: Final = r"^[^,.]+(\.[^,.]+)*(,[^,.]+(\.[^,.]+)*)*$"

_FILTER: Final = re.compile(r"([^:!<>~]+)([!<>~]?:)(.*)", re.DOTALL)
_FIELDS: Final = re.compile(FIELDS_PATTERN)
_ABSENT: Final = object()


class QueryOptions(msgspec.Struct, frozen=True):
    """The options of one request. `limit` 0 means all."""

    fields: tuple[str, ...] = ()
    filters: tuple[Callable[[Any], bool], ...] = ()
    limit: int = 0
    offset: int = 0

    def choose(self, items: Sequence[Any]) -> tuple[list[Any], int]:
        """Return the items to show, as plain data, and their number without paging."""
        chosen = [item for item in items if all(fits(item) for fits in self.filters)]
        end = self.offset + self.limit if self.limit else None
        return [self.cut(item) for item in chosen[self.offset : end]], len(chosen)

    def cut(self, item: Any) -> Any:
        """Return an item, as plain data, with the members in `fields` only."""
        if not self.fields or not isinstance(item, dict):
            return item
        cut: dict[str, Any] = {}
        for field in self.fields:
            _copy(item, cut, field.split("."))
        return cut

    def links(self, path: str, query: Sequence[tuple[str, str]], total: int) -> str:
        """Return the value of `Link` (RFC 8288) to the previous and next page; empty if there is none."""
        if not self.limit:
            return ""
        kept = [(name, value) for name, value in query if name not in {LIMIT, OFFSET}]
        pages = []
        if self.offset > 0:
            pages.append((max(0, self.offset - self.limit), "prev"))
        if self.offset + self.limit < total:
            pages.append((self.offset + self.limit, "next"))
        return ", ".join(
            f'<{path}?{urlencode([*kept, (LIMIT, str(self.limit)), (OFFSET, str(offset))])}>; rel="{rel}"'
            for offset, rel in pages
        )


def read(given: Mapping[str, Sequence[str]]) -> QueryOptions:
    """Return the options in query parameters.

    :raises InvalidArgument: an option is malformed
    """
    return QueryOptions(
        fields=tuple(_fields(given.get(FIELDS, ()))),
        filters=tuple(_filter(text) for text in given.get(FILTER, ())),
        limit=_number(given, LIMIT, 1),
        offset=_number(given, OFFSET, 0),
    )


def _fields(texts: Iterable[str]) -> Iterable[str]:
    for text in texts:
        if not _FIELDS.fullmatch(text):
            raise InvalidArgument(
                argument=FIELDS, reason="expected names of members, dotted, separated by commas"
            )
        yield from text.split(",")


def _number(given: Mapping[str, Sequence[str]], name: str, least: int) -> int:
    texts = given.get(name)
    if not texts:
        return 0
    text = texts[-1]
    if not (text.isascii() and text.isdecimal() and len(text) <= 10 and least <= int(text) <= _MOST):
        raise InvalidArgument(argument=name, reason=f"expected one whole number from {least} to {_MOST}")
    if len(texts) > 1:
        raise InvalidArgument(argument=name, reason="it is given more than once")
    return int(text)


def _filter(text: str) -> Callable[[Any], bool]:
    match = _FILTER.fullmatch(text)
    if match is None:
        reason = "expected member:value, or one of the operators '!:', '>:', '<:', '~:' in place of ':'"
        raise InvalidArgument(argument=FILTER, reason=reason)
    member, sign, wanted = match.groups()
    path = member.split(".")
    if sign == "!:":
        return lambda item: not _fits(_member(item, path), wanted, operator.eq)
    compare = _COMPARE[sign]
    return lambda item: _fits(_member(item, path), wanted, compare)


def _contains(value: Any, wanted: Any) -> bool:
    return str(wanted).casefold() in str(value).casefold()


_COMPARE: Final[dict[str, Callable[[Any, Any], bool]]] = {
    ":": operator.eq,
    ">:": operator.ge,
    "<:": operator.le,
    "~:": _contains,
}


def _member(item: Any, path: Sequence[str]) -> Any:
    for name in path:
        if not isinstance(item, dict) or name not in item:
            return _ABSENT
        item = item[name]
    return item


def _fits(value: Any, wanted: str, compare: Callable[[Any, Any], bool]) -> bool:
    if isinstance(value, list):
        return any(_fits(element, wanted, compare) for element in value)
    if value is None or isinstance(value, bool):
        return compare is not _contains and compare(msgspec.json.encode(value).decode(), wanted.lower())
    if isinstance(value, (int, float)) and compare is not _contains:
        number = _parsed(wanted)
        return number is not None and compare(value, number)
    return isinstance(value, (str, int, float)) and compare(value, wanted)


def _parsed(text: str) -> int | float | None:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return None


def _copy(source: dict[str, Any], target: dict[str, Any], path: Sequence[str]) -> None:
    name, *rest = path
    if name not in source:
        return
    value = source[name]
    if not rest:
        target[name] = value
    elif isinstance(value, dict):
        inner = target.setdefault(name, {})
        if inner is not value:
            _copy(value, inner, rest)
