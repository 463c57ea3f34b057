"""What `--watch` prints: the table redrawn in place on a terminal, otherwise a line for each change."""

from __future__ import annotations

import argparse
import io
import json
import shutil
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol, TextIO

from vdsmsh.api.schema import Schema
from vdsmsh.output.display import Display
from vdsmsh.output.event_lines import paint, pairs
from vdsmsh.output.tables import first_columns, table_of

_FAINT: Final = "2"
#: How JSON names the marks of changes.
_CHANGES: Final = {"=": "present", "+": "added", "~": "changed", "-": "removed"}

Rows = dict[str, Mapping[str, Any]]


class View(Protocol):
    """A list that is printed again and again."""

    def show(self, result: Any) -> None:
        """Print the list as it is now."""

    def add_line(self, text: str) -> None:
        """Account for a line that another program printed on the same terminal."""


def view_for(
    display: Display,
    parsed: argparse.Namespace,
    schema: Schema,
    keys: Sequence[str],
    *,
    title: str,
    stdout: TextIO,
) -> View:
    """Return the view that suits the output: a screen for a table on a terminal, else changes."""
    if stdout.isatty() and parsed.formatter == "table":
        return _Screen(display, parsed, schema, keys, title=title, stdout=stdout)
    return _Changes(parsed, schema, keys, stdout)


class _Page(io.StringIO):
    """Text that is formatted for a terminal before it is printed there."""

    def isatty(self) -> bool:
        return True


class _Screen:
    """Draws the table over its last drawing."""

    def __init__(
        self,
        display: Display,
        parsed: argparse.Namespace,
        schema: Schema,
        keys: Sequence[str],
        *,
        title: str,
        stdout: TextIO,
    ) -> None:
        self._display = display
        self._parsed = parsed
        self._schema = schema
        self._keys = keys
        self._title = title
        self._stdout = stdout
        self._drawn = 0

    def show(self, result: Any) -> None:
        page = _Page()
        self._display.app.stdout = page
        # `show` writes the columns and the width that it chose into the namespace: give it a copy.
        self._display.show(result, self._schema, self._keys, argparse.Namespace(**vars(self._parsed)))
        size = shutil.get_terminal_size()
        lines = page.getvalue().splitlines() or ["(nothing)"]
        room = size.lines - 2
        if len(lines) > room:
            lines = [*lines[: room - 1], f"… {len(lines) - room + 1} more lines"]
        head = f"{self._title}   {time.strftime('%H:%M:%S')}   Ctrl-C ends"[: size.columns]
        # ECMA-48: cursor to the first line of the last drawing, erase to the end of the screen.
        up = f"\x1b[{self._drawn}F\x1b[0J" if self._drawn else ""
        print(up + "\n".join([paint(head, _FAINT), *lines]), file=self._stdout, flush=True)
        self._drawn = len(lines) + 1

    def add_line(self, text: str) -> None:
        # The next drawing covers it, too.
        self._drawn += 1 + max(0, len(text) - 1) // shutil.get_terminal_size().columns


class _Changes:
    """Prints the rows that changed: `+` added, `~` changed, `-` removed; `=` present at the start."""

    def __init__(
        self, parsed: argparse.Namespace, schema: Schema, keys: Sequence[str], stdout: TextIO
    ) -> None:
        self._parsed = parsed
        self._schema = schema
        self._keys = keys
        self._stdout = stdout
        self._known: Rows | None = None

    def show(self, result: Any) -> None:
        rows = self._rows(result)
        known = self._known
        for key, row in rows.items():
            if known is None:
                self._print("=", row)
            elif key not in known:
                self._print("+", row)
            elif known[key] != row:
                self._print("~", row)
        for key in [key for key in known or () if key not in rows]:
            self._print("-", (known or {})[key])
        self._known = rows
        self._stdout.flush()

    def add_line(self, text: str) -> None:
        """Do nothing: lines are not drawn over."""

    def _rows(self, result: Any) -> Rows:
        table = table_of(result, self._schema, self._keys)
        if table is None:
            return {"": {"value": result}}
        columns = list(table.columns)
        if self._parsed.columns:
            columns = list(self._parsed.columns)
        elif self._parsed.formatter not in ("json", "yaml"):
            columns = first_columns(table, 0)
        return {
            str(row.get(table.key, number) if table.key else number): {
                name: row[name] for name in columns if name in row
            }
            for number, row in enumerate(table.rows)
        }

    def _print(self, mark: str, row: Mapping[str, Any]) -> None:
        if self._parsed.formatter == "json":
            line = json.dumps({"change": _CHANGES[mark], "object": row}, ensure_ascii=False)
        else:
            line = f"{mark} {pairs(row)}"
        print(line, file=self._stdout)
