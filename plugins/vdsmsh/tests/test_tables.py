"""Which rows and columns a result has."""

from __future__ import annotations

from typing import Any

import pytest

from vdsmsh.api.schema import Schema
from vdsmsh.output.tables import MAX_COLUMNS, Table, cell, first_columns, table_of, word

MAP = Schema({"type": "object", "additionalProperties": {"type": "object"}})
TASK = "11111111-1111-1111-1111-111111111111"


def test_map_by_id() -> None:
    """The ids of a map are the first column."""
    table = table_of({TASK: {"verb": "x"}}, MAP, ["taskID"])
    assert table == Table(["taskID", "verb"], [{"verb": "x", "taskID": TASK}], key="taskID")


def test_map_whose_records_have_the_id() -> None:
    """No column twice: where the records hold the id, that is the key."""
    table = table_of({TASK: {"verb": "x", "id": TASK}}, MAP, [""])
    assert table == Table(["verb", "id"], [{"verb": "x", "id": TASK}], key="id")


def test_list_of_ids() -> None:
    """A list of plain values is one column, called after what it lists."""
    assert table_of(["a"], Schema({}), ["vmID"]) == Table(["vmID"], [{"vmID": "a"}], key="vmID")
    assert table_of([1], Schema({}), [""]) == Table(["value"], [{"value": 1}])


def test_key_is_spelled_in_many_ways() -> None:
    """`vmId` is the key `vmID`."""
    table = table_of([{"name": "n", "vmId": "i"}], Schema({}), ["", "vmID"])
    assert table is not None
    assert table.key == "vmId"


def test_list_of_one_about_one() -> None:
    """A list of one, from a verb about one object, is shown as that object."""
    table = table_of([{"a": 1}], Schema({}), ["vmID"], single=True)
    assert table == Table(["a"], [{"a": 1}], single=True)


def test_declared_order() -> None:
    """Columns come in the order of the declaration; one that is not declared comes last."""
    schema = Schema({"type": "array", "items": {"type": "object", "properties": {"b": {}, "a": {}, "z": {}}}})
    table = table_of([{"extra": 1, "a": 2, "b": 3}], schema, [""])
    assert table is not None
    assert table.columns == ["b", "a", "extra"]


@pytest.mark.parametrize("value", [None, 3, "text", True])
def test_single_values(value: Any) -> None:
    """A single value is no table."""
    assert table_of(value, Schema({}), [""]) is None


def test_first_columns() -> None:
    """Key, name, state, whole numbers, short text; no lists while there is anything else."""
    row = {
        "note": "n" * 60,
        "disks": [1],
        "up": True,
        "arch": "x",
        "mem": 5,
        "vmStatus": "Up",
        "vmName": "a",
        "vmId": "i",
    }
    table = table_of([row], Schema({}), ["vmID"])
    assert table is not None
    assert first_columns(table, 0) == ["vmId", "vmName", "vmStatus", "mem", "arch", "up"]


def test_what_few_rows_have_comes_late() -> None:
    """A member of one row in two does not push out one of each row."""
    table = table_of([{"exitCode": 1, "note": "x"}, {"note": "y"}], Schema({}), [""])
    assert table is not None
    assert first_columns(table, 0) == ["note", "exitCode"]


def test_first_columns_fit() -> None:
    """What does not fit on the terminal is left out, but two columns are always there."""
    table = Table([f"c{n}" for n in range(20)], [{f"c{n}": "x" * 20 for n in range(20)}])
    assert len(first_columns(table, 0)) == MAX_COLUMNS
    assert first_columns(table, 75) == ["c0", "c1", "c2"]
    assert first_columns(table, 10) == ["c0", "c1"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, ""),
        (True, "true"),
        (0.1 + 0.2, "0.3"),
        (2.0, "2"),
        ([1, "a"], "1, a"),
        ({"a": 1, "b": {"c": [1]}}, "a: 1\nb: c=[1]"),
        ([{"a": 1}, {"a": 2}], "a=1\na=2"),
    ],
)
def test_cell(value: Any, expected: str) -> None:
    """Nested values are compact, fractions short."""
    assert cell(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"), [(True, "true"), (0.1 + 0.2, 0.1 + 0.2), ([1, {"a": None}], '[1,{"a":null}]')]
)
def test_word(value: Any, expected: Any) -> None:
    """Programs get numbers in full and nested values as JSON."""
    assert word(value) == expected
