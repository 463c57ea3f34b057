"""The reference pages, written from the declarations: verbs, errors, events, options and hooks."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from vdsm_bridge.tool.installed import Installed
from vdsm_bridge.tool.reference import errors, events, hooks, options, verbs
from vdsm_bridge.tool.reference.sources import Sources

__all__ = ["PAGES", "render", "write"]

PAGES: Final[dict[str, Callable[[Installed, Sources], str]]] = {
    "errors.md": errors.page,
    "events.md": events.page,
    "hooks.md": hooks.page,
    "options.md": options.page,
    "verbs.md": verbs.page,
}

_MARK: Final = "<!-- Written by `vdsm-tool docs` from the declarations in the code. Change those. -->\n\n"


def render(installed: Installed) -> dict[str, str]:
    """Return every page by the name of its file."""
    sources = Sources.of(installed)
    return {name: _MARK + _tidy(page(installed, sources)) for name, page in PAGES.items()}


def _tidy(text: str) -> str:
    return re.sub(r"\n{3,}", "\n\n", text).rstrip() + "\n"


def write(installed: Installed, folder: Path) -> list[Path]:
    """Write every page.

    :returns: the files that changed
    """
    folder.mkdir(parents=True, exist_ok=True)
    changed = []
    for name, text in render(installed).items():
        file = folder / name
        if not file.exists() or file.read_text("utf-8") != text:
            file.write_text(text, "utf-8")
            changed.append(file)
    return changed
