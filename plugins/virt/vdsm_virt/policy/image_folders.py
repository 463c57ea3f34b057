"""The folders whose images an operator may give to machines."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from vdsm_virt.policy.qcow2 import UnsafeImage, references

#: Images in one chain; libvirt takes up to 200.
_MAX_CHAIN: Final = 200


class ImageFolders:
    """Checks that an image, and every image that it refers to, is a file within the image folders.

    Paths are compared after links are resolved. What cannot be read is refused: a link, or the header of an
    image, may name any file of the host. The check is of the moment: an account that can write to an image
    folder can replace an image afterwards.
    """

    def __init__(self, folders: Sequence[str]) -> None:
        self._folders = tuple(folders)

    def fault(self, path: str, *, raw: bool) -> str:
        """Return why an image may not be used by operators, as one clause; empty if it may.

        :param raw: QEMU opens the image as raw: its content names no other file
        """
        waiting = [(path, raw)]
        seen: set[str] = set()
        while waiting:
            current, is_raw = waiting.pop()
            shown = current if current == path else f"{current}, which {path} refers to,"
            try:
                resolved = self._resolve(current)
            except (OSError, ValueError) as error:
                return f"{shown} cannot be checked: {getattr(error, 'strerror', None) or error}"
            if not self._is_within(resolved):
                elsewhere = f" (it is {resolved})" if resolved != current else ""
                return f"{shown} is outside the image folders{elsewhere}"
            if resolved in seen:
                continue
            seen.add(resolved)
            if len(seen) > _MAX_CHAIN:
                return f"{path} refers to more than {_MAX_CHAIN} images"
            try:
                if not stat.S_ISREG(Path(resolved).stat().st_mode):
                    return f"{shown} is not a regular file"
                if not is_raw:
                    # A relative name is found beside the image: beside the link to it, or beside its file.
                    places = {Path(current).parent, Path(resolved).parent}
                    names = references(resolved)
                    waiting += [(str(place / name), False) for name in names for place in places]
            except FileNotFoundError:
                continue  # QEMU refuses it
            except (OSError, UnsafeImage) as error:
                return f"{shown} cannot be checked: {getattr(error, 'strerror', None) or error}"
        return ""

    @staticmethod
    def _resolve(path: str) -> str:
        """Return a path without links; its last parts need not exist.

        :raises OSError: a part cannot be read, or is a link to nothing
        :raises ValueError: the path is not absolute, or has parts `.` or `..`
        """
        if not path.startswith("/") or path.startswith("//"):
            raise ValueError("the path is not absolute")
        if {".", ".."} & set(path.split("/")):
            raise ValueError("the path has a part '.' or '..'")
        missing: list[str] = []
        current = path.rstrip("/") or "/"
        while True:
            try:
                os.lstat(current)
            except (FileNotFoundError, NotADirectoryError):
                current, name = os.path.split(current.rstrip("/"))
                missing.insert(0, name)
                continue
            # Strict: a link to nothing could be given a target after the check.
            return str(Path(os.path.realpath(current, strict=True), *missing))

    def _is_within(self, resolved: str) -> bool:
        return any(
            resolved.startswith(f"{os.path.realpath(folder).rstrip('/')}/") for folder in self._folders
        )
