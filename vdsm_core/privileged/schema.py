"""Which types the arguments of an operation may have: closed, bounded in size and in depth."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from msgspec import inspect

#: Levels of lists, dictionaries and structs in one argument.
MAX_DEPTH: Final = 6

_SIMPLE: Final = (inspect.BoolType, inspect.NoneType, inspect.LiteralType, inspect.EnumType, inspect.UUIDType)
_SEQUENCES: Final = (inspect.ListType, inspect.SetType, inspect.FrozenSetType, inspect.VarTupleType)


def objections(type_: Any) -> list[str]:
    """What speaks against a type as that of an argument; nothing if it can be checked completely."""
    return list(_objections(inspect.type_info(type_), MAX_DEPTH))


def _objections(info: Any, depth: int) -> Iterable[str]:
    if depth == 0:
        yield f"it is nested deeper than {MAX_DEPTH} levels, or without an end"
    elif isinstance(info, inspect.Metadata):
        yield from _objections(info.type, depth)
    elif isinstance(info, inspect.UnionType):
        for member in info.types:
            yield from _objections(member, depth)
    elif isinstance(info, (inspect.IntType, inspect.FloatType, inspect.StrType, inspect.BytesType)):
        yield from _of_scalar(info)
    elif not isinstance(info, _SIMPLE):
        yield from _of_container(info, depth)


def _of_scalar(info: Any) -> Iterable[str]:
    if isinstance(info, (inspect.IntType, inspect.FloatType)):
        if (info.ge is None and info.gt is None) or (info.le is None and info.lt is None):
            yield "a number needs a least and a greatest value"
    elif isinstance(info, inspect.BytesType):
        if info.max_length is None:
            yield "bytes need a max_length"
    elif info.pattern is None or info.max_length is None:
        yield "text needs a pattern and a max_length"


def _of_container(info: Any, depth: int) -> Iterable[str]:
    if isinstance(info, inspect.StructType):
        if not info.forbid_unknown_fields:
            yield f"{info.cls.__name__} needs forbid_unknown_fields=True"
        inner = [field.type for field in info.fields]
    elif isinstance(info, inspect.TupleType):
        inner = list(info.item_types)
    elif isinstance(info, inspect.DictType):
        inner = [info.key_type, info.value_type]
    elif isinstance(info, _SEQUENCES):
        inner = [info.item_type]
    else:
        yield f"{type(info).__name__} cannot be checked"
        return
    if isinstance(info, (inspect.DictType, *_SEQUENCES)) and info.max_length is None:
        yield "a list or dictionary needs a max_length"
    for each in inner:
        yield from _objections(each, depth - 1)
