"""SQLite files of the daemon: created private, recognized as damaged or gone, set aside."""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

MEMORY: Final = ":memory:"
#: What SQLite keeps beside a file in WAL mode.
COMPANIONS: Final = ("-wal", "-shm")
_MODE: Final = 0o600
#: Primary result codes: the file is damaged, or no database at all.
_DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
#: Primary result codes: the disk or the file system refuses.
_REFUSED: Final = frozenset(
    {
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOLFS,
    }
)

Identity = tuple[int, int]


class Damaged(Exception):
    """A file is not what it should be; the text says how."""


def make_private(path: str) -> None:
    """Create a file with mode 0600 where absent, and tighten it and its companions where present.

    SQLite gives the companions that it creates the mode of the file.

    :raises OSError: it cannot be created
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _MODE)
    try:
        os.fchmod(descriptor, _MODE)
    finally:
        os.close(descriptor)
    for companion in COMPANIONS:
        with suppress(FileNotFoundError):
            Path(path + companion).chmod(_MODE)


def identity(path: str) -> Identity | None:
    """Return device and inode of a file; None if there is none."""
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def set_aside(path: str) -> str:
    """Rename a file, or whatever has its place, and its companions to dated names.

    :returns: the new name of the file
    :raises OSError: it cannot be renamed
    """
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    aside = f"{path}.damaged-{stamp}"
    for suffix in ("", *COMPANIONS):
        with suppress(FileNotFoundError):
            Path(path + suffix).rename(aside + suffix)
    return aside


def is_damage(error: BaseException) -> bool:
    """Return whether an error says that the file is damaged."""
    if isinstance(error, Damaged):
        return True
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return False
    return code & 0xFF in _DAMAGED or code == sqlite3.SQLITE_IOERR_SHORT_READ


def is_refusal(error: BaseException) -> bool:
    """Return whether an error says that the disk or the file system refuses."""
    if isinstance(error, OSError):
        return True
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in _REFUSED
