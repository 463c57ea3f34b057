"""Types of the API as XML-RPC types, for introspection and for distinguishing arguments."""

from __future__ import annotations

from typing import Any, Final, Literal

from msgspec import inspect

from vdsm_bridge.types import SPELLING, Open, Secret

Kind = Literal["string", "int", "boolean", "double", "base64", "array", "struct", "any"]

_KINDS: Final[dict[type, Kind]] = {
    inspect.StrType: "string",
    inspect.IntType: "int",
    inspect.BoolType: "boolean",
    inspect.FloatType: "double",
    inspect.BytesType: "base64",
    inspect.ListType: "array",
    inspect.SetType: "array",
    inspect.FrozenSetType: "array",
    inspect.VarTupleType: "array",
    inspect.TupleType: "array",
    inspect.DictType: "struct",
    inspect.StructType: "struct",
    inspect.DataclassType: "struct",
    inspect.TypedDictType: "struct",
    inspect.EnumType: "string",
    inspect.DateTimeType: "string",
    inspect.UUIDType: "string",
}


def kind_of(type_: Any) -> Kind:
    """Return the XML-RPC type of values of a type; "any" if it depends on the value."""
    return _kind(inspect.type_info(type_))


def _kind(info: inspect.Type) -> Kind:
    if isinstance(info, inspect.Metadata):
        return "string" if SPELLING in (info.extra or {}) else _kind(info.type)
    if isinstance(info, inspect.CustomType):
        return _custom(info.cls)
    if isinstance(info, inspect.LiteralType):
        return "string" if all(isinstance(value, str) for value in info.values) else "any"
    if isinstance(info, inspect.UnionType):
        kinds = {_kind(option) for option in info.types if not isinstance(option, inspect.NoneType)}
        return kinds.pop() if len(kinds) == 1 else "any"
    return _KINDS.get(type(info), "any")


def _custom(cls: Any) -> Kind:
    if not isinstance(cls, type):
        return "any"
    if issubclass(cls, Secret):
        return "string"
    return "struct" if issubclass(cls, Open) else "any"
