"""The page of hooks."""

from __future__ import annotations

import inspect
from typing import Any

from vdsm_bridge.tool.installed import Installed
from vdsm_bridge.tool.reference.markdown import prose
from vdsm_bridge.tool.reference.sources import Sources
from vdsm_core.hooks import specs


def page(_: Installed, __: Sources) -> str:
    """Return `hooks.md`."""
    parts = ["# Hooks\n", f"{prose(specs)}\n"]
    parts.append("```python\nfrom vdsm_core.hooks import hookimpl\n```\n")
    for name, hook in specs.every().items():
        code = f"@hookimpl\ndef {name}{_signature(hook.function)}"
        parts.append(f"## {name}\n\n```python\n{code}\n```\n\n{_described(hook.function)}\n")
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
