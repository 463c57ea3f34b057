"""The files beside the journal: the reserved block of numbers and the voucher."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from vdsm_core.database import MEMORY
from vdsm_core.events.numbers import MAX_NUMBER, NumberFiles


@pytest.fixture
def files(tmp_path: Path) -> NumberFiles:
    """The files of a journal in a folder of the test."""
    return NumberFiles(str(tmp_path / "e.sqlite"), "this boot")


def test_the_reservation_survives(files: NumberFiles, tmp_path: Path) -> None:
    """A lost journal continues after the reserved block; the file is private and leaves no other one."""
    files.write_reserved(70)
    assert files.read_reserved() == 70
    assert files.number_after_loss() == 71
    assert [(path.name, path.stat().st_mode & 0o777) for path in tmp_path.iterdir()] == [
        ("e.sqlite-reserved", 0o600)
    ]


@pytest.mark.parametrize("content", [None, b"", b"seven", b"-1", b"%d" % MAX_NUMBER, b"\xff"])
def test_an_unusable_reservation(files: NumberFiles, tmp_path: Path, content: bytes | None) -> None:
    """An absent or damaged one is unknown; a lost journal then continues at the milliseconds since 1970."""
    if content is not None:
        (tmp_path / "e.sqlite-reserved").write_bytes(content)
    assert files.read_reserved() is None
    assert abs(files.number_after_loss() - time.time() * 1000) < 60_000


def test_the_voucher_is_of_one_boot(files: NumberFiles, tmp_path: Path) -> None:
    """It counts for the boot that wrote it, and no longer once it is withdrawn; no boot id, no voucher."""
    files.vouch()
    assert files.vouched
    assert files.is_vouched()
    assert not NumberFiles(str(tmp_path / "e.sqlite"), "another boot").is_vouched()
    assert not NumberFiles(str(tmp_path / "e.sqlite"), "").is_vouched()
    files.withdraw()
    assert not files.vouched
    assert not files.is_vouched()


def test_a_voucher_that_cannot_be_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is reported, and the journal is not vouched for."""
    files = NumberFiles(str(tmp_path / "absent" / "e.sqlite"), "this boot")
    files.vouch()
    assert not files.vouched
    assert "The next start skips a block of numbers" in caplog.text


def test_a_journal_in_memory_has_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is written, nothing is found."""
    monkeypatch.chdir(tmp_path)
    files = NumberFiles(MEMORY, "this boot")
    files.write_reserved(7)
    files.vouch()
    assert files.read_reserved() is None
    assert not files.is_vouched()
    files.withdraw()
    assert list(tmp_path.iterdir()) == []
