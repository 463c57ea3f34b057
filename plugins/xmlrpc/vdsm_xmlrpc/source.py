"""The source code of functions that write values of one type; `marshal` compiles it.

Everything that follows from the type is fixed in the code: names of members, spellings, which members may be
absent. A function is one format string where possible. The texts of a struct are checked together, and
escaped one by one only if the check finds something.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable
from typing import Annotated, Any, Final, get_args, get_origin

import msgspec
from msgspec import inspect

from vdsm_bridge.types import SPELL_1, SPELL_2, SPELL_TEXT, SPELL_TITLE, SPELLING
from vdsm_xmlrpc import scalars

STRUCT: Final = "<value><struct>"
STRUCT_END: Final = "</struct></value>"
ARRAY: Final = "<value><array><data>"
ARRAY_END: Final = "</data></array></value>"

#: Stands for the value in the text of a member until its format is known; escaped names do not contain it.
_HOLE: Final = "\0"
#: Content of a `<string>`, for a value that VDSM sent as text.
_SPELLED: Final[dict[tuple[type, str], str]] = {
    (inspect.IntType, SPELL_TEXT): "{%s}",
    (inspect.FloatType, SPELL_TEXT): "{%s!r}",
    (inspect.FloatType, SPELL_2): "{_two%%%s}",  # a third quicker than a format specification
    (inspect.FloatType, SPELL_1): "{_one%%%s}",
    (inspect.BoolType, SPELL_TEXT): "{_lower[%s]}",
    (inspect.BoolType, SPELL_TITLE): "{_title[%s]}",
}
#: Values of types without a spelling.
_UNSPELLED: Final[dict[type, str]] = {
    inspect.StrType: "<value><string>{_escape(%s)}</string></value>",
    inspect.IntType: "{_integer(%s)}",
    inspect.FloatType: "{_double(%s)}",
    inspect.BoolType: "<value><boolean>{_bit[%s]}</boolean></value>",
}
#: Names in the generated code, besides other generated functions and `_any`.
NAMES: Final[dict[str, Any]] = {
    "_escape": scalars.escape,
    "_integer": scalars.integer,
    "_double": scalars.double,
    "_lower": ("false", "true"),
    "_title": ("False", "True"),
    "_bit": ("0", "1"),
    "_two": SPELL_2,
    "_one": SPELL_1,
    "_unset": msgspec.UNSET,
}


def function_body(info: inspect.Type, call: Callable[[inspect.Type], str]) -> list[str]:
    """Return the lines of the body of a function that writes `v`.

    :param call: returns the name of the function that writes values of another type
    """
    if is_struct(info):
        return _Struct(typing.cast("inspect.StructType", info), call).lines()
    empty = (ARRAY + ARRAY_END) if isinstance(info, inspect.ListType) else (STRUCT + STRUCT_END)
    return [f"return ''.join({pieces(info, call)}) if v else {empty!r}"]


def item_body(info: inspect.ListType, call: Callable[[inspect.Type], str]) -> list[str]:
    """Return the lines of the body of a function that writes one item, `v`, of an array."""
    inner, _ = unwrap(info.item_type)
    if is_struct(inner):
        return [f"return {call(inner)}(v)"]
    return [f"return {quoted(fragment(info.item_type, 'v', call))}"]


def pieces(info: inspect.Type, call: Callable[[inspect.Type], str]) -> str:
    """Return an expression for the list of texts of `v`, an array or a dictionary.

    :raises TypeError: the type is neither
    """
    if isinstance(info, inspect.ListType):
        item = quoted(fragment(info.item_type, "m", call))
        return f"[{ARRAY!r}, *[{item} for m in v], {ARRAY_END!r}]"
    if isinstance(info, inspect.DictType):
        item = quoted(
            "<member><name>{k if type(k) is str and k.isalnum() else _key(k)}</name>"
            + fragment(info.value_type, "m", call)
            + "</member>"
        )
        members = f"[{item} for k, m in v.items() if m is not None and m is not _unset]"
        return f"[{STRUCT!r}, *{members}, {STRUCT_END!r}]"
    raise TypeError(f"{info} is not made of pieces")


def fragment(info: inspect.Type, expression: str, call: Callable[[inspect.Type], str]) -> str:
    """Return a format string that writes the value of a Python expression without quotes."""
    info, spelling = unwrap(info)
    kind = _kind(info)
    if (kind, spelling) in _SPELLED:
        return f"<value><string>{_SPELLED[kind, spelling] % expression}</string></value>"
    if kind in _UNSPELLED and not spelling:
        return _UNSPELLED[kind] % expression
    return f"{{{call(info)}({expression})}}"


class _Struct:
    """Builds the function of one struct type."""

    def __init__(self, info: inspect.StructType, call: Callable[[inspect.Type], str]) -> None:
        self._info = info
        self._call = call
        self._before: list[str] = []
        self._texts: list[str] = []
        self._optional = 0

    def lines(self) -> list[str]:
        """Return the lines of the body."""
        annotations = {field.name: field.type for field in msgspec.structs.fields(self._info.cls)}
        text = STRUCT + self._tag()
        for field in self._info.fields:
            if _may_be_absent(annotations[field.name]):
                text += self._maybe(field)
            else:
                text += self._always(field)
        return [*self._before, *self._guard(), f"return {quoted(text + STRUCT_END)}"]

    def _tag(self) -> str:
        info = self._info
        if info.tag_field is None:
            return ""
        tag = scalars.string(info.tag) if isinstance(info.tag, str) else scalars.integer(info.tag or 0)
        return _braced(member(info.tag_field, tag))

    def _always(self, field: inspect.Field) -> str:
        inner, spelling = unwrap(field.type)
        if _kind(inner) is inspect.StrType and not spelling:
            local = f"s{len(self._texts)}"
            self._texts.append(local)
            self._before.append(f"{local} = v.{field.name}")
            return _filled(field.encode_name, f"<value><string>{{{local}}}</string></value>")
        return _filled(field.encode_name, fragment(field.type, f"v.{field.name}", self._call))

    def _maybe(self, field: inspect.Field) -> str:
        self._optional += 1
        local = f"m{self._optional}"
        written = quoted(_filled(field.encode_name, fragment(field.type, "m", self._call)))
        self._before += [
            f"m = v.{field.name}",
            f"{local} = '' if m is None or m is _unset else {written}",
        ]
        return f"{{{local}}}"

    def _guard(self) -> list[str]:
        if not self._texts:
            return []
        together = "".join(f"{{{local}}}" for local in self._texts)
        escaped = "; ".join(f"{local} = _escape({local})" for local in self._texts)
        return [
            f"t = {quoted(together)}",
            f"if not t.isprintable() or '&' in t or '<' in t or '>' in t: {escaped}",
        ]


def member(name: str, value: str) -> str:
    """Return a member of a struct from its name and its encoded value."""
    return f"<member><name>{scalars.escape(name)}</name>{value}</member>"


def unwrap(info: inspect.Type) -> tuple[inspect.Type, str]:
    """Return a type without its metadata, and the spelling in the metadata."""
    spelling = ""
    while isinstance(info, inspect.Metadata):
        spelling = (info.extra or {}).get(SPELLING, spelling)
        info = info.type
    return info, spelling


def is_struct(info: inspect.Type) -> bool:
    """Return whether values of the type are written as structs of known members."""
    return isinstance(info, inspect.StructType) and not info.array_like


def quoted(text: str) -> str:
    """Return the source of a format string. Its expressions have no quotes, so `repr` keeps them."""
    return f"f{text!r}"


def _kind(info: inspect.Type) -> type:
    if isinstance(info, inspect.LiteralType) and all(isinstance(value, str) for value in info.values):
        return inspect.StrType
    return type(info)


def _filled(name: str, value: str) -> str:
    """Return the format string of a member whose value is written by the format string `value`."""
    return _braced(member(name, _HOLE)).replace(_HOLE, value)


def _braced(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def _may_be_absent(annotation: Any) -> bool:
    origin = get_origin(annotation)
    if origin is Annotated:
        return _may_be_absent(get_args(annotation)[0])
    if origin in (typing.Union, types.UnionType):
        return any(_may_be_absent(option) for option in get_args(annotation))
    return annotation in (type(None), msgspec.UnsetType, Any)
