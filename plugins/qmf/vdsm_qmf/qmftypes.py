"""Declared types as QMF names them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import inspect

from vdsm_bridge.types import Open

BOOL: Final = "TYPE_BOOL"
INT: Final = "TYPE_INT"
FLOAT: Final = "TYPE_FLOAT"
STRING: Final = "TYPE_STRING"
MAP: Final = "TYPE_MAP"
LIST: Final = "TYPE_LIST"

_KINDS: Final[tuple[tuple[tuple[type[inspect.Type], ...], str], ...]] = (
    ((inspect.BoolType,), BOOL),
    ((inspect.IntType,), INT),
    ((inspect.FloatType, inspect.DecimalType), FLOAT),
    ((inspect.StrType, inspect.UUIDType, inspect.DateTimeType, inspect.BytesType), STRING),
    (
        (
            inspect.ListType,
            inspect.VarTupleType,
            inspect.TupleType,
            inspect.SetType,
            inspect.FrozenSetType,
        ),
        LIST,
    ),
)


#: What stands for a value that is not there, where consoles insist on one.
EMPTY: Final[Mapping[str, Any]] = {BOOL: False, INT: 0, FLOAT: 0.0, STRING: "", MAP: {}, LIST: []}


class TypeName(msgspec.Struct, frozen=True, kw_only=True):
    """A type as a schema tells it. `low` and `high` bound numbers, where they are bounded."""

    type: str
    unit: str = ""
    low: float | None = None
    high: float | None = None


def type_name(type_: Any) -> TypeName:
    """The QMF type of a declared type. What may be of several kinds is a map, as is what may be anything."""
    info = inspect.type_info(type_)
    unit = ""
    if isinstance(info, inspect.Metadata):
        unit = str((info.extra_json_schema or {}).get("x-unit", ""))
        info = info.type
    kinds = {_kind(member) for member in members(info)}
    low, high = _bounds(info)
    return TypeName(type=kinds.pop() if len(kinds) == 1 else _common(kinds), unit=unit, low=low, high=high)


def default_text(type_: str, default: Any) -> str | None:
    """What a schema of the first QMF states as the default of an argument: text, whatever the type.

    Consoles send it for an argument that nobody has given; of a truth value's they make one, the others they
    leave as they are. So an empty text stands for what has no spelling.

    :param default: `None` or `UNSET` if the verb only sees that the argument is absent
    :returns: None if no text can say that, as for a truth value without a default
    """
    if default is None or default is msgspec.UNSET:
        return None if type_ == BOOL else ""
    if type_ == BOOL:
        return "true" if default else "false"
    return str(default) if type_ in (INT, FLOAT, STRING) else ""


def takes_null(type_: Any) -> bool:
    """Whether null is a value of a declared type."""
    info = inspect.type_info(type_)
    if isinstance(info, inspect.Metadata):
        info = info.type
    return isinstance(info, inspect.UnionType) and any(
        isinstance(one, inspect.NoneType) for one in info.types
    )


def members(info: inspect.Type) -> list[inspect.Type]:
    """What data may be, a union taken apart and its "nothing" left out."""
    if isinstance(info, inspect.Metadata):
        return members(info.type)
    if isinstance(info, inspect.UnionType):
        return [inner for member in info.types for inner in members(member)]
    if isinstance(info, inspect.NoneType):
        return []
    return [info]


def struct_type(type_: Any) -> type[msgspec.Struct] | None:
    """The struct that a type is, or that a list or a map of it holds; None if there is none."""
    for info in members(inspect.type_info(type_)):
        if isinstance(info, inspect.StructType):
            return info.cls
        if isinstance(info, inspect.CustomType) and issubclass(info.cls, Open):
            return struct_type(info.cls.inner)
    return None


def element_type(type_: Any) -> Any:
    """The declared type of what a list or a map holds; None if it is neither."""
    for info in members(inspect.type_info(type_)):
        if isinstance(info, (inspect.ListType, inspect.VarTupleType)):
            return _struct_of(info.item_type)
        if isinstance(info, inspect.DictType):
            return _struct_of(info.value_type)
    return None


def _struct_of(info: inspect.Type) -> Any:
    for member in members(info):
        if isinstance(member, inspect.StructType):
            return member.cls
        if isinstance(member, inspect.CustomType):
            return member.cls
    return None


def _kind(info: inspect.Type) -> str:
    for classes, name in _KINDS:
        if isinstance(info, classes):
            return name
    if isinstance(info, (inspect.LiteralType, inspect.EnumType)):
        chosen = info.values if isinstance(info, inspect.LiteralType) else [e.value for e in info.cls]
        return INT if all(isinstance(value, int) for value in chosen) else STRING
    return MAP


def _common(kinds: set[str]) -> str:
    return FLOAT if kinds == {INT, FLOAT} else MAP


def _bounds(info: inspect.Type) -> tuple[float | None, float | None]:
    if not isinstance(info, (inspect.IntType, inspect.FloatType)):
        return None, None
    return (
        info.ge if info.ge is not None else info.gt,
        info.le if info.le is not None else info.lt,
    )
