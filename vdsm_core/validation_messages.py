"""Validation messages in the terms of the API: msgspec's messages name Python's types.

`Expected `int`, got `str`` becomes `expected a whole number, got text`; for a value outside of an
enumeration, the message lists the allowed values.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

from msgspec import inspect

#: Key in `Meta.extra`, beside a pattern: a description of what the pattern accepts.
WORDS: Final = "words"

_NOUNS: Final = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "text",
    "object": "a structure",
    "array": "a list",
    "null": "nothing",
}
#: Nouns of received types: only a fraction can be a wrong float, as a whole number would be accepted.
_GOT: Final = {**_NOUNS, "float": "a fraction"}
_PARTS: Final = {"str": "characters", "array": "items", "object": "members"}
_COMPARED: Final = {">=": "at least", "<=": "at most", ">": "more than", "<": "less than", "": "exactly"}

_EXPECTED: Final = re.compile(
    r"Expected `(?P<kinds>[^`]+)`(?P<rule>.*?)(?:, got `?(?P<got>[^`]+)`?)?", re.DOTALL
)
_LENGTH: Final = re.compile(r" of length (?P<how>[<>]?=?) ?(?P<length>\d+)")
_RANGE: Final = re.compile(r" (?P<how>[<>]=?) (?P<bound>\S+)")
_PATTERN: Final = re.compile(r" matching regex (?P<literal>'.*'|\".*\")", re.DOTALL)
_CHOICE: Final = re.compile(r"Invalid enum value (?P<value>.*)", re.DOTALL)
_STEP: Final = re.compile(r"\.(?P<name>[^.\[]+)|\[(?P<index>[^\]]*)\]")


def explain(message: str, path: str, type_: Any, patterns: dict[str, str]) -> str:
    """Return a clause that describes what was expected.

    :param message: msgspec's, without the path
    :param path: msgspec's, without the `$`
    :param type_: the type of the data as a whole
    :param patterns: descriptions of regular expressions
    """
    if match := _CHOICE.fullmatch(message):
        allowed = ", ".join(repr(choice) for choice in choices(type_, path))
        return f"{match['value']} is not one of {allowed}" if allowed else f"{match['value']} is not possible"
    match = _EXPECTED.fullmatch(message)
    if match is None:
        return message
    if pattern := _PATTERN.fullmatch(match["rule"]):
        # msgspec shows the pattern as a Python literal, with its backslashes doubled.
        wanted = ast.literal_eval(pattern["literal"])
        words = patterns.get(wanted) or next(_words(_at(type_, path), wanted), "")
        return f"expected {words or f'text that matches {wanted}'}"
    expected = _expected(match["kinds"].split(" | "), match["rule"])
    got = match["got"]
    return f"expected {expected}" + (f", got {_GOT.get(got, got)}" if got else "")


def _expected(kinds: list[str], rule: str) -> str:
    noun = " or ".join(_NOUNS.get(kind, kind) for kind in kinds)
    if match := _LENGTH.fullmatch(rule):
        return f"{noun} of {_COMPARED[match['how']]} {match['length']} {_PARTS.get(kinds[0], 'items')}"
    if match := _RANGE.fullmatch(rule):
        return f"{noun} of {_COMPARED[match['how']]} {match['bound'].removesuffix('.0')}"
    return noun + rule.replace("that's", "that is")


def choices(type_: Any, path: str) -> list[Any]:
    """Return the allowed values at `path` in data of a type; empty if they are not enumerated."""
    found: list[Any] = []
    for info in _at(type_, path):
        for member in _members(info):
            if isinstance(member, inspect.LiteralType):
                found += member.values
            elif isinstance(member, inspect.EnumType):
                found += [item.value for item in member.cls]
    return found


def _at(type_: Any, path: str) -> list[inspect.Type]:
    infos = [inspect.type_info(type_)]
    for step in _STEP.finditer(path):
        infos = [inner for info in infos for inner in _inside(info, step["name"])]
    return infos


def _words(infos: Iterable[inspect.Type], pattern: str) -> Iterator[str]:
    """Yield the descriptions of a pattern; the message about a key has the path of its dictionary."""
    for info in infos:
        if isinstance(info, inspect.Metadata):
            if isinstance(info.type, inspect.StrType) and info.type.pattern == pattern:
                yield (info.extra or {}).get(WORDS, "")
            yield from _words([info.type], pattern)
        elif isinstance(info, inspect.UnionType):
            yield from _words(info.types, pattern)
        elif isinstance(info, inspect.DictType):
            yield from _words([info.key_type], pattern)


def _members(info: inspect.Type) -> Iterator[inspect.Type]:
    if isinstance(info, inspect.Metadata):
        yield from _members(info.type)
    elif isinstance(info, inspect.UnionType):
        for member in info.types:
            yield from _members(member)
    elif isinstance(info, inspect.CustomType) and hasattr(info.cls, "inner"):
        yield from _members(inspect.type_info(info.cls.inner))
    else:
        yield info


def _inside(info: inspect.Type, name: str | None) -> Iterator[inspect.Type]:
    for member in _members(info):
        if name is None and isinstance(member, inspect.DictType):
            yield member.value_type
        elif name is None and isinstance(member, (inspect.ListType, inspect.VarTupleType)):
            yield member.item_type
        elif name is None and isinstance(member, inspect.TupleType):
            yield from member.item_types
        elif isinstance(member, inspect.StructType):
            yield from (field.type for field in member.fields if field.encode_name == name)
