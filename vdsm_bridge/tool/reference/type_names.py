"""Types in words, for the reference pages."""

from __future__ import annotations

import ast
import inspect as source_of
import textwrap
from collections.abc import Iterable
from typing import Any, Final

import msgspec
from msgspec import inspect

from vdsm_core.secret import Secret
from vdsm_core.types import SPELLING, Open

_NOUNS: Final[dict[type[inspect.Type], str]] = {
    inspect.AnyType: "anything",
    inspect.NoneType: "nothing",
    inspect.BoolType: "true or false",
    inspect.IntType: "whole number",
    inspect.FloatType: "number",
    inspect.StrType: "text",
    inspect.BytesType: "bytes",
}
_EMPTY: Final = '""'
_BOUNDS: Final = (("ge", "at least {}"), ("gt", "more than {}"), ("le", "at most {}"), ("lt", "less than {}"))
_LENGTHS: Final = (("min_length", "at least {} long"), ("max_length", "at most {} long"))


def spell(type_: Any) -> str:
    """Return a type in words, in Markdown; records are links to their place on the page."""
    return describe(inspect.type_info(type_))


def describe(info: inspect.Type) -> str:
    """Return a type, as msgspec describes it, in words."""
    if isinstance(info, inspect.Metadata):
        return _annotated(info)
    if isinstance(info, inspect.UnionType):
        return " or ".join(describe(member) for member in info.types)
    if isinstance(info, (inspect.StructType, inspect.CustomType)):
        return f"secret text{_limits(info.cls)}" if _is_secret(info) else _link(info.cls)
    if isinstance(info, inspect.LiteralType):
        return " or ".join(f"`{_EMPTY if value == '' else value}`" for value in sorted(info.values, key=str))
    if isinstance(info, inspect.EnumType):
        return " or ".join(f"`{item.value}`" for item in info.cls)
    return _collection(info) or (_NOUNS.get(type(info), type(info).__name__) + _limits(info))


def _is_secret(info: Any) -> bool:
    return isinstance(info, inspect.CustomType) and issubclass(info.cls, Secret)


def _collection(info: inspect.Type) -> str:
    if isinstance(info, inspect.DictType):
        return f"structure: {describe(info.key_type)} → {describe(info.value_type)}"
    if isinstance(info, inspect.TupleType):
        return "list of " + ", ".join(describe(item) for item in info.item_types)
    if isinstance(info, inspect.CollectionType):
        return f"list of {describe(info.item_type)}{_limits(info)}"
    return ""


def _annotated(info: inspect.Metadata) -> str:
    schema = info.extra_json_schema or {}
    words = "UUID" if schema.get("format") == "uuid" else describe(info.type)
    if unit := schema.get("x-unit"):
        words += f" ({unit})"
    if spelling := (info.extra or {}).get(SPELLING):
        words += f", in XML-RPC as text{f' `{spelling}`' if '%' in spelling else ''}"
    return words


def _limits(info: Any) -> str:
    rules = [
        text.format(f"{bound:g}" if isinstance(bound, float) else bound)
        for name, text in (*_BOUNDS, *_LENGTHS)
        if (bound := getattr(info, name, None)) is not None
    ]
    if pattern := getattr(info, "pattern", None):
        rules.append(f"matches `{pattern}`".replace("|", "\\|"))
    return f", {', '.join(rules)}" if rules else ""


def _link(cls: type) -> str:
    return f"[{cls.__name__}](#{cls.__name__.lower()})"


def records(types: Iterable[Any]) -> dict[str, type]:
    """Return every record within some types by name, also those within records."""
    found: dict[str, type] = {}
    waiting = [inspect.type_info(type_) for type_ in types]
    while waiting:
        info = waiting.pop()
        if isinstance(info, (inspect.StructType, inspect.CustomType)) and not _is_secret(info):
            if info.cls.__name__ in found:
                continue
            found[info.cls.__name__] = info.cls
        waiting += _parts(info)
    return dict(sorted(found.items()))


def _parts(info: inspect.Type) -> list[inspect.Type]:
    parts: list[inspect.Type] = []
    if isinstance(info, inspect.CustomType) and issubclass(info.cls, Open):
        parts = [inspect.type_info(info.cls.inner)]
    elif isinstance(info, inspect.StructType):
        parts = [field.type for field in info.fields]
    elif isinstance(info, inspect.UnionType):
        parts = list(info.types)
    elif isinstance(info, inspect.DictType):
        parts = [info.key_type, info.value_type]
    elif isinstance(info, inspect.TupleType):
        parts = list(info.item_types)
    elif isinstance(info, inspect.Metadata):
        parts = [info.type]
    elif isinstance(info, inspect.CollectionType):
        parts = [info.item_type]
    return parts


def fields(cls: type) -> tuple[inspect.Field, ...]:
    """Return the members of a record, or of the declared part of an open dictionary."""
    info = inspect.type_info(cls.inner if issubclass(cls, Open) else cls)
    return info.fields if isinstance(info, inspect.StructType) else ()


def may_be_absent(field: inspect.Field) -> bool:
    """Return whether a result may lack a member."""
    return field.default is msgspec.UNSET


def comments(cls: type) -> dict[str, str]:
    """Return the `#:` comments directly above the members of a class, by the Python name of the member."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if issubclass(base, msgspec.Struct) and base.__module__.partition(".")[0] != "msgspec":
            found.update(_comments_of(base))
    return found


def _comments_of(cls: type) -> dict[str, str]:
    source = textwrap.dedent(source_of.getsource(cls))
    lines = source.splitlines()
    (body,) = ast.parse(source).body
    found: dict[str, str] = {}
    for node in body.body if isinstance(body, ast.ClassDef) else ():
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            comment = _comment_above(lines, node.lineno)
            if comment:
                found[node.target.id] = comment
    return found


def _comment_above(lines: list[str], lineno: int) -> str:
    above: list[str] = []
    for line in reversed(lines[: lineno - 1]):
        if not line.strip().startswith("#:"):
            break
        above.insert(0, line.strip()[2:].strip())
    return " ".join(above)
