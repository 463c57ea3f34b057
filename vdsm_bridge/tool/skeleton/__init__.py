"""The skeleton of a third-party plugin: a distribution with one verb, and tests that pass."""

from __future__ import annotations

import builtins
import keyword
import re
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from vdsm_bridge.tool.installed import Installed
from vdsm_core.errors import VdsmError
from vdsm_core.plugins import PLUGIN_API

__all__ = ["CannotBegin", "write"]

_NAME: Final = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
#: Names that the module of the skeleton imports.
_TAKEN: Final = frozenset({"Annotated", "Feature", "Meta", "Namespace", "Options", "Sequence"})
#: Template -> the file written from it.
_FILES: Final = {
    "pyproject.toml.in": "pyproject.toml",
    "README.md.in": "README.md",
    "package.py.in": "vdsm_{name}/__init__.py",
    "test.py.in": "tests/test_{name}.py",
}


class CannotBegin(VdsmError):
    """A new plugin cannot be written. Facts: `name`, `reason`."""

    slug = "cannot-begin-plugin"
    template = "Cannot create a plugin '{name}': {reason}"


def write(name: str, place: Path, installed: Installed) -> Path:
    """Write the files.

    :param place: the folder in which the folder of the plugin is created
    :param installed: the plugins with whose names it must not collide
    :returns: the plugin's folder
    :raises CannotBegin: the name is not valid or taken, or the folder exists already
    """
    if reason := _objection(name, installed):
        raise CannotBegin(name=name, reason=reason)
    folder = place / f"vdsm-{name}"
    if folder.exists():
        raise CannotBegin(name=name, reason=f"{folder} exists already; remove it or give another --output")
    words = {"@NAME@": name, "@CLASS@": _class(name), "@API@": str(PLUGIN_API)}
    for template, target in _FILES.items():
        text = (resources.files(__name__) / "files" / template).read_text("utf-8")
        for word, value in words.items():
            text = text.replace(word, value)
        file = folder / target.format(name=name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8")
    (folder / f"vdsm_{name}" / "py.typed").touch()
    return folder


def _class(name: str) -> str:
    return name.title().replace("_", "")


def _objection(name: str, installed: Installed) -> str:
    """Return the reason why a plugin cannot have a name; empty if it can."""
    if not _NAME.fullmatch(name):
        return "a name is lower-case letters and digits, a letter first, with single _ between words"
    class_ = _class(name)
    if class_ in _TAKEN or keyword.iskeyword(class_) or hasattr(builtins, class_):
        return f"its class {class_} would have a name that Python or the skeleton uses; choose another name"
    for plugin in installed.plugins:
        if plugin.name == name:
            return f"a plugin of this name is installed, from {plugin.source}"
    for verb in installed.verbs.values():
        if class_.lower() == verb.namespace.name.lower() or name == verb.namespace.plural:
            return f"the plugin '{verb.plugin}' has the namespace {verb.namespace.name} already"
    if find_spec(f"vdsm_{name}") is not None:
        return f"a package vdsm_{name} is installed"
    return ""
