"""The beginning of a third party's plugin: a distribution with one verb, and tests that pass."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path
from typing import Final

from vdsm_core.errors import VdsmError
from vdsm_core.plugins import PLUGIN_API

__all__ = ["CannotBegin", "write"]

_NAME: Final = re.compile(r"[a-z][a-z0-9_]*")
#: Template -> the file that it becomes.
_FILES: Final = {
    "pyproject.toml.in": "pyproject.toml",
    "README.md.in": "README.md",
    "package.py.in": "vdsm_{name}/__init__.py",
    "test.py.in": "tests/test_{name}.py",
}


class CannotBegin(VdsmError):
    """A plugin cannot be begun here. Facts: `name`, `reason`."""

    slug = "cannot-begin-plugin"
    template = "Cannot begin a plugin '{name}': {reason}"


def write(name: str, place: Path) -> Path:
    """Write the files.

    :param place: the folder in which the plugin's own folder is made
    :returns: the plugin's folder
    :raises CannotBegin: the name cannot be one, or the folder is there already
    """
    if not _NAME.fullmatch(name):
        raise CannotBegin(name=name, reason="a name has lower-case letters, digits and _, a letter first")
    folder = place / f"vdsm-{name}"
    if folder.exists():
        raise CannotBegin(name=name, reason=f"{folder} is there already")
    words = {"@NAME@": name, "@CLASS@": name.title().replace("_", ""), "@API@": str(PLUGIN_API)}
    for template, target in _FILES.items():
        text = (resources.files(__name__) / "files" / template).read_text("utf-8")
        for word, value in words.items():
            text = text.replace(word, value)
        file = folder / target.format(name=name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8")
    (folder / f"vdsm_{name}" / "py.typed").touch()
    return folder
