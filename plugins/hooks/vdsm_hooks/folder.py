"""The folders of scripts: what is in them, with checksums, and whether root may run it."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import threading
from pathlib import Path
from typing import Final, NamedTuple

from vdsm_core.errors import OperationFailed

#: The names of scripts: one component, no control character. Names with a dot in front are never run.
_NAME: Final = re.compile(r"^(?!\.)[^/\x00-\x1f\x7f]{1,255}\Z")
_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH


class ScriptFile(NamedTuple):
    """One entry of a folder of scripts.

    :ivar fault: why it cannot be run; empty if it can
    """

    name: str
    path: Path
    fault: str = ""


class ScriptFolders:
    """The folder of all points. Read at each call: what is added or removed is seen at once."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lock = threading.Lock()
        self._sums: dict[tuple[int, int, int, int], str] = {}

    @property
    def root(self) -> Path:
        """The folder of all points."""
        return self._root

    def has(self, point: str) -> bool:
        """Return whether there is anything to run at a point. Takes microseconds."""
        try:
            with os.scandir(self._root / point) as entries:
                return any(_counts(entry) for entry in entries)
        except OSError:
            return False

    def scripts(self, point: str) -> list[ScriptFile]:
        """Return the scripts of a point, in the order in which they run: by name.

        Files that are not executable, folders, and names with a dot in front are left out, as in VDSM.
        """
        try:
            with os.scandir(self._root / point) as entries:
                names = sorted(entry.name for entry in entries if _counts(entry))
        except FileNotFoundError:
            return []
        except OSError as error:
            return [ScriptFile("", self._root / point, f"its folder cannot be read: {error.strerror}")]
        return [self.script(point, name) for name in names]

    def script(self, point: str, name: str) -> ScriptFile:
        """Return one script, with the reason why it cannot be run."""
        path = self._root / point / name
        if not _NAME.match(name):
            return ScriptFile(ascii(name), path, "its name has control characters")
        try:
            target = path.resolve(strict=True)
            root = self._root.resolve(strict=True)
        except OSError as error:
            return ScriptFile(name, path, error.strerror or str(error))
        if not target.is_relative_to(root):
            return ScriptFile(name, path, f"it is a link that leads out of {self._root}")
        return ScriptFile(name, path)

    def checksum(self, script: ScriptFile) -> str:
        """Return the SHA-256 of a script, in hexadecimal; empty if it cannot be read."""
        try:
            found = script.path.stat()
            key = (found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size)
            with self._lock:
                if key in self._sums:
                    return self._sums[key]
            with script.path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:
            return ""
        with self._lock:
            if len(self._sums) > 1_000:
                self._sums.clear()
            self._sums[key] = digest
        return digest


def _counts(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a script: an executable regular file, or a link, which is checked when it runs."""
    if entry.name.startswith("."):
        return False
    try:
        if entry.is_symlink() and not entry.is_file():
            # A link to nothing: one that was a script once.
            return not entry.is_dir()
        return entry.is_file() and bool(entry.stat().st_mode & 0o111)
    except OSError:
        return False


def check_owned_by_root(path: Path, root: Path) -> Path:
    """Check that only root can change which script a path names, and return the script itself.

    Each folder from the top to the script has to be root's and not writable for others, as has the script.
    Above the folder of all points, one with the sticky bit may be writable: entries of root's stay.

    :param root: the folder of all points
    :raises OperationFailed: another user can
    """
    try:
        target = path.resolve(strict=True)
        for each in (target, *target.parents):
            found = each.lstat()
            inside = each.is_relative_to(root.resolve(strict=True))
            sticky = bool(found.st_mode & stat.S_ISVTX) and stat.S_ISDIR(found.st_mode) and not inside
            if found.st_uid != 0 or (found.st_mode & _OTHERS and not sticky):
                raise OperationFailed(
                    reason=f"the hook script {path} is not run: {each} is not root's alone to change"
                )
    except OSError as error:
        raise OperationFailed(reason=f"the hook script {path} is not run: {error.strerror}") from None
    if not target.is_relative_to(root.resolve()):
        raise OperationFailed(reason=f"the hook script {path} is not run: it leads out of {root}")
    if not stat.S_ISREG(target.lstat().st_mode):
        raise OperationFailed(reason=f"the hook script {path} is not run: it is no regular file")
    return target
