"""One daemon on one state directory."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vdsm_core.errors import ConfigError
from vdsm_core.state_lock import LOCK_FILE, StateLock


def test_the_second_is_refused(tmp_path: Path) -> None:
    """The error names the directory and the process that holds it; once freed, it can be taken."""
    first, second = StateLock(tmp_path / "state"), StateLock(tmp_path / "state")
    first.acquire()
    message = rf"{tmp_path}/state: daemon\.state_dir: another daemon \(pid {os.getpid()}\) uses it"
    with pytest.raises(ConfigError, match=message):
        second.acquire()
    first.release()
    first.release()
    second.acquire()
    second.release()


def test_a_stale_file_does_not_matter(tmp_path: Path) -> None:
    """Only the lock counts, not the content of a file of an earlier process; others cannot read it."""
    (tmp_path / LOCK_FILE).write_text("1\n")
    lock = StateLock(tmp_path)
    lock.acquire()
    assert (tmp_path / LOCK_FILE).read_text() == f"{os.getpid()}\n"
    lock.release()


def test_a_directory_that_cannot_be_used(tmp_path: Path) -> None:
    """It is an error of the configuration."""
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"daemon\.state_dir: (Not a directory|File exists)"):
        StateLock(tmp_path / "file" / "state").acquire()
