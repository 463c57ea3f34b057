"""The QMF types of declared types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import inspect

from vdsm_bridge.types import Open, Secret

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


#: Placeholders of absent values, where consoles require a value.
EMPTY: Final[Mapping[str, Any]] = {BOOL: False, INT: 0, FLOAT: 0.0, STRING: "", MAP: {}, LIST: []}


class TypeName(msgspec.Struct, frozen=True, kw_only=True):
    """A type in a schema. `low` and `high` are the bounds of a number, if it has any."""

    type: str
    unit: str = ""
    low: float | None = None
    high: float | None = None


def type_name(type_: Any) -> TypeName:
    """Return the QMF type of a declared type. A union of several types is a map, and so is `Any`."""
    info = inspect.type_info(type_)
    unit = ""
    if isinstance(info, inspect.Metadata):
        unit = str((info.extra_json_schema or {}).get("x-unit", ""))
        info = info.type
    kinds = {_kind(member) for member in members(info)}
    low, high = _bounds(info)
    return TypeName(type=kinds.pop() if len(kinds) == 1 else _common(kinds), unit=unit, low=low, high=high)


def default_text(type_: str, default: Any) -> str | None:
    """Return the default of an argument in a schema of QMFv1: text, whatever the type.

    Consoles send it for an argument that is not given. They convert the default of a boolean and send the
    others as text, so an empty text stands for a default without a text form.

    :param default: `None` or `UNSET` if the verb only sees that the argument is absent
    :returns: None if no text can express the default, as for a boolean without one
    """
    if default is None or default is msgspec.UNSET:
        return None if type_ == BOOL else ""
    if type_ == BOOL:
        return "true" if default else "false"
    return str(default) if type_ in (INT, FLOAT, STRING) else ""


def takes_null(type_: Any) -> bool:
    """Return whether null is a value of a declared type."""
    info = inspect.type_info(type_)
    if isinstance(info, inspect.Metadata):
        info = info.type
    return isinstance(info, inspect.UnionType) and any(
        isinstance(one, inspect.NoneType) for one in info.types
    )


def members(info: inspect.Type) -> list[inspect.Type]:
    """Return the member types of a union, without None; of any other type, the type itself."""
    if isinstance(info, inspect.Metadata):
        return members(info.type)
    if isinstance(info, inspect.UnionType):
        return [inner for member in info.types for inner in members(member)]
    if isinstance(info, inspect.NoneType):
        return []
    return [info]


def struct_type(type_: Any) -> type[msgspec.Struct] | None:
    """Return the struct that a declared type is; None if it is no struct."""
    for info in members(inspect.type_info(type_)):
        if isinstance(info, inspect.StructType):
            return info.cls
        if isinstance(info, inspect.CustomType) and issubclass(info.cls, Open):
            return struct_type(info.cls.inner)
    return None


def element_type(type_: Any) -> Any:
    """Return the struct type of the elements of a list or a map; None if it is neither."""
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
    if isinstance(info, inspect.CustomType) and issubclass(info.cls, Secret):
        return STRING
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
