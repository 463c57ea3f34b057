"""The state store."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

from vdsm_core.errors import ConfigError
from vdsm_core.state import MEMORY, StateStore


def test_steps_run_once_each(store: StateStore) -> None:
    """Each step of a migration runs once for a file, those that were added later, too."""
    steps = ["CREATE TABLE lamps (id TEXT)"]
    store.migrate("lamps", steps)
    store.migrate("lamps", steps)
    store.migrate("lamps", [*steps, "ALTER TABLE lamps ADD COLUMN watts INTEGER DEFAULT 7"])
    store.write("INSERT INTO lamps (id) VALUES (?)", "a")
    assert store.rows("SELECT id, watts FROM lamps") == [("a", 7)]


def test_a_failing_migration_changes_nothing(store: StateStore) -> None:
    """If one step fails, none of that migration has happened, and it can be tried again."""
    with pytest.raises(sqlite3.Error):
        store.migrate("lamps", ["CREATE TABLE lamps (id TEXT)", "no SQL at all"])
    store.migrate("lamps", ["CREATE TABLE lamps (id TEXT)"])
    assert store.rows("SELECT * FROM lamps") == []


def test_a_transaction_is_all_or_none(store: StateStore) -> None:
    """An exception in the body takes everything back."""
    store.migrate("lamps", ["CREATE TABLE lamps (id TEXT)"])

    def half_done() -> None:
        with store.transaction() as run:
            run("INSERT INTO lamps VALUES (?)", "a")
            raise ValueError

    with pytest.raises(ValueError):
        half_done()
    assert store.rows("SELECT * FROM lamps") == []


def test_write_returns_the_number_of_changed_rows(store: StateStore) -> None:
    """`write` answers with the number of rows."""
    store.migrate("lamps", ["CREATE TABLE lamps (id TEXT)"])
    store.write("INSERT INTO lamps VALUES ('a'), ('b')")
    assert store.write("DELETE FROM lamps") == 2


def test_what_was_written_outlives_a_kill(tmp_path: Path) -> None:
    """A process that is killed right after a write has written."""
    path = tmp_path / "state.sqlite"
    code = (
        "import os, signal, sys; from vdsm_core.state import StateStore;"
        "s = StateStore(sys.argv[1]); s.open();"
        "s.migrate('lamps', ['CREATE TABLE lamps (id TEXT)']); s.write('INSERT INTO lamps VALUES (1)');"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False, timeout=30)
    assert done.returncode == -9
    store = StateStore(str(path))
    store.open()
    assert store.rows("SELECT id FROM lamps") == [("1",)]
    store.close()


def test_writes_are_synchronous(store: StateStore) -> None:
    """The file is in WAL mode, and every commit reaches the disk."""
    assert store.rows("PRAGMA journal_mode") == [("wal",)]
    assert store.rows("PRAGMA synchronous") == [(2,)]  # FULL


def test_background_writes(store: StateStore, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is in the file at once, the next write is durable again, and a failed write is logged."""
    store.migrate("lamps", ["CREATE TABLE lamps (id INTEGER PRIMARY KEY)"])
    store.write_soon("INSERT INTO lamps VALUES (?)", 7)
    assert store.rows("PRAGMA synchronous") == [(2,)]
    with closing(sqlite3.connect(tmp_path / "state" / "state.sqlite")) as other:
        assert other.execute("SELECT id FROM lamps").fetchall() == [(7,)]
    store.write_soon("INSERT INTO lamps VALUES (?)", 7)
    assert "Cannot write a change to the state store: UNIQUE" in caplog.text
    assert store.rows("PRAGMA synchronous") == [(2,)]


def test_the_folder_is_private(store: StateStore, tmp_path: Path) -> None:
    """Others may not look into the folder: it names callers."""
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "state" / "state.sqlite").exists()


def test_a_folder_that_cannot_be_used(tmp_path: Path) -> None:
    """The error is one of the configuration, and names the option."""
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="state_dir"):
        StateStore(str(tmp_path / "file" / "state.sqlite")).open()


def test_many_threads(store: StateStore) -> None:
    """All threads share one store; nothing is lost."""
    store.migrate("lamps", ["CREATE TABLE lamps (id INTEGER)"])
    threads = [
        threading.Thread(target=lambda n=n: store.write("INSERT INTO lamps VALUES (?)", n)) for n in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(store.rows("SELECT id FROM lamps")) == [(n,) for n in range(20)]


def test_a_closed_store() -> None:
    """Closing twice is harmless; using a closed store raises an error."""
    store = StateStore(MEMORY)
    store.open()
    store.close()
    store.close()
    with pytest.raises(RuntimeError, match="not open"):
        store.rows("SELECT 1")
