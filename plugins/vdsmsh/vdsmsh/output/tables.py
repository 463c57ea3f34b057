"""Results as tables: which rows and columns a result has, and which columns are shown first."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from vdsmsh.api.naming import stem
from vdsmsh.api.schema import Schema

#: Columns of a list without `-c`, at most.
MAX_COLUMNS: Final = 6
#: The column of values without a name.
VALUE: Final = "value"
#: Characters between two columns of a table: two spaces and a line.
_BORDER: Final = 3
#: Characters that a column is counted with, at most; longer values fold.
_MAX_WIDTH: Final = 40


@dataclass(frozen=True)
class Table:
    """A result with rows and columns.

    :ivar single: it is one record, printed as property and value
    :ivar key: the column that identifies a row; empty if there is none
    """

    columns: Sequence[str]
    rows: Sequence[Mapping[str, Any]]
    single: bool = False
    key: str = ""


def table_of(result: Any, schema: Schema, keys: Sequence[str], *, single: bool = False) -> Table | None:
    """Return a result as a table; None for a single value.

    :param schema: of the result
    :param keys: wire names of keys, first that of the objects listed here; "" if it lists none
    :param single: the verb acts on one object; some of VDSM's answer with a list of one
    """
    if isinstance(result, Mapping):
        if _is_map(result, schema):
            return _of_map(result, schema.values or Schema({}), keys)
        return Table(_columns([result], schema), [result], single=True)
    if isinstance(result, list):
        if single and len(result) == 1 and isinstance(result[0], Mapping):
            return table_of(result[0], schema.items, keys)
        name = keys[0] if keys and keys[0] else VALUE
        rows = [row if isinstance(row, Mapping) else {name: row} for row in result]
        columns = _columns(rows, schema.items)
        return Table(columns, rows, key=_key_among(columns, keys))
    return None


def _is_map(result: Mapping[str, Any], schema: Schema) -> bool:
    if schema.values is not None:
        return schema.values.kind == "object" or all(isinstance(value, Mapping) for value in result.values())
    return False


def _of_map(result: Mapping[str, Any], schema: Schema, keys: Sequence[str]) -> Table:
    """Return a map by id as a table; the ids get a column unless the records have it already."""
    columns = _columns(result.values(), schema)
    key = next((c for c in columns if all(row.get(c) == id_ for id_, row in result.items())), "")
    if key:
        return Table(columns, list(result.values()), key=key)
    key = next((name for name in keys[:1] if name), "id")
    return Table([key, *columns], [{**row, key: id_} for id_, row in result.items()], key=key)


def _key_among(columns: Sequence[str], keys: Sequence[str]) -> str:
    """Return the column that is a key, in any case of letters: VDSM's structures have `vmID` and `vmId`."""
    lower = {column.lower(): column for column in reversed(columns)}
    wanted = [*(key.lower() for key in keys), "id", "uuid"]
    return next((lower[key] for key in wanted if key in lower), "")


def _columns(rows: Iterable[Mapping[str, Any]], schema: Schema) -> list[str]:
    """Return every member that occurs, in the order of the declaration; without rows, those declared."""
    present = dict.fromkeys(name for row in rows for name in row)
    declared = [name for name in schema.single.properties if name in present or not present]
    return list(dict.fromkeys([*declared, *present])) if present else declared


def first_columns(table: Table, width: int) -> list[str]:
    """Return the most informative columns of a list, as many as fit.

    Their order: the key, the name, the state, whole numbers, short text, truth values, then values that are
    long, empty or not in every row. Lists and structures are shown only where there is nothing else.

    :param width: of the terminal, in characters; 0 if there is none
    """
    ranked = sorted(table.columns, key=lambda name: _rank(name, table))
    plain = [name for name in ranked if _rank(name, table) < _NESTED]
    chosen: list[str] = []
    used = 1
    for name in (plain or ranked)[: MAX_COLUMNS * 2]:
        used += _BORDER + min(_MAX_WIDTH, max([len(name), *(len(cell(row.get(name))) for row in table.rows)]))
        if len(chosen) == MAX_COLUMNS or (width and used > width and len(chosen) > 1):
            break
        chosen.append(name)
    return chosen


#: Ranks of columns; within a rank, the order of the declaration is kept.
_KEY, _NAME, _STATE, _WHOLE, _PLAIN, _TRUTH, _LONG, _NESTED = range(8)
#: Characters above which a text counts as long.
_LONG_TEXT: Final = 24


def _rank(name: str, table: Table) -> int:
    lower, of = name.lower(), stem(table.key).lower()
    if name == table.key:
        return _KEY
    if lower in {"name", f"{of}name"}:
        return _NAME
    if lower in {"status", "state", f"{of}status", f"{of}state"}:
        return _STATE
    values = [row[name] for row in table.rows if name in row]
    if any(isinstance(value, (Mapping, list)) for value in values):
        return _NESTED
    # A member that some rows lack ranks with the long ones.
    return _rank_of_values(values) if len(values) == len(table.rows) else max(_LONG, _rank_of_values(values))


def _rank_of_values(values: Sequence[Any]) -> int:
    kinds = set(map(type, values))
    if kinds == {int}:
        return _WHOLE
    if kinds == {bool}:
        return _TRUTH
    widest = max((len(cell(value)) for value in values), default=0)
    return _PLAIN if 0 < widest <= _LONG_TEXT else _LONG


def cell(value: Any) -> str:
    """Return a value as text for a cell of a table; nested values are compact."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        plain = not any(isinstance(item, (Mapping, list)) for item in value)
        return ", ".join(map(cell, value)) if plain else "\n".join(map(_inner, value))
    if isinstance(value, Mapping):
        return "\n".join(f"{name}: {_inner(inner)}" for name, inner in value.items())
    return _short(value) if isinstance(value, float) else str(value)


def _short(number: float) -> str:
    """Return a fraction with three decimals at most, without the rounding errors of binary arithmetic."""
    return f"{number:.3f}".rstrip("0").rstrip(".")


def _inner(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={_innermost(inner)}" for name, inner in value.items())
    return cell(value) if not isinstance(value, list) else _innermost(value)


def _innermost(value: Any) -> str:
    return compact(value) if isinstance(value, (Mapping, list)) else cell(value)


def compact(value: Any) -> str:
    """Return a value as JSON on one line."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def word(value: Any) -> Any:
    """Return a value for CSV and `-f value`, which programs read: numbers unchanged, nested ones as JSON."""
    if isinstance(value, (Mapping, list)):
        return compact(value)
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else cell(value)
