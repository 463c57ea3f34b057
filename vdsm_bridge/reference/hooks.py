"""The page of hooks."""

from __future__ import annotations

import inspect
from typing import Any, Final

from vdsm_bridge.installed import Installed
from vdsm_bridge.reference.markdown import prose
from vdsm_bridge.reference.sources import Sources
from vdsm_core import hookspecs

_PREFIX: Final = f"{hookspecs.PROJECT}_"


def specs() -> dict[str, Any]:
    """Every hook by its name, in the order of the manual."""
    return {name: spec for name, spec in vars(hookspecs).items() if name.startswith(_PREFIX)}


def page(_: Installed, __: Sources) -> str:
    """`hooks.md`."""
    parts = ["# Hooks\n", f"{prose(hookspecs)}\n"]
    parts.append("```python\nfrom vdsm_core.hookspecs import hookimpl\n```\n")
    for name, spec in specs().items():
        parts.append(
            f"## {name}\n\n```python\n@hookimpl\ndef {name}{_signature(spec)}\n```\n\n{_described(spec)}\n"
        )
    return "\n".join(parts)


def _signature(spec: Any) -> str:
    signature = inspect.signature(spec)
    words = ", ".join(f"{p.name}: {p.annotation}" for p in signature.parameters.values())
    return f"({words}) -> {signature.return_annotation}: ..."


def _described(spec: Any) -> str:
    lines = []
    for line in prose(spec).splitlines():
        if line.startswith(":"):
            field, _, rest = line[1:].partition(":")
            lines.append(f"- `{field.removeprefix('param ')}`: {rest.strip()}")
        else:
            lines.append(line)
    return "\n".join(lines)
