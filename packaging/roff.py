"""Manual pages that belong to no parser, and prose for those that do, in the language of man(7)."""

from __future__ import annotations

import re
from collections.abc import Iterable

#: The first line of every page.
MARK = '.\\" Written by packaging/manuals.py from the code. Change that.'
#: Text between backquotes is set in bold.
_CODE = re.compile(r"`([^`]+)`")


def page(name: str, section: int, version: str, about: str, parts: Iterable[tuple[str, str]]) -> str:
    """Return a page with its sections in order; those without a text are left out."""
    lines = [
        MARK,
        f'.TH {name.upper()} {section} "" "vdsm {version}" "vdsm"',
        f".SH NAME\n{text(name)} \\- {text(about)}",
        *(f".SH {title}\n{body.strip()}" for title, body in parts if body.strip()),
    ]
    return "\n".join(lines) + "\n"


def text(words: str) -> str:
    """Return a text with the characters escaped that are special to roff, and code in bold."""
    plain = words.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace("→", "\\(->")
    plain = _CODE.sub(r"\\fB\1\\fR", plain)
    return re.sub(r"^([.])", r"\\&\1", plain, flags=re.MULTILINE)


def prose(*paragraphs: str) -> str:
    """Return paragraphs."""
    return "\n.PP\n".join(text(" ".join(each.split())) for each in paragraphs)


def example(lines: str) -> str:
    """Return lines that are not filled."""
    shown = text(lines.strip("\n"))
    return f".PP\n.RS 4\n.nf\n{shown}\n.fi\n.RE"


def terms(rows: Iterable[tuple[str, str]]) -> str:
    """Return terms with their meanings."""
    return "\n".join(f".TP\n.B {text(term)}\n{text(meaning)}" for term, meaning in rows)
