"""Results printed by cliff: its formats and its options.

Only this half of cliff is used: commands are derived from the verbs of a host, not found in entry points.
"""

from __future__ import annotations

import argparse
import importlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TextIO

from cliff.command import Command
from cliff.formatters.base import SingleFormatter
from cliff.lister import Lister

from vdsmsh.api.schema import Schema
from vdsmsh.errors import UsageError
from vdsmsh.output.tables import Table, cell, first_columns, table_of, word
from vdsmsh.settings import usage_error


@dataclass
class _Stage:
    """What cliff needs of an application."""

    stdout: TextIO


# cliff has no types before 4.13, which Debian 12 ships.
class _Parameters(Command):  # type: ignore[misc]
    """Puts the group of the verb's options before those of cliff."""

    def get_parser(self, prog_name: str) -> Any:
        """Return a parser with an empty group, `parameters`."""
        parser = super().get_parser(prog_name)
        self.parameters = parser.add_argument_group("parameters")
        return parser


class Display(Lister, _Parameters):  # type: ignore[misc]
    """The output options of one command, and the printing of its result."""

    #: Where a verb has a parameter of the same name, the verb's wins.
    conflict_handler = "resolve"

    def __init__(self, stdout: TextIO, description: str, epilog: str) -> None:
        super().__init__(_Stage(stdout), None)
        self._about = description
        self._after = epilog

    def get_description(self) -> str:
        """Return the text above the options."""
        return self._about

    def get_epilog(self) -> str:
        """Return the text below the options."""
        return self._after

    def get_parser(self, prog_name: str) -> Any:
        """Return a parser with the output options, which raises its error instead of printing the usage."""
        parser = super().get_parser(prog_name)
        parser.formatter_class = argparse.RawDescriptionHelpFormatter

        def refuse(message: str) -> None:
            raise usage_error(prog_name, message)

        parser.error = refuse
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Do nothing: `show` prints the result."""
        raise NotImplementedError

    def show(
        self,
        result: Any,
        schema: Schema,
        keys: Sequence[str],
        parsed: argparse.Namespace,
        *,
        single: bool = False,
    ) -> None:
        """Print a result.

        :raises UsageError: none of the chosen columns exists
        """
        self.formatter = self._formatter_plugins[parsed.formatter].obj
        table = table_of(result, schema, keys, single=single)
        as_given = parsed.formatter in ("json", "yaml") and not (parsed.columns or parsed.sort_columns)
        if table is None or as_given:
            self._show_as_given(result, parsed)
            return
        try:
            if table.single:
                self._show_one(table, parsed)
            else:
                self._show_list(table, parsed)
        except ValueError:
            # cliff accepts unknown columns beside known ones, and raises this for unknown ones alone.
            wanted = ", ".join(dict.fromkeys([*parsed.columns, *parsed.sort_columns]))
            known = ", ".join(table.columns)
            raise UsageError(f"the result has no column {wanted}; its columns are {known}") from None

    def _show_as_given(self, result: Any, parsed: argparse.Namespace) -> None:
        stdout = self.app.stdout
        if parsed.formatter == "json":
            indent = None if getattr(parsed, "noindent", False) else 2
            print(json.dumps(result, indent=indent, ensure_ascii=False), file=stdout)
        elif parsed.formatter == "yaml":
            # The import is slow, and other formats do without.
            importlib.import_module("yaml").safe_dump(result, stdout, allow_unicode=True, sort_keys=False)
        elif result is not None:
            print(cell(result), file=stdout)

    def _show_one(self, table: Table, parsed: argparse.Namespace) -> None:
        if not isinstance(self.formatter, SingleFormatter):
            self._emit(table, parsed)
            return
        columns, _ = self._generate_columns_and_selector(parsed, table.columns)
        self._fit(parsed)
        convert = _converter(parsed.formatter)
        values = [convert(table.rows[0].get(name)) for name in columns]
        self.formatter.emit_one(columns, values, self.app.stdout, parsed)

    def _show_list(self, table: Table, parsed: argparse.Namespace) -> None:
        if parsed.formatter == "table":
            if not (table.rows or parsed.print_empty):
                return
            self._fit(parsed)
            if not parsed.columns:
                parsed.columns = first_columns(table, self._width())
                order = [*parsed.columns, *(name for name in table.columns if name not in parsed.columns)]
                table = Table(order, table.rows, key=table.key)
        if table.columns:
            self._emit(table, parsed)

    def _emit(self, table: Table, parsed: argparse.Namespace) -> None:
        convert = _converter(parsed.formatter)
        rows = [[convert(row.get(name)) for name in table.columns] for row in table.rows]
        self.produce_output(parsed, table.columns, rows)

    def _fit(self, parsed: argparse.Namespace) -> None:
        """Fold a table that is wider than the terminal."""
        if not getattr(parsed, "max_width", 0):
            parsed.max_width = self._width()

    def _width(self) -> int:
        stdout = self.app.stdout
        return shutil.get_terminal_size().columns if stdout.isatty() else 0


def _converter(formatter: str) -> Any:
    if formatter == "table":
        return lambda value: value if _is_whole(value) else cell(value)
    return word if formatter in ("csv", "value") else lambda value: value


def _is_whole(value: Any) -> bool:
    # Whole numbers stay numbers: cliff aligns those to the right and sorts them by size.
    return isinstance(value, int) and not isinstance(value, bool)
