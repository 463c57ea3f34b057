"""From words to values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vdsmsh.api.schema import Schema
from vdsmsh.api.values import merge, parse

NUMBER_OR_TEXT = {"anyOf": [{"type": "string", "pattern": "^[0-9]+$"}, {"type": "integer"}]}


@pytest.mark.parametrize(
    ("word", "schema", "expected"),
    [
        ("7", {"type": "integer"}, 7),
        ("-0.5", {"type": "number"}, -0.5),
        ("yes", {"type": "boolean"}, True),
        ("Off", {"type": "boolean"}, False),
        ("7", {"type": "string"}, "7"),
        ("@@at", {"type": "string"}, "@at"),
        ("green", {"enum": ["red", "green"]}, "green"),
        ('{"a": [1]}', {"type": "object"}, {"a": [1]}),
        ("a=1,b=x", {"type": "object", "properties": {"a": {"type": "integer"}}}, {"a": 1, "b": "x"}),
        ("k=2", {"type": "object", "additionalProperties": {"type": "integer"}}, {"k": 2}),
        ("[1, 2]", {"type": "array"}, [1, 2]),
        ("5", NUMBER_OR_TEXT, 5),
        ("5", {"anyOf": [{"type": "null"}, {"type": "integer"}]}, 5),
        ("x", {"anyOf": [{"type": "integer"}, {"type": "string"}]}, "x"),
        ("x", {"type": ["string", "null"]}, "x"),
        ("3", {}, 3),
        ("three", {}, "three"),
    ],
)
def test_parse(word: str, schema: dict[str, Any], expected: Any) -> None:
    """A word becomes what the schema wants."""
    value = parse(word, Schema(schema))
    assert (value, type(value)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("word", "schema", "message"),
    [
        ("x", {"type": "integer"}, "'x' is not a whole number"),
        ("1.5", {"type": "integer"}, "'1.5' is not a whole number"),
        ("x", {"type": "number"}, "'x' is not a number"),
        ("maybe", {"type": "boolean"}, "'maybe' is not true or false"),
        ("pink", {"enum": ["red", "green"]}, "'pink' is not one of red, green"),
        ("x", NUMBER_OR_TEXT, "'x' is not a whole number"),
        ("[1]", {"type": "object"}, "'[1]' is not a JSON object"),
        ("{", {"type": "object"}, "'{' is not JSON"),
        ("a=1,b", {"type": "object"}, "'b' is not of the form name=value"),
        ("@/nowhere", {"type": "string"}, "cannot read /nowhere: No such file or directory"),
    ],
)
def test_refusals(word: str, schema: dict[str, Any], message: str) -> None:
    """A word that does not fit is refused with what was expected."""
    with pytest.raises(ValueError) as caught:
        parse(word, Schema(schema))
    assert message in str(caught.value)


def test_file(tmp_path: Path) -> None:
    """`@FILE` stands for the content, text as it is and JSON decoded."""
    file = tmp_path / "file"
    file.write_text('{"a": 1}\n')
    assert parse(f"@{file}", Schema({"type": "string"})) == '{"a": 1}\n'
    assert parse(f"@{file}", Schema({"type": "object"})) == {"a": 1}


def test_file_that_is_no_text(tmp_path: Path) -> None:
    """A file that is not text is refused by name."""
    file = tmp_path / "file"
    file.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(ValueError, match=f"cannot read {file}: it is not UTF-8 text"):
        parse(f"@{file}", Schema({"type": "string"}))


def test_merge() -> None:
    """Objects are merged member by member, and nothing given is changed."""
    below = {"a": {"x": 1, "y": 1}, "b": 1}
    assert merge(below, {"a": {"y": 2}, "b": {"z": 3}}) == {"a": {"x": 1, "y": 2}, "b": {"z": 3}}
    assert below == {"a": {"x": 1, "y": 1}, "b": 1}


def test_reference_that_runs_in_circles() -> None:
    """A schema that refers to itself is no trap."""
    schema = Schema({"$ref": "#/$defs/A", "$defs": {"A": {"$ref": "#/$defs/A"}}})
    assert schema.kind == "any"


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "integer", "minimum": 0, "maximum": 2**63 - 1}, ""),
        ({"type": "integer", "minimum": 1, "maximum": 2**63 - 1}, "at least 1"),
        ({"type": "integer", "maximum": 9}, "at most 9"),
        (
            {"type": "integer", "minimum": 0, "maximum": 9, "default": 3, "x-unit": "MiB"},
            "in MiB, 0 to 9, default 3",
        ),
        ({"type": "boolean", "default": False}, "default off"),
    ],
)
def test_bounds(schema: dict[str, Any], expected: str) -> None:
    """Units, ranges and defaults are shown; the limits of 64-bit numbers are not."""
    assert Schema(schema).bounds == expected
