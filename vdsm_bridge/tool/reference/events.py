"""The page of events."""

from __future__ import annotations

from typing import Any, Final

from vdsm_bridge.tool.installed import Installed
from vdsm_bridge.tool.reference.markdown import prose, table
from vdsm_bridge.tool.reference.sources import Sources
from vdsm_bridge.tool.reference.type_names import comments, describe, fields, records
from vdsm_core.events import event_types

_INTRODUCTION: Final = """\
# Events

An event's id is `|component|operation|object`. A subscription takes a pattern: an id in which `*` stands for
any text within a part; parts that are left out match everything. Every event has a number higher than that of
the event before it. Events that a slow subscriber misses are announced to it as a gap.
"""


def page(_: Installed, sources: Sources) -> str:
    """Return `events.md`."""
    kinds: list[Any] = [kind for kind in event_types() if sources.declare(kind)]
    inside = {
        name: cls
        for kind in kinds
        for name, cls in records([kind]).items()
        if cls is not kind and sources.declare(cls)
    }
    parts = [_INTRODUCTION, *(_event(kind) for kind in kinds)]
    if inside:
        parts += ["## Records\n", *(_members(f"### {name}", cls) for name, cls in sorted(inside.items()))]
    return "\n".join(parts)


def _event(kind: Any) -> str:
    return _members(f"### `|{kind.component}|{kind.operation}|…`", kind)


def _members(title: str, cls: type) -> str:
    notes = comments(cls)
    rows = [
        (f"`{field.encode_name}`", describe(field.type), notes.get(field.name, "")) for field in fields(cls)
    ]
    return f"{title}\n\n{prose(cls)}\n\n{table(('parameter', 'type', 'meaning'), rows)}"
