"""Hostile values for any parameter, and plain arguments to go with them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import inspect

from vdsm_bridge import Verb
from vdsm_core.types import Open

_ID = "99999999-2222-4333-8444-555555555555"

#: Text for paths, shells, XML, headers, format strings and logs.
TEXTS = [
    "",
    " ",
    "..",
    "../../../../etc/passwd",
    "/etc/passwd",
    "..%2f..%2fetc%2fpasswd",
    "/proc/self/mem",
    "file:///etc/passwd",
    "$(touch /tmp/hostile)",
    "`touch /tmp/hostile`",
    "; touch /tmp/hostile",
    "| touch /tmp/hostile",
    "--help",
    "-x",
    "' OR '1'='1",
    "'; DROP TABLE tasks; --",
    "<domain/>",
    "]]><evil/>",
    "'/><evil a='",
    "&amp;&lt;",
    "<!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><x>&e;</x>",
    "a\r\nX-Hostile: yes",
    "a\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    "a\nb",
    "a\0b",
    "\0",
    "\x1b[2J",
    "\u202egnp.exe",
    "\ufffe",
    "\U0001f4a3",
    "%s%n%x",
    "{argument}{0}{reason.__class__}",
    "*",
    "[" * 500,
    "(a+)+$",
    "x" * 100_000,
    "é" * 5_000,
    "NaN",
    "-1",
    "1e999",
    "9" * 5_000,
    "true",
    "null",
]
#: Numbers and containers.
OTHERS: list[Any] = [
    None,
    True,
    -1,
    0,
    2**31,
    2**63,
    2**64,
    -(2**63) - 1,
    1e308,
    -0.0,
    5e-324,
    [],
    {},
    [[[[[[[[]]]]]]]],
    ["../.."] * 500,
    list(range(20_000)),
    {str(number): number for number in range(1_000)},
    {"": ""},
    {"__class__": "x", "constructor": {"prototype": 1}},
    {"a\r\nX-Hostile: yes": "b\0"},
    "DEEP",
]


def values() -> Iterator[Any]:
    """Each hostile value."""
    yield from TEXTS
    for value in OTHERS:
        yield _deep(30) if value == "DEEP" else value


def _deep(levels: int) -> Any:
    value: Any = "x"
    for level in range(levels):
        value = [value] if level % 2 else {"a": value}
    return value


def arguments(verb: Verb, value: Any) -> Iterator[dict[str, Any]]:
    """Arguments of a verb with a value in the place of each parameter, and of each member of a structure."""
    plain = {param.name: _sample(inspect.type_info(param.type)) for param in verb.params if param.required}
    for param in verb.params:
        yield {**plain, param.name: value}
        struct = _struct(inspect.type_info(param.type))
        for field in struct.fields if struct is not None else ():
            sample = _sample(struct)
            yield {**plain, param.name: {**sample, field.encode_name: value}}


def _struct(info: inspect.Type) -> Any:
    if isinstance(info, inspect.Metadata):
        return _struct(info.type)
    if isinstance(info, inspect.UnionType):
        return next((found for each in info.types if (found := _struct(each)) is not None), None)
    if isinstance(info, inspect.CustomType) and issubclass(info.cls, Open):
        return _struct(inspect.type_info(info.cls.inner))
    return info if isinstance(info, inspect.StructType) else None


def _sample(info: inspect.Type) -> Any:
    """Return a plain value of a type."""
    if isinstance(info, inspect.Metadata):
        return _sample(info.type)
    if isinstance(info, inspect.UnionType):
        return _sample(info.types[0])
    struct = _struct(info)
    if struct is not None:
        return {field.encode_name: _sample(field.type) for field in struct.fields if field.required}
    if isinstance(info, inspect.LiteralType):
        return info.values[0]
    if isinstance(info, inspect.EnumType):
        return next(iter(info.cls)).value
    if isinstance(info, (inspect.ListType, inspect.VarTupleType)):
        return []
    if isinstance(info, inspect.DictType):
        return {}
    if isinstance(info, inspect.BoolType):
        return False
    if isinstance(info, (inspect.IntType, inspect.FloatType)):
        return info.ge if info.ge is not None else 1
    return _ID


def encodable(value: Any) -> bool:
    """Return whether JSON can carry a value."""
    try:
        msgspec.json.encode(value)
    except (TypeError, OverflowError, UnicodeEncodeError):
        return False
    return True
