"""Ways in which a SQLite file of the daemon comes to harm."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path


def garbage(path: Path) -> None:
    """Something else has the file's name."""
    path.write_bytes(b"this is no database, but it is long enough to be taken for one" * 500)


def empty(path: Path) -> None:
    """Nothing is left in it; SQLite takes such a file for a new one."""
    path.write_bytes(b"")


def truncated(path: Path) -> None:
    """Its second half is missing."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2 // 4096 * 4096 + 100])


def flipped(path: Path) -> None:
    """Every page but the first has other bytes."""
    data = bytearray(path.read_bytes())
    for place in range(4096, len(data)):
        data[place] ^= 0x5A
    path.write_bytes(data)


def other_schema(path: Path) -> None:
    """It is a sound database with other tables of the same names."""
    path.unlink()
    with closing(sqlite3.connect(path)) as made:
        for table in ("events", "numbers", "lamps", "migrations", "requests", "tasks"):
            made.execute(f"CREATE TABLE {table} (other TEXT)")
        made.commit()


def folder(path: Path) -> None:
    """A folder has its place."""
    path.unlink()
    (path / "inside").mkdir(parents=True)


WAYS: list[Callable[[Path], None]] = [garbage, empty, truncated, flipped, other_schema, folder]
