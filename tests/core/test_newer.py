"""Files of the daemon that a newer release wrote are refused, unchanged."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from vdsm_core.errors import ConfigError
from vdsm_core.events import Journal
from vdsm_core.state import StateStore

STEPS = ["CREATE TABLE lamps (id TEXT)"]
NEWER = [*STEPS, "ALTER TABLE lamps ADD COLUMN watts INTEGER"]


def store(path: Path, *, declared: bool = True) -> StateStore:
    """A store of this release, with one step of `lamps`."""
    made = StateStore(str(path))
    if declared:
        made.declare("lamps", STEPS)
    return made


def open_journal(path: Path) -> None:
    """Open an event journal, and close it in order."""
    journal = Journal(str(path), max_bytes=10**6, keep=1000.0)
    journal.open()
    journal.close()


def newer_store(path: Path) -> None:
    """Write a state store with one step more."""
    made = StateStore(str(path))
    made.open()
    made.migrate("lamps", NEWER)
    made.write("INSERT INTO lamps VALUES ('a', 7)")
    made.close()


def newer_journal(path: Path) -> None:
    """Write an event journal of a higher version."""
    open_journal(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 2")


def folder_of(path: Path) -> dict[str, tuple[bytes, int]]:
    """Content and mode of everything beside a file, and of the file."""
    return {
        each.name: (each.read_bytes(), each.stat().st_mode)
        for each in path.parent.iterdir()
        if not each.name.endswith("-shm")  # the index of SQLite's log, created again by each reader
    }


@pytest.mark.parametrize(
    ("write", "read", "part"),
    [
        (newer_store, lambda path: store(path).open(), "lamps"),
        (newer_journal, open_journal, "events"),
    ],
)
def test_a_newer_file_is_refused_by_name(
    tmp_path: Path, write: Callable[[Path], None], read: Callable[[Path], None], part: str
) -> None:
    """The error names file, part, both versions and the ways out. Nothing is changed or added."""
    path = tmp_path / "a name with ? and %20.sqlite"
    write(path)
    path.chmod(0o640)
    before = folder_of(path)
    for _ in range(2):
        with pytest.raises(ConfigError) as refused:
            read(path)
        assert str(refused.value).startswith(
            f"{path}: daemon.state_dir: '{part}' in this file was written by a"
        )
        assert "newer release (version 2, this release supports 1)" in str(refused.value)
        assert "install that release again, or move the file away" in str(refused.value)
        assert folder_of(path) == before
    assert not list(tmp_path.glob("*-shm"))


def test_the_log_of_a_newer_release_that_was_killed_stays(tmp_path: Path) -> None:
    """What stands only in SQLite's log counts, and is not moved into the file."""
    path = tmp_path / "state.sqlite"
    code = (
        "import os, sys; from vdsm_core.state import StateStore; s = StateStore(sys.argv[1]); s.open(); "
        f"s.migrate('lamps', {NEWER!r}); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)
    before = folder_of(path)
    assert before["state.sqlite-wal"][0]
    with pytest.raises(ConfigError, match="newer release"):
        store(path).open()
    assert folder_of(path) == before


def test_a_part_that_was_not_declared_is_refused_when_it_is_used(tmp_path: Path) -> None:
    """The note of how far its migrations went stays as well: it was set back before."""
    path = tmp_path / "state.sqlite"
    newer_store(path)
    late = store(path, declared=False)
    late.open()
    with pytest.raises(ConfigError, match="'lamps' in this file was written by a newer release"):
        late.migrate("lamps", STEPS)
    assert late.rows("SELECT part, done FROM migrations") == [("lamps", 2)]
    late.close()


def test_other_parts_and_older_versions_pass(tmp_path: Path) -> None:
    """An unknown part belongs to a plugin that is not installed; older tables are migrated."""
    path = tmp_path / "state.sqlite"
    newer_store(path)
    other = StateStore(str(path))
    other.declare("bells", STEPS)
    other.open()
    other.close()
    newest = StateStore(str(path))
    newest.declare("lamps", [*NEWER, "ALTER TABLE lamps ADD COLUMN lit INTEGER"])
    newest.open()
    newest.migrate("lamps", [*NEWER, "ALTER TABLE lamps ADD COLUMN lit INTEGER"])
    assert newest.rows("SELECT id, watts, lit FROM lamps") == [("a", 7, None)]
    newest.close()


def test_a_journal_without_a_version_is_taken_on(tmp_path: Path) -> None:
    """Releases before versions wrote none."""
    path = tmp_path / "events.sqlite"
    open_journal(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 0")
    open_journal(path)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)
