"""The import path of a process that keeps running while distributions are installed and removed."""

from __future__ import annotations

import importlib
import site
import sys
from contextlib import suppress
from pathlib import Path


class ImportPath:
    """Updates `sys.path` to that of a Python process started now.

    Python reads the folders and `.pth` files of an installation once, when it starts. A distribution that is
    installed later may add more: an editable install does.
    """

    def __init__(self) -> None:
        self._read: set[tuple[Path, int]] | None = None
        self._times: dict[str, int] = {}

    def refresh(self) -> bool:
        """Process `.pth` files and folders that are new since the last call. The first call only records
        them.

        :returns: whether something may have been installed or removed since the last call
        """
        before = self._times
        self._times = _times()
        if self._read is not None and self._times == before:
            return False
        importlib.invalidate_caches()
        folders = _site_folders()
        if self._read is not None:
            for folder in folders:
                if str(folder) not in sys.path:
                    sys.path.append(str(folder))
        present = {(file, file.stat().st_mtime_ns) for folder in folders for file in folder.glob("*.pth")}
        if self._read is not None:
            for file, _ in sorted(present - self._read):
                site.addpackage(str(file.parent), file.name, None)
        self._read = present
        self._times = _times()
        return True


def _site_folders() -> list[Path]:
    names = [*site.getsitepackages(), *([site.getusersitepackages()] if site.ENABLE_USER_SITE else [])]
    return [path for path in map(Path, names) if path.is_dir()]


def _times() -> dict[str, int]:
    """Return when the folders of the import path were last changed, in nanoseconds."""
    times = {}
    for name in {*sys.path, *map(str, _site_folders())}:
        with suppress(OSError):
            times[name] = Path(name or ".").stat().st_mtime_ns
    return times
