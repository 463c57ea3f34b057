"""The state store when its file is damaged, gone, or cannot be written."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.core.damage import WAYS, empty
from vdsm_core.errors import StateUnavailable
from vdsm_core.state import StateStore

STEPS = ["CREATE TABLE lamps (id TEXT, notes TEXT)"]


def opened(path: Path) -> StateStore:
    made = StateStore(str(path))
    made.open()
    made.migrate("lamps", STEPS)
    return made


def lamps(store: StateStore) -> list[str]:
    return [row[0] for row in store.rows("SELECT id FROM lamps ORDER BY id")]


def filled(path: Path) -> None:
    store = opened(path)
    for number in range(200):
        store.write("INSERT INTO lamps VALUES (?, ?)", f"{number:03}", "x" * 200)
    store.close()


@pytest.mark.parametrize("harm", WAYS, ids=lambda way: way.__name__)
def test_a_damaged_file_is_set_aside(
    tmp_path: Path, harm: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    """The store starts empty and works; the old file gets a dated name, and one error is logged."""
    path = tmp_path / "state.sqlite"
    filled(path)
    harm(path)
    store = opened(path)
    store.write("INSERT INTO lamps VALUES ('new', '')")
    assert lamps(store) == ["new"]
    store.close()
    again = opened(path)
    assert lamps(again) == ["new"]
    again.close()
    errors = [record for record in caplog.records if record.levelname == "ERROR"]
    if harm is not empty:
        assert len(errors) == 1
        assert "set aside" in errors[0].getMessage()
        assert list(tmp_path.glob("state.sqlite.damaged-*"))


def test_damage_that_is_met_while_running(tmp_path: Path) -> None:
    """The call that meets it fails by name; the next one works on a new file, with all parts' tables."""
    path = tmp_path / "state.sqlite"
    store = opened(path)
    with store.transaction() as run:
        for number in range(2000):
            # More than SQLite keeps in memory.
            run("INSERT INTO lamps VALUES (?, ?)", str(number), "x" * 2000)
    store.close()
    store = opened(path)
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))
    with pytest.raises(StateUnavailable, match="damaged"):
        store.rows("SELECT sum(length(notes)) FROM lamps")
    store.write("INSERT INTO lamps VALUES ('new', '')")
    assert lamps(store) == ["new"]
    store.close()


@pytest.mark.parametrize("how", ["removed", "replaced", "emptied"])
def test_a_folder_that_goes_away_is_noticed(tmp_path: Path, how: str) -> None:
    """The next write is in a file at the right place again, with everything that was written before."""
    folder = tmp_path / "state"
    store = opened(folder / "state.sqlite")
    store.write("INSERT INTO lamps VALUES ('a', '')")
    if how == "emptied":
        for file in folder.iterdir():
            file.unlink()
    else:
        shutil.rmtree(folder)
    if how == "replaced":
        folder.mkdir()
        (folder / "state.sqlite").write_bytes(b"of another user")
    store.write("INSERT INTO lamps VALUES ('b', '')")
    with closing(sqlite3.connect(folder / "state.sqlite")) as other:
        assert other.execute("SELECT id FROM lamps ORDER BY id").fetchall() == [("a",), ("b",)]
    store.close()


def test_a_folder_that_cannot_come_back_refuses_by_name(tmp_path: Path) -> None:
    """What cannot be kept is not acknowledged; once the folder can be made, everything is there."""
    folder = tmp_path / "state"
    store = opened(folder / "state.sqlite")
    store.write("INSERT INTO lamps VALUES ('a', '')")
    shutil.rmtree(folder)
    folder.touch()
    for _ in range(2):
        with pytest.raises(StateUnavailable, match="removed or replaced"):
            store.write("INSERT INTO lamps VALUES ('b', '')")
    folder.unlink()
    store.write("INSERT INTO lamps VALUES ('c', '')")
    assert lamps(store) == ["a", "c"]
    store.close()


def test_files_are_private_whatever_the_umask(tmp_path: Path) -> None:
    """The file, its log and its index are for the daemon alone; files of an older release are tightened."""
    path = tmp_path / "state.sqlite"
    before = os.umask(0)
    try:
        store = opened(path)
        for file in tmp_path.iterdir():
            file.chmod(0o666)
        other = opened(path)
        assert {file.stat().st_mode & 0o777 for file in tmp_path.iterdir()} == {0o600}
        assert len(list(tmp_path.iterdir())) == 3
        store.close()
        other.close()
    finally:
        os.umask(before)


def test_a_full_disk_is_an_error_of_its_own(tmp_path: Path) -> None:
    """A write that the disk refuses is refused by name, and changes nothing; later writes work."""
    code = (
        "import resource, sys\n"
        "from vdsm_core.state import StateStore\n"
        "from vdsm_core.errors import StateUnavailable\n"
        "store = StateStore(sys.argv[1]); store.open()\n"
        f"store.migrate('lamps', {STEPS!r})\n"
        "_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (65536, hard))\n"
        "written = 0\n"
        "try:\n"
        "    while written < 100:\n"
        "        store.write('INSERT INTO lamps VALUES (?, ?)', str(written), 'x' * 4000)\n"
        "        written += 1\n"
        "except StateUnavailable as error:\n"
        "    assert store.rows('SELECT count(*) FROM lamps') == [(written,)]\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))\n"
        "    store.write('INSERT INTO lamps VALUES (?, ?)', 'last', '')\n"
        "    print(error.slug, 0 < written < 100)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "state.sqlite")],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stdout == "state-unavailable True\n", done.stderr
