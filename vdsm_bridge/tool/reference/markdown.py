"""Markdown for the reference pages."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; an empty text without rows."""
    body = [f"| {' | '.join(cell.strip() or ' ' for cell in row)} |" for row in rows]
    if not body:
        return ""
    return "\n".join([f"| {' | '.join(head)} |", f"| {' | '.join('---' for _ in head)} |", *body]) + "\n"


def prose(thing: object) -> str:
    """Return the docstring of an object as Markdown: one line for each paragraph, fenced code blocks."""
    text = inspect.getdoc(thing) or ""
    text = re.sub(r"::\n\n((?:    .*\n?|\n)+)", _fence, text + "\n")
    return text.strip()


def line(thing: object) -> str:
    """Return the first paragraph of the docstring of an object, on one line."""
    return " ".join(prose(thing).partition("\n\n")[0].split())


def _fence(match: re.Match[str]) -> str:
    return f"\n\n```\n{inspect.cleandoc(match[1])}\n```\n\n"
