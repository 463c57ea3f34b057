"""The source tree as the rules see it: packages, plugins, modules, text files."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: What a build, a test run or a version control system leaves; no part of the source.
NOT_SOURCE = {".git", ".venv", "build", "dist", "results", "__pycache__"}
#: Distributions below plugins/ that bindings import.
LIBRARIES = {"http"}
NOT_SOURCE_SUFFIXES = ("_cache", ".egg-info", ".hypothesis")


@dataclass(frozen=True)
class Plugin:
    """A folder below plugins/: one distribution."""

    folder: Path

    @property
    def metadata(self) -> dict[str, Any]:
        """Its pyproject.toml."""
        return tomllib.loads((self.folder / "pyproject.toml").read_text("utf-8"))

    @property
    def distribution(self) -> str:
        """The name that DESIGN section 2 gives it."""
        return self.folder.name if self.folder.name == "vdsmsh" else f"vdsm-{self.folder.name}"

    @property
    def is_library(self) -> bool:
        """Whether it is a library under bindings, and plugs into nothing itself (DESIGN section 2)."""
        return self.folder.name in LIBRARIES

    @property
    def package(self) -> str:
        """The package inside."""
        return self.distribution.replace("-", "_")


@dataclass(frozen=True)
class Tree:
    """A checkout."""

    root: Path

    @property
    def metadata(self) -> dict[str, Any]:
        """The root distribution's pyproject.toml."""
        return tomllib.loads((self.root / "pyproject.toml").read_text("utf-8"))

    @property
    def plugins(self) -> list[Plugin]:
        """Every plugin, by name."""
        folders = (path for path in (self.root / "plugins").iterdir() if path.is_dir() and is_source(path))
        return [Plugin(folder) for folder in sorted(folders)]

    @property
    def packages(self) -> dict[str, Path]:
        """Every package that we ship, and its folder."""
        ours = {name: self.root / name for name in ("vdsm_core", "vdsm_bridge")}
        return ours | {plugin.package: plugin.folder / plugin.package for plugin in self.plugins}

    def modules(self, *packages: str) -> Iterator[Path]:
        """The modules of these packages; of all that we ship when none is named."""
        for name in packages or self.packages:
            yield from sorted(self.packages[name].rglob("*.py"))

    def files(self) -> Iterator[Path]:
        """Every source file of the checkout, of whatever kind."""
        for folder, names, files in os.walk(self.root):
            names[:] = sorted(name for name in names if is_source(Path(name)))
            # A worktree of git's has a file where a clone has a folder.
            yield from (Path(folder) / name for name in sorted(files) if name != ".git")

    def name(self, path: Path) -> str:
        """A path as messages show it."""
        return str(path.relative_to(self.root))

    def dotted(self, path: Path) -> str:
        """Return the name under which a module of ours is imported."""
        (folder,) = (folder for folder in self.packages.values() if path.is_relative_to(folder))
        parts = path.relative_to(folder.parent).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_source(path: Path) -> bool:
    """Whether this folder is part of the source."""
    return path.name not in NOT_SOURCE and not path.name.endswith(NOT_SOURCE_SUFFIXES)
