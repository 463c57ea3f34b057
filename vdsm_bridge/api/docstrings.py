"""Docstrings of verbs: summary, description, and the fields `:param:`, `:returns:`, `:raises:`."""

from __future__ import annotations

import re
from typing import Final

import msgspec


class Docstring(msgspec.Struct):
    """The parts of a docstring, each as text without line breaks."""

    summary: str
    body: str
    params: dict[str, str]
    returns: str
    raises: dict[str, str]


_FIELD: Final = re.compile(r"^:(param|returns?|raises)\s*([^:]*):\s*(.*)$")


def parse_docstring(text: str) -> Docstring:
    """Return the parts of a docstring."""
    doc = Docstring("", "", {}, "", {})
    lines = text.splitlines()
    prose: list[str] = []
    fields: list[list[str]] = []
    for line in lines:
        if match := _FIELD.match(line):
            fields.append(list(match.groups()))
        elif fields and line.strip():
            fields[-1][2] += f" {line.strip()}"
        elif not fields:
            prose.append(line)
    summary, _, body = "\n".join(prose).partition("\n\n")
    doc.summary = " ".join(summary.split())
    doc.body = body.strip()
    for kind, name, rest in fields:
        if kind == "param":
            doc.params[name.strip()] = rest.strip()
        elif kind == "raises":
            doc.raises[name.strip()] = rest.strip()
        else:
            doc.returns = rest.strip()
    return doc
