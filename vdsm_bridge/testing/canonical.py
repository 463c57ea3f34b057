"""One form for the results of every binding, so that they can be compared.

A text protocol carries some numbers and booleans as text, some of them rounded, because VDSM did so. The
declared types define which; here such data becomes plain numbers and booleans again, and values that a
spelling rounds are rounded for every protocol.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import inspect

from vdsm_core import types
from vdsm_core.types import SPELL_1, SPELL_2, SPELLING, Open


def canonical(data: Any, type_: Any, *, text: bool = False) -> Any:
    """Return plain data by wire name, rounded according to the spellings of `type_`.

    :param data: a result as a client of the binding decoded it
    :param text: it was received over a text protocol
    :raises TypeMismatch: the data is no `type_` at all
    """
    plain = types.builtins(types.convert(data, type_, text=text))
    return _rounded(plain, inspect.type_info(type_))


def _rounded(value: Any, info: inspect.Type) -> Any:
    if isinstance(info, inspect.Metadata):
        spelling = (info.extra or {}).get(SPELLING)
        if spelling in (SPELL_1, SPELL_2):
            return float(spelling % value)
        return _rounded(value, info.type)
    if isinstance(value, dict):
        return _rounded_dict(value, info)
    if isinstance(value, (list, tuple)):
        return _rounded_list(value, info)
    if isinstance(info, inspect.UnionType):
        return _rounded(value, _member(info, inspect.Metadata)) if isinstance(value, float) else value
    return value


def _rounded_dict(value: dict[Any, Any], info: inspect.Type) -> dict[Any, Any]:
    if isinstance(info, inspect.UnionType):
        info = _member(info, inspect.StructType, inspect.DictType, inspect.CustomType)
    if isinstance(info, inspect.CustomType) and issubclass(info.cls, Open):
        info = inspect.type_info(info.cls.inner)
    if isinstance(info, inspect.StructType):
        fields = {field.encode_name: field.type for field in info.fields}
        return {key: _rounded(item, fields.get(key, inspect.AnyType())) for key, item in value.items()}
    if isinstance(info, inspect.DictType):
        return {key: _rounded(item, info.value_type) for key, item in value.items()}
    return value


def _rounded_list(value: Sequence[Any], info: inspect.Type) -> list[Any]:
    if isinstance(info, inspect.UnionType):
        info = _member(info, inspect.ListType, inspect.VarTupleType)
    if isinstance(info, (inspect.ListType, inspect.VarTupleType)):
        return [_rounded(item, info.item_type) for item in value]
    if isinstance(info, inspect.TupleType):
        return [_rounded(item, part) for item, part in zip(value, info.item_types, strict=True)]
    return list(value)


def _member(info: inspect.UnionType, *kinds: type[inspect.Type]) -> inspect.Type:
    """The member of a union that data of one kind belongs to; msgspec allows one of each kind."""
    return next((member for member in info.types if isinstance(member, kinds)), inspect.AnyType())


def shape(value: Any) -> Any:
    """The structure of plain data without its values: keys and kinds; a list is the set of its items'."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, list):
        return sorted({repr(shape(item)) for item in value})
    return type(value).__name__
