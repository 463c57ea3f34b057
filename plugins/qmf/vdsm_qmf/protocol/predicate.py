"""Predicates of QMFv2: `["and", ["eq", "name", ["quote", "a"]], ["gt", "memSize", 512]]`."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from vdsm_qmf.protocol.errors import InvalidQuery
from vdsm_qmf.protocol.pattern import BadPattern, compile_pattern

Values = Mapping[str, Any]
Predicate = Callable[[Values], bool]

_ABSENT: Final = object()
#: Levels of nested lists.
_DEPTH: Final = 32
#: Characters of a pattern, and of the text that it is matched against.
_PATTERN_LENGTH: Final = 256
_TEXT_LENGTH: Final = 1024

_ORDER: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
}


def compile_predicate(data: Any) -> Predicate:
    """Return a function that checks values against the predicate. An empty predicate matches everything.

    :raises InvalidQuery: the predicate is malformed
    """
    if data is None or data == []:
        return lambda _values: True
    return _compiled(data, _DEPTH)


def _compiled(data: Any, depth: int) -> Predicate:
    if not isinstance(data, list) or not data or not isinstance(data[0], str):
        raise InvalidQuery(reason="a predicate is a list that begins with an operator")
    if not depth:
        raise InvalidQuery(reason=f"the predicate is nested deeper than {_DEPTH}")
    name, operands = data[0], data[1:]
    if name in {"and", "or", "not"}:
        return _joined(name, [_compiled(operand, depth - 1) for operand in operands])
    if name in {"true", "false"}:
        return lambda _values: name == "true"
    if name == "exists":
        (wanted,) = _expect(name, operands, 1)
        return lambda found: _name(wanted) in found
    if name not in {"eq", "ne", "re_match", *_ORDER}:
        raise InvalidQuery(reason=f"there is no operator '{name}'")
    left, right = map(_operand, _expect(name, operands, 2))
    test = _test(name)
    return lambda found: test(left(found), right(found))


def _joined(name: str, parts: Sequence[Predicate]) -> Predicate:
    if name == "not":
        if len(parts) != 1:
            raise InvalidQuery(reason="'not' takes one predicate")
        return lambda found: not parts[0](found)
    join = all if name == "and" else any
    return lambda found: join(part(found) for part in parts)


def _expect(name: str, operands: list[Any], count: int) -> list[Any]:
    if len(operands) != count:
        raise InvalidQuery(reason=f"'{name}' takes {count} operand{'s' if count > 1 else ''}")
    return operands


def _name(operand: Any) -> str:
    if not isinstance(operand, str):
        raise InvalidQuery(reason="'exists' takes the name of a property")
    return operand


def _operand(data: Any) -> Callable[[Values], Any]:
    """Compile an operand: text names a property, `["quote", value]` and anything else is a value."""
    if isinstance(data, list):
        if len(data) != 2 or data[0] != "quote":
            raise InvalidQuery(reason='a literal operand is written ["quote", value]')
        return lambda _values: data[1]
    if isinstance(data, str):
        return lambda found: found.get(data, _ABSENT)
    return lambda _values: data


def _test(name: str) -> Callable[[Any, Any], bool]:
    if name in _ORDER:
        return lambda left, right: _ordered(_ORDER[name], left, right)
    if name == "re_match":
        return _matches
    wanted = name == "eq"
    # An absent property is neither equal nor unequal.
    return lambda left, right: _ABSENT not in (left, right) and _equal(left, right) == wanted


def _equal(left: Any, right: Any) -> bool:
    if isinstance(left, (dict, list)) or isinstance(right, (dict, list)):
        return bool(left == right)
    return _spelled(left) == _spelled(right) or (
        _number(left) is not None and _number(left) == _number(right)
    )


def _spelled(value: Any) -> str:
    """Return the value as text: consoles send numbers and booleans as such or as text."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _ordered(compare: Callable[[Any, Any], bool], left: Any, right: Any) -> bool:
    if _ABSENT in (left, right):
        return False
    numbers = _number(left), _number(right)
    if None not in numbers:
        return compare(*numbers)
    return isinstance(left, str) and isinstance(right, str) and compare(left, right)


def _number(value: Any) -> float | None:
    if isinstance(value, (int, float)):
        return value
    try:
        return float(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _matches(left: Any, right: Any) -> bool:
    if not (isinstance(left, str) and isinstance(right, str)):
        return False
    if len(right) > _PATTERN_LENGTH:
        raise InvalidQuery(reason=f"the pattern is longer than {_PATTERN_LENGTH} characters")
    try:
        return compile_pattern(right)(left[:_TEXT_LENGTH])
    except BadPattern as error:
        raise InvalidQuery(reason=f"'{right}' cannot be used as a regular expression: {error}") from None
