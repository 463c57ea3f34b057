"""From the words of a command line to the values of a call."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vdsmsh.schema import Schema

_TRUE = frozenset({"true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0"})
#: What a word that does not fit should have been.
_EXPECTED = {"integer": "a whole number", "number": "a number", "boolean": "true or false"}


def parse(text: str, schema: Schema) -> Any:
    """The value that a word stands for.

    `@FILE` stands for the content of a file, `@-` for standard input, `@@x` for the text `@x`.

    :raises ValueError: the word does not fit the schema; says what was expected
    """
    schema = schema.single
    if text.startswith("@@"):
        text = text[1:]
    elif text.startswith("@"):
        text = read(text[1:])
        if schema.kind != "string":
            text = text.strip()
    if schema.kind in ("choice", "any"):
        return _first_that_fits(text, schema)
    return _PARSERS.get(schema.kind, _json)(text, schema)


def read(path: str) -> str:
    """The text of a file; `-` is standard input.

    :raises ValueError: it cannot be read, or is no text
    """
    try:
        return sys.stdin.read() if path == "-" else Path(path).read_text("utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8 text") from None
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from None


def _first_that_fits(text: str, schema: Schema) -> Any:
    for choice in schema.alternatives:
        if choice.kind == "any":
            continue
        try:
            return parse(text, choice)
        except ValueError:
            continue
    try:
        return json.loads(text)
    except ValueError:
        return text


def _scalar(text: str, schema: Schema) -> Any:
    convert = int if schema.kind == "integer" else float
    try:
        value = convert(text)
    except ValueError:
        raise ValueError(f"'{text}' is not {_EXPECTED[schema.kind]}") from None
    return _allowed(value, schema)


def _boolean(text: str, schema: Schema) -> bool:
    if text.lower() in _TRUE | _FALSE:
        return text.lower() in _TRUE
    raise ValueError(f"'{text}' is not {_EXPECTED[schema.kind]}")


def _string(text: str, schema: Schema) -> str:
    value: str = _allowed(text, schema)
    return value


def _allowed(value: Any, schema: Schema) -> Any:
    if schema.choices and value not in schema.choices:
        raise ValueError(f"'{value}' is none of {', '.join(map(str, schema.choices))}")
    return value


def _json(text: str, schema: Schema) -> Any:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ValueError(f"this is not JSON ({error}): {_cut(text)}") from None
    if schema.kind == "object" and not isinstance(value, dict):
        raise ValueError(f"this is not a JSON object: {_cut(text)}")
    return value


def _object(text: str, schema: Schema) -> Any:
    """An object as JSON, or short as `name=value,name=value`."""
    if text.lstrip()[:1] in ("{", "[", '"') or "=" not in text:
        return _json(text, schema)
    value = {}
    for pair in text.split(","):
        name, found, word = pair.partition("=")
        if not found:
            raise ValueError(f"'{pair}' is not name=value")
        member = schema.properties.get(name) or schema.values or Schema({"type": "string"})
        value[name] = parse(word, member)
    return value


_PARSERS = {
    "integer": _scalar,
    "number": _scalar,
    "boolean": _boolean,
    "string": _string,
    "object": _object,
}


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Two objects as one; where both have an object, its members are merged."""
    merged = dict(below)
    for name, value in above.items():
        old = merged.get(name)
        merged[name] = merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _cut(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:40]}..."
