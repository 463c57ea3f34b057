"""Words of a command line, parsed into the values of a call."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from vdsmsh.api.schema import Schema

_TRUE = frozenset({"true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0"})
#: Sizes with a suffix, and the units that descriptions name.
_SIZE: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)([kmgtKMGT])(?:i?[bB])?")
_UNIT: Final = re.compile(r"\b(?:bytes|[KMGT]iB)\b")
_UNITS: Final = "bkmgt"
#: How a message names the type of a value.
_EXPECTED = {"integer": "a whole number", "number": "a number", "boolean": "true or false"}


def parse(text: str, schema: Schema) -> Any:
    """Return the value of a word.

    `@FILE` is replaced by the content of a file, `@-` by standard input, `@@x` by the text `@x`.

    :raises ValueError: the word does not match the schema; the text says what was expected
    """
    schema = schema.single
    if text.startswith("@@"):
        text = text[1:]
    elif text.startswith("@"):
        text = read(text[1:])
        if schema.kind != "string":
            text = text.strip()
    if schema.kind in ("choice", "any"):
        return _first_match(text, schema)
    return _PARSERS.get(schema.kind, _json)(text, schema)


def in_unit(text: str, about: str) -> str:
    """Return a size with a suffix, `1G`, as the number in the unit that a description names.

    :param about: the description, such as "Memory, in MiB"
    :raises ValueError: it is no whole number of that unit, or the description names none
    """
    size = _SIZE.fullmatch(text)
    if size is None:
        return text
    unit = _UNIT.search(about)
    if unit is None:
        raise ValueError(f"'{text}' has a suffix, and the value is not known to be a size: give a number")
    bytes_of = float(size[1]) * 1024.0 ** ("bkmgt".index(size[2].lower()))
    value = bytes_of / 1024.0 ** _UNITS.index(unit[0].lower()[0])
    if not value.is_integer():
        raise ValueError(f"'{text}' is no whole number of {unit[0]}")
    return str(int(value))


def read(path: str) -> str:
    """Return the text of a file; `-` is standard input.

    :raises ValueError: it cannot be read, or is not text
    """
    try:
        return sys.stdin.read() if path == "-" else Path(path).read_text("utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"cannot read {path}: it is not UTF-8 text") from None
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from None


def _first_match(text: str, schema: Schema) -> Any:
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
        raise ValueError(f"'{value}' is not one of {', '.join(map(str, schema.choices))}")
    return value


def _json(text: str, schema: Schema) -> Any:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ValueError(f"'{_cut(text)}' is not JSON: {error}") from None
    if schema.kind == "object" and not isinstance(value, dict):
        raise ValueError(f"""'{_cut(text)}' is not a JSON object, as in {{"name": "value"}}""")
    return value


def _object(text: str, schema: Schema) -> Any:
    """Parse an object: JSON, or `name=value,name=value`."""
    if text.lstrip()[:1] in ("{", "[", '"') or "=" not in text:
        return _json(text, schema)
    value = {}
    for pair in text.split(","):
        name, found, word = pair.partition("=")
        if not found:
            raise ValueError(f"'{pair}' is not of the form name=value")
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


def merge(base: Mapping[str, Any], override: Mapping[str, Any]) -> dict[str, Any]:
    """Return two objects as one. Values of `override` win; where both have an object, it is merged."""
    merged = dict(base)
    for name, value in override.items():
        old = merged.get(name)
        merged[name] = merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _cut(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:40]}..."
