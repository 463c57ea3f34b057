"""Encoding of results: for each type of the API a function is generated once and compiled.

Members and spellings are fixed in the generated code, so that encoding is one pass of string formatting
without intermediate dictionaries. What a type leaves open (`Any`, a subclass of the declared struct) is
decided value by value, with the same output.

Absent values: a member that is `UNSET` or `None` is omitted; `None` inside an array is `<nil/>`, a common
extension, because its position counts.
"""

from __future__ import annotations

import enum
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, get_origin

import msgspec
from msgspec import inspect

from vdsm_bridge.types import Open
from vdsm_xmlrpc import scalars, source
from vdsm_xmlrpc.source import ARRAY, ARRAY_END, STRUCT, STRUCT_END

Encoder = Callable[[Any], str]
Splitter = Callable[[Any], list[bytes]]

NIL: Final = "<value><nil/></value>"
_PIECE: Final = 65_536  # characters
_PYTHON: Final[dict[type, type]] = {
    inspect.StrType: str,
    inspect.IntType: int,
    inspect.FloatType: float,
    inspect.BoolType: bool,
    inspect.BytesType: bytes,
    inspect.ListType: list,
    inspect.DictType: dict,
}


class Marshaller:
    """Writes values as `<value>` elements. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._encoders: dict[Any, Encoder] = {}
        self._splitters: dict[Any, Splitter] = {}
        self._functions: dict[Any, str] = {}
        self._names: dict[str, Any] = {**source.NAMES, "_any": self.any, "_key": _key}
        self._dynamic: dict[type, Encoder] = {
            str: scalars.string,
            bool: scalars.boolean,  # before int, whose subclass it is
            int: scalars.integer,
            float: scalars.double,
            bytes: scalars.binary,
            bytearray: scalars.binary,
            memoryview: scalars.binary,
            type(None): lambda _: NIL,
            list: self._array,
            tuple: self._array,
            set: self._array,
            frozenset: self._array,
            dict: self.struct,
        }

    def encoder(self, type_: Any) -> Encoder:
        """Return the function that writes values of a type.

        :raises TypeError: the type cannot occur in the API
        """
        try:
            return self._encoders[type_]
        except KeyError:
            with self._lock:
                name = self._function(inspect.type_info(type_))
                return self._encoders.setdefault(type_, self._names[name])

    def splitter(self, type_: Any) -> Splitter:
        """Return the function that writes values of a type as pieces, to be sent one after the other.

        Each byte of a large reply is copied only once: its texts are small enough for the processor's cache,
        and their memory is reused.
        """
        try:
            return self._splitters[type_]
        except KeyError:
            with self._lock:
                return self._splitters.setdefault(type_, self._splitter(type_))

    def _splitter(self, type_: Any) -> Splitter:
        info, _ = source.unwrap(inspect.type_info(type_))
        if isinstance(info, inspect.ListType):
            name = f"_item_{len(self._names)}"
            item = self._compile(name, source.item_body(info, self._function))
            return lambda values: _pieces(ARRAY, map(item, values), ARRAY_END)
        encode = self.encoder(type_)
        return lambda value: [encode(value).encode()]

    def any(self, value: Any) -> str:
        """Write a value by its own type, without a declared one.

        :raises TypeError: XML-RPC cannot represent the value
        """
        encode = self._dynamic.get(type(value))
        return encode(value) if encode is not None else self._by_kind(value)

    def struct(self, members: Mapping[Any, Any]) -> str:
        """Write a dictionary; names become text, members without a value are omitted."""
        return f"{STRUCT}{self._members(members)}{STRUCT_END}"

    def _members(self, members: Mapping[Any, Any]) -> str:
        return "".join(
            [
                f"<member><name>{_key(name)}</name>{self.any(value)}</member>"
                for name, value in members.items()
                if value is not None and value is not msgspec.UNSET
            ]
        )

    def _array(self, items: Iterable[Any]) -> str:
        return array([self.any(item) for item in items])

    def _by_kind(self, value: Any) -> str:
        if isinstance(value, msgspec.Struct) and not value.__struct_config__.array_like:
            return self.encoder(type(value))(value)
        if isinstance(value, Open):
            return f"{STRUCT}{members_of(self.any(value.known))}{self._members(value.unknown)}{STRUCT_END}"
        if isinstance(value, enum.Enum):
            return self.any(value.value)
        for kind, encode in self._dynamic.items():
            if isinstance(value, kind):
                return encode(value)
        if isinstance(value, Mapping):
            return self.struct(value)
        return self.any(msgspec.to_builtins(value))

    def _function(self, info: inspect.Type) -> str:
        """Return the name of the function that writes values of a type; generate it if it does not exist."""
        info, spelling = source.unwrap(info)
        if isinstance(info, inspect.AnyType | inspect.CustomType):
            return "_any"
        # A type description is not hashable; its text distinguishes spellings, too.
        known = info.cls if isinstance(info, inspect.StructType) else f"{info!r} {spelling}"
        if known in self._functions:
            return self._functions[known]
        name = self._functions[known] = f"_write_{len(self._names)}"
        self._names[name] = None  # reserved: a type may contain itself
        self._names[name] = self._make(name, info, spelling)
        return name

    def _make(self, name: str, info: inspect.Type, spelling: str) -> Encoder:
        if isinstance(info, inspect.UnionType):
            return self._union(info)
        if spelling:
            return lambda value: scalars.spelled(value, spelling)
        if source.is_struct(info):
            assert isinstance(info, inspect.StructType)
            kind = f"{name}_type"
            self._names[kind] = get_origin(info.cls) or info.cls
            return self._compile(
                name,
                [f"if type(v) is not {kind}: return _any(v)", *source.function_body(info, self._function)],
            )
        if isinstance(info, inspect.ListType | inspect.DictType):
            return self._compile(name, source.function_body(info, self._function))
        return self.any

    def _union(self, info: inspect.UnionType) -> Encoder:
        """Return a function that distinguishes members of a union by their Python type, as msgspec does."""
        table: dict[Any, Encoder] = {}
        for option in info.types:
            inner, spelling = source.unwrap(option)
            python = inner.cls if isinstance(inner, inspect.StructType) else _PYTHON.get(type(inner))
            if python is None:
                continue
            table[get_origin(python) or python] = (
                self._dynamic[python]
                if python in self._dynamic and not spelling and python not in (list, dict)
                else self._late(self._function(option))
            )
        return lambda value: table.get(type(value), self.any)(value)

    def _late(self, name: str) -> Encoder:
        """Return a call of a function by its name, which may not exist yet."""
        return lambda value: self._names[name](value)

    def _compile(self, name: str, body: list[str]) -> Encoder:
        text = "\n".join([f"def {name}(v):", *(f" {line}" for line in body)])
        # The code consists of names of members, quoted by `repr`, and of attributes of declared types.
        exec(compile(text, f"<vdsm_xmlrpc {name}>", "exec"), self._names)  # noqa: S102
        function: Encoder = self._names[name]
        return function


def _pieces(head: str, texts: Iterable[str], tail: str) -> list[bytes]:
    pieces: list[bytes] = []
    batch = [head]
    size = 0
    for text in texts:
        batch.append(text)
        size += len(text)
        if size > _PIECE:
            pieces.append("".join(batch).encode())
            batch.clear()
            size = 0
    batch.append(tail)
    pieces.append("".join(batch).encode())
    return pieces


def array(values: list[str]) -> str:
    """Return an `<array>` of encoded values."""
    return "".join([ARRAY, *values, ARRAY_END])


def members_of(struct: str) -> str:
    """Return the members of an encoded struct, to be merged with others.

    :raises TypeError: the value is not a struct
    """
    if not (struct.startswith(STRUCT) and struct.endswith(STRUCT_END)):
        raise TypeError("only a struct has members")
    return struct[len(STRUCT) : -len(STRUCT_END)]


def _key(key: Any) -> str:
    """Return the name of a member of a dictionary, as XML content."""
    if isinstance(key, enum.Enum):
        key = key.value
    if isinstance(key, bool):
        return "true" if key else "false"
    return scalars.escape(str(key))
