"""Types of the API in XML-RPC's few words, for introspection and for telling arguments apart."""

from __future__ import annotations

from typing import Any, Final, Literal

from msgspec import inspect

from vdsm_bridge.types import SPELLING, Open

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
    """What values of a type are on the wire; "any" if the type does not settle it."""
    return _kind(inspect.type_info(type_))


def _kind(info: inspect.Type) -> Kind:
    if isinstance(info, inspect.Metadata):
        return "string" if SPELLING in (info.extra or {}) else _kind(info.type)
    if isinstance(info, inspect.CustomType):
        return "struct" if isinstance(info.cls, type) and issubclass(info.cls, Open) else "any"
    if isinstance(info, inspect.LiteralType):
        return "string" if all(isinstance(value, str) for value in info.values) else "any"
    if isinstance(info, inspect.UnionType):
        kinds = {_kind(option) for option in info.types if not isinstance(option, inspect.NoneType)}
        return kinds.pop() if len(kinds) == 1 else "any"
    return _KINDS.get(type(info), "any")
