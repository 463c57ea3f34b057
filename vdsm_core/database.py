"""SQLite files of the daemon: created private, recognized as damaged, gone or too new, set aside."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Mapping
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from vdsm_core.errors import ConfigError

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
    """The content of a file is not as expected; the message describes the difference."""


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


def refuse_newer(path: str, versions: str, known: Mapping[str, int]) -> None:
    """Refuse a file that a newer release wrote, before anything in it or beside it is changed.

    A file that is absent, damaged or not readable passes: opening it reports that.

    :param versions: a query for names of parts and their versions
    :param known: part -> the newest version that this release can use; other parts are ignored
    :raises ConfigError: a part has a higher version
    """
    for part, version in _peek(path, versions):
        check_version(path, part, version, known.get(part))


def check_version(path: str, part: str, version: Any, known: int | None) -> None:
    """Refuse a part of a file that a newer release wrote.

    :raises ConfigError: `version` is higher than `known`
    """
    if isinstance(version, int) and known is not None and version > known:
        reason = (
            f"'{part}' in this file was written by a newer release (version {version}, this release supports "
            f"{known}): install that release again, or move the file away, which discards its content"
        )
        raise ConfigError(file=path, key="daemon.state_dir", reason=reason)


def _peek(path: str, sql: str) -> list[tuple[Any, ...]]:
    """Return what a query finds without changing the file; nothing if it cannot be read."""
    if path == MEMORY or not Path(path).is_file():
        return []
    # A reader of a file in WAL mode creates its companions, unless it opens the file as immutable.
    mode = "mode=ro" if os.path.lexists(f"{path}-wal") else "immutable=1"
    try:
        with closing(sqlite3.connect(f"{Path(path).absolute().as_uri()}?{mode}", uri=True)) as connection:
            return connection.execute(sql).fetchall()
    except sqlite3.Error:
        return []


def identity(path: str) -> Identity | None:
    """Return device and inode of a file; None if there is none."""
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def set_aside(path: str) -> str:
    """Rename a file, or another object of its name, and its companions to dated names.

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
    """Return whether an error means that the file is damaged."""
    if isinstance(error, Damaged):
        return True
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return False
    return code & 0xFF in _DAMAGED or code == sqlite3.SQLITE_IOERR_SHORT_READ


def is_refusal(error: BaseException) -> bool:
    """Return whether an error means that the disk or the file system refuses."""
    if isinstance(error, OSError):
        return True
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in _REFUSED
