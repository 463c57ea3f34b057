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
    #: The column that tells one row from another; empty if none is known to.
    key: str = ""


def table_of(result: Any, schema: Schema, keys: Sequence[str], *, single: bool = False) -> Table | None:
    """A result as a table; None if it is a single value.

    :param schema: of the result
    :param keys: wire names that name objects, that of the objects listed here first; "" if it lists none
    :param single: it is about one object; VDSM answers with a list of one now and then
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
    """A map by id; the ids get a column unless the records have one with them already."""
    columns = _columns(result.values(), schema)
    key = next((c for c in columns if all(row.get(c) == id_ for id_, row in result.items())), "")
    if key:
        return Table(columns, list(result.values()), key=key)
    key = next((name for name in keys[:1] if name), "id")
    return Table([key, *columns], [{**row, key: id_} for id_, row in result.items()], key=key)


def _key_among(columns: Sequence[str], keys: Sequence[str]) -> str:
    """The column that is a key; VDSM's structures spell it now `vmID`, now `vmId`."""
    lower = {column.lower(): column for column in reversed(columns)}
    wanted = [*(key.lower() for key in keys), "id", "uuid"]
    return next((lower[key] for key in wanted if key in lower), "")


def _columns(rows: Iterable[Mapping[str, Any]], schema: Schema) -> list[str]:
    """Every member that occurs, in the order of the declaration; without rows, those declared."""
    present = dict.fromkeys(name for row in rows for name in row)
    declared = [name for name in schema.single.properties if name in present or not present]
    return list(dict.fromkeys([*declared, *present])) if present else declared


def first_columns(table: Table, width: int) -> list[str]:
    """The columns of a list that say most, as many as fit.

    The key, the name, the state, whole numbers, short text, truth values, then what is long, empty or
    not in every row; lists and structures only where there is nothing else.

    :param width: of the terminal, in characters; 0 if there is none
    """
    ranked = sorted(table.columns, key=lambda name: _rank(name, table))
    plain = [name for name in ranked if _rank(name, table) < _NESTED]
    chosen: list[str] = []
    used = 1
    for name in (plain or ranked)[: MOST_COLUMNS * 2]:
        used += _BORDER + min(_WIDEST, max([len(name), *(len(cell(row.get(name))) for row in table.rows)]))
        if len(chosen) == MOST_COLUMNS or (width and used > width and len(chosen) > 1):
            break
        chosen.append(name)
    return chosen


#: Ranks of columns; within a rank the order of the declaration holds.
_KEY, _NAME, _STATE, _WHOLE, _PLAIN, _TRUTH, _LONG, _NESTED = range(8)
#: Text of more characters than this is a message, not a property.
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
    # What only some rows have is the exception, not the rule.
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
