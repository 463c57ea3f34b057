"""The little Markdown that the reference pages need."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; nothing if there are no rows."""
    body = [f"| {' | '.join(cell.strip() or ' ' for cell in row)} |" for row in rows]
    if not body:
        return ""
    return "\n".join([f"| {' | '.join(head)} |", f"| {' | '.join('---' for _ in head)} |", *body]) + "\n"


def prose(thing: object) -> str:
    """The docstring of a thing, in paragraphs of one line each; code blocks of reST become Markdown's."""
    text = inspect.getdoc(thing) or ""
    text = re.sub(r"::\n\n((?:    .*\n?|\n)+)", _fence, text + "\n")
    return text.strip()


def line(thing: object) -> str:
    """The first paragraph of a docstring, on one line."""
    return " ".join(prose(thing).partition("\n\n")[0].split())


def _fence(match: re.Match[str]) -> str:
    return f"\n\n```\n{inspect.cleandoc(match[1])}\n```\n\n"
