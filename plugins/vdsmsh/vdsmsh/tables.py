"""Results as tables: which rows and columns a result has, and which columns are shown first."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from vdsmsh.naming import stem
from vdsmsh.schema import Schema

#: Columns of a list that nobody chose columns for.
MOST_COLUMNS: Final = 6
#: Column of values that have no name of their own.
VALUE: Final = "value"
#: Two spaces and a line between two columns of a table.
_BORDER: Final = 3
#: A column does not claim more than this of the terminal; longer values fold.
_WIDEST: Final = 40


@dataclass(frozen=True)
class Table:
    """A result with rows and columns. `single`: it is one record, shown as property and value."""

    columns: Sequence[str]
    rows: Sequence[Mapping[str, Any]]
    single: bool = False


def table_of(result: Any, schema: Schema, key: str) -> Table | None:
    """A result as a table; None if it is a single value.

    :param schema: of the result
    :param key: wire name of the objects' key, for maps by id and lists of ids
    """
    if isinstance(result, Mapping):
        if _is_map(result, schema):
            return _of_rows(_rows_of_map(result, key), schema.values or Schema({}))
        return Table(_columns([result], schema), [result], single=True)
    if isinstance(result, list):
        rows = [row if isinstance(row, Mapping) else {key or VALUE: row} for row in result]
        return _of_rows(rows, schema.items)
    return None


def _is_map(result: Mapping[str, Any], schema: Schema) -> bool:
    if schema.values is not None:
        return schema.values.kind == "object" or all(isinstance(value, Mapping) for value in result.values())
    return False


def _rows_of_map(result: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    if all(id_ in row.values() for id_, row in result.items()):
        return list(result.values())
    return [{key or "id": id_, **row} for id_, row in result.items()]


def _of_rows(rows: Sequence[Mapping[str, Any]], schema: Schema) -> Table:
    return Table(_columns(rows, schema), rows)


def _columns(rows: Iterable[Mapping[str, Any]], schema: Schema) -> list[str]:
    """Every member that occurs, in the order of the declaration; without rows, those declared."""
    present = dict.fromkeys(name for row in rows for name in row)
    declared = [name for name in schema.single.properties if name in present or not present]
    return list(dict.fromkeys([*declared, *present])) if present else declared


def first_columns(table: Table, key: str, width: int) -> list[str]:
    """The columns of a list that say most, as many as fit.

    The key, the name, the state, short values, then long or empty ones; lists and structures only where
    there is nothing else.

    :param width: of the terminal, in characters; 0 if there is none
    """
    ranked = sorted(table.columns, key=lambda name: _rank(name, table, key))
    plain = [name for name in ranked if _rank(name, table, key) < _NESTED]
    chosen: list[str] = []
    used = 1
    for name in (plain or ranked)[: MOST_COLUMNS * 2]:
        used += _BORDER + min(_WIDEST, max([len(name), *(len(cell(row.get(name))) for row in table.rows)]))
        if len(chosen) == MOST_COLUMNS or (width and used > width and len(chosen) > 1):
            break
        chosen.append(name)
    return chosen


#: Ranks of columns; within a rank the order of the declaration holds.
_KEY, _NAME, _STATE, _PLAIN, _LONG, _NESTED = range(6)
#: Text of more characters than this is a message, not a property.
_LONG_TEXT: Final = 24


def _rank(name: str, table: Table, key: str) -> int:
    lower, of = name.lower(), stem(key).lower()
    if lower in {key.lower(), "id", "uuid"}:
        return _KEY
    if lower in {"name", f"{of}name"}:
        return _NAME
    if lower in {"status", "state", f"{of}status", f"{of}state"}:
        return _STATE
    values = [row[name] for row in table.rows if name in row]
    if any(isinstance(value, (Mapping, list)) for value in values):
        return _NESTED
    widest = max((len(cell(value)) for value in values), default=0)
    return _PLAIN if 0 < widest <= _LONG_TEXT else _LONG


def cell(value: Any) -> str:
    """A value as it stands in a table: nested ones compact."""
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
    """A fraction with three decimals at the most: enough to read, and no dust of binary arithmetic."""
    return f"{number:.3f}".rstrip("0").rstrip(".")


def _inner(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={_innermost(inner)}" for name, inner in value.items())
    return cell(value) if not isinstance(value, list) else _innermost(value)


def _innermost(value: Any) -> str:
    return compact(value) if isinstance(value, (Mapping, list)) else cell(value)


def compact(value: Any) -> str:
    """JSON on one line."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def word(value: Any) -> Any:
    """A value as programs read it from a line of CSV or words: numbers as they are, nested ones as JSON."""
    if isinstance(value, (Mapping, list)):
        return compact(value)
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else cell(value)
