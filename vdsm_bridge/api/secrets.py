"""Where the types of verbs hold secrets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from msgspec import inspect

from vdsm_core.secret import Secret
from vdsm_core.types import Open

Path = tuple[str, ...]


def secret_paths(type_: Any) -> Iterator[Path]:
    """Yield the members of a type that are secrets, each as the wire names that lead to it.

    `[]` stands for the items of a list, `{}` for the values of a dictionary.
    """
    yield from _paths(inspect.type_info(type_), (), frozenset())


def holds_secret(type_: Any) -> bool:
    """Return whether a type is a secret, or has one within it."""
    return next(secret_paths(type_), None) is not None


def _paths(info: inspect.Type, path: Path, within: frozenset[type]) -> Iterator[Path]:
    if isinstance(info, inspect.StructType):
        if info.cls not in within:  # a type may hold itself
            for field in info.fields:
                yield from _paths(field.type, (*path, field.encode_name), within | {info.cls})
    elif isinstance(info, inspect.CustomType):
        yield from _of_class(info.cls, path, within)
    else:
        for below, inner in _parts(info):
            yield from _paths(inner, (*path, *below), within)


def _parts(info: inspect.Type) -> list[tuple[Path, inspect.Type]]:
    """Return the types within a type that is no record, each with the names that lead to it."""
    if isinstance(info, inspect.Metadata):
        return [((), info.type)]
    if isinstance(info, inspect.UnionType):
        return [((), one) for one in info.types]
    if isinstance(info, inspect.DictType):
        return [(("{}",), info.value_type)]
    if isinstance(info, inspect.TupleType):
        return [(("[]",), item) for item in info.item_types]
    return [(("[]",), info.item_type)] if isinstance(info, inspect.CollectionType) else []


def _of_class(cls: Any, path: Path, within: frozenset[type]) -> Iterator[Path]:
    if not isinstance(cls, type):
        return
    if issubclass(cls, Secret):
        yield path
    elif issubclass(cls, Open):
        yield from _paths(inspect.type_info(cls.inner), path, within)
