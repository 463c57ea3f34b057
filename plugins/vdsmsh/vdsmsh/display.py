"""Showing results with cliff: its formats, its options, its behaviour.

Only the display half of cliff is used: commands come from the verbs of a host, not from entry points.
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

from vdsmsh.failures import UsageError
from vdsmsh.schema import Schema
from vdsmsh.tables import Table, cell, first_columns, table_of, word


@dataclass
class _Stage:
    """What cliff wants of an application."""

    stdout: TextIO


# cliff had no types before 4.13, and is not followed.
class _Parameters(Command):  # type: ignore[misc]
    """Keeps the first place among the options for those of the verb."""

    def get_parser(self, prog_name: str) -> Any:
        """A parser with an empty group, `parameters`."""
        parser = super().get_parser(prog_name)
        self.parameters = parser.add_argument_group("parameters")
        return parser


class Display(Lister, _Parameters):  # type: ignore[misc]
    """The output options of one command, and what they make of its result."""

    #: Where a verb has a parameter of the same name, the verb's wins.
    conflict_handler = "resolve"

    def __init__(self, stdout: TextIO, description: str, epilog: str) -> None:
        super().__init__(_Stage(stdout), None)
        self._about = description
        self._after = epilog

    def get_description(self) -> str:
        """The text above the options."""
        return self._about

    def get_epilog(self) -> str:
        """The text below the options."""
        return self._after

    def get_parser(self, prog_name: str) -> Any:
        """A parser with the output options, that says in one line what is wrong."""
        parser = super().get_parser(prog_name)
        parser.formatter_class = argparse.RawDescriptionHelpFormatter
        # argparse would print the usage before the message.
        parser.error = _refuse
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Nothing: the result is handed to `show`."""
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
        except ValueError as error:
            raise UsageError(str(error)) from None

    def _show_as_given(self, result: Any, parsed: argparse.Namespace) -> None:
        stdout = self.app.stdout
        if parsed.formatter == "json":
            indent = None if getattr(parsed, "noindent", False) else 2
            print(json.dumps(result, indent=indent, ensure_ascii=False), file=stdout)
        elif parsed.formatter == "yaml":
            # The import is slow, and few ask for it.
            importlib.import_module("yaml").safe_dump(result, stdout, allow_unicode=True, sort_keys=False)
        elif result is not None:
            print(cell(result), file=stdout)

    def _show_one(self, table: Table, parsed: argparse.Namespace) -> None:
        if not isinstance(self.formatter, SingleFormatter):
            self._emit(table, parsed)
            return
        columns, _ = self._generate_columns_and_selector(parsed, table.columns)
        self._fit(parsed)
        spell = _spelling(parsed.formatter)
        values = [spell(table.rows[0].get(name)) for name in columns]
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
        spell = _spelling(parsed.formatter)
        rows = [[spell(row.get(name)) for name in table.columns] for row in table.rows]
        self.produce_output(parsed, table.columns, rows)

    def _fit(self, parsed: argparse.Namespace) -> None:
        """Fold what is wider than the terminal."""
        if not getattr(parsed, "max_width", 0):
            parsed.max_width = self._width()

    def _width(self) -> int:
        stdout = self.app.stdout
        return shutil.get_terminal_size().columns if stdout.isatty() else 0


def _spelling(formatter: str) -> Any:
    if formatter == "table":
        return lambda value: value if _is_whole(value) else cell(value)
    return word if formatter in ("csv", "value") else lambda value: value


def _is_whole(value: Any) -> bool:
    # Whole numbers stay numbers, for cliff puts those to the right and sorts them by size.
    return isinstance(value, int) and not isinstance(value, bool)


def _refuse(message: str) -> None:
    raise UsageError(message)
