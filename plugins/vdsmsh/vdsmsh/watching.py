"""`--watch`: a list that is kept up to date, whenever an event says that it may have changed."""

from __future__ import annotations

import argparse
import io
import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol, TextIO

from vdsm_bridge.transport import CallRefused, Unreachable
from vdsmsh.catalogue import Catalogue, Verb
from vdsmsh.display import Display
from vdsmsh.eventlines import paint, pairs
from vdsmsh.following import Follower, let_pass
from vdsmsh.schema import Schema
from vdsmsh.session import Session
from vdsmsh.settings import Settings
from vdsmsh.tables import first_columns, table_of

#: Seconds that a burst of events gets to end before the list is read again.
_SETTLE: Final = 0.2
#: Seconds after which the list is read again if the host did not give it.
_AGAIN: Final = 2.0
_FAINT: Final = "2"

Rows = dict[str, Mapping[str, Any]]


class View(Protocol):
    """What shows a list to somebody."""

    def show(self, result: Any) -> None:
        """Show it as it is now."""

    def told(self, text: str) -> None:
        """Something else was told in between, which may stand on the same terminal."""


def lists(verb: Verb, catalogue: Catalogue) -> bool:
    """Whether a verb lists something."""
    return verb.kind == "query" and (verb.part == "list" or bool(catalogue.key_listed_by(verb.name)))


def patterns_of(verb: Verb, catalogue: Catalogue) -> list[str]:
    """The events that may change what a verb lists: those whose component is named like a feature, or like
    the objects of one."""
    listed = [other for other in catalogue.verbs.values() if other.listed_by == verb.name]
    names = [name for each in (verb, *listed) for name in (each.plugin, each.namespace.lower())]
    return [name for name in dict.fromkeys(names) if name]


def watch(
    session: Session, settings: Settings, patterns: Sequence[str], ask: Callable[[], Any], view: View
) -> None:
    """Show the answer to a question, and again whenever something may have changed it. Ends by Ctrl-C.

    :param patterns: of the events that say so
    :raises TransportError: the host refused, or did not answer at the beginning
    """

    def tell(text: str) -> None:
        if settings.verbosity:
            line = f"vdsmsh: {text}"
            print(line, file=session.streams.stderr, flush=True)
            if session.streams.stderr.isatty():
                view.told(line)

    # Whoever listens before it looks misses nothing.
    with Follower(session.transport, patterns, settings.reading, tell) as follower:
        view.show(ask())
        shown, due = follower.connections, 0.0
        while True:
            look = session.streams.insist()
            news = bool(follower.next(look if shown else min(look, _AGAIN)))
            late = not shown and time.monotonic() >= due
            if not news and not late and shown in (0, follower.connections):
                continue
            time.sleep(_SETTLE)
            follower.next(0.0)
            try:
                view.show(ask())
                shown = follower.connections
            except (CallRefused, Unreachable) as error:
                # The stream will find out, too, if the host is gone.
                let_pass(error)
                shown, due = 0, time.monotonic() + _AGAIN


def shower(
    display: Display,
    parsed: argparse.Namespace,
    schema: Schema,
    keys: Sequence[str],
    *,
    title: str,
    stdout: TextIO,
) -> View:
    """What shows the list: in place on a terminal, as a line for each change otherwise."""
    if stdout.isatty() and parsed.formatter == "table":
        return _Screen(display, parsed, schema, keys, title=title, stdout=stdout)
    return _Changes(parsed, schema, keys, stdout)


class _Page(io.StringIO):
    """What is written for a terminal, before it goes there."""

    def isatty(self) -> bool:
        return True


class _Screen:
    """Draws a table over the last one."""

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
        # What is worked out while showing (columns, width) holds for one time only.
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

    def told(self, text: str) -> None:
        # The next drawing covers it, too.
        self._drawn += 1 + max(0, len(text) - 1) // shutil.get_terminal_size().columns


class _Changes:
    """Prints what has changed since the last time: `+` came, `~` changed, `-` went; `=` was there."""

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

    def told(self, text: str) -> None:
        pass

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
            line = json.dumps({"change": _WORDS[mark], "object": row}, ensure_ascii=False)
        else:
            line = f"{mark} {pairs(row)}"
        print(line, file=self._stdout)


_WORDS: Final = {"=": "present", "+": "added", "~": "changed", "-": "removed"}
