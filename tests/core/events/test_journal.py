"""The journal: bounded, and its numbers never repeat, whatever ends the daemon."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from vdsm_core.errors import ConfigError
from vdsm_core.events import Event, Journal
from vdsm_core.events.journal import BLOCK


def journal(path: Path, *, boot: str = "this boot", max_bytes: int = 10**7, keep: float = 1000.0) -> Journal:
    made = Journal(str(path), max_bytes=max_bytes, keep=keep, boot=boot)
    made.open()
    return made


def event(number: int, at: float | None = None) -> tuple[Event, bytes]:
    params = {"n": number}
    return Event(seq=number, id="|a|b|c", time=at or time.time(), params=params), msgspec.json.encode(params)


def write(made: Journal, count: int, *, at: float | None = None) -> list[int]:
    first = made.take_numbers(count)
    numbers = list(range(first, first + count))
    made.append([event(number, at) for number in numbers])
    return numbers


def test_what_was_written_is_read(tmp_path: Path) -> None:
    """In order, after the given number, up to the maximum, with id, time and parameters."""
    made = journal(tmp_path / "j")
    write(made, 10, at=12.5)
    assert [event.seq for event in made.read(3, 4)] == [4, 5, 6, 7]
    assert made.read(9, 4) == [Event(seq=10, id="|a|b|c", time=12.5, params={"n": 10})]
    made.close()


def test_size_is_bounded(tmp_path: Path) -> None:
    """The oldest events go; the file does not grow for ever."""
    path = tmp_path / "j"
    made = journal(path, max_bytes=20_000)
    for _ in range(100):
        write(made, 100)
        assert made.size <= 20_000
    assert made.first > 9_000
    assert made.read(0, 10_000)[0].seq == made.first
    made.close()
    assert path.stat().st_size < 200_000


def test_age_is_bounded(tmp_path: Path) -> None:
    """`sync` drops what is too old."""
    made = journal(tmp_path / "j", keep=60.0)
    write(made, 5, at=time.time() - 100)
    write(made, 2)
    made.sync()
    assert [event.seq for event in made.read(0, 100)] == [6, 7]
    assert made.first == 6
    made.close()


def test_numbers_survive_the_loss_of_all_events(tmp_path: Path) -> None:
    """An empty journal keeps its last number, whether it was closed or not."""
    made = journal(tmp_path / "j", keep=60.0)
    write(made, 5, at=time.time() - 100)
    made.sync()
    assert made.read(0, 10) == []
    shutil.copytree(tmp_path, tmp_path / "killed")
    made.close()
    for path in (tmp_path / "j", tmp_path / "killed" / "j"):
        again = journal(path)
        assert again.next == 6
        again.close()


def test_closing_gives_the_rest_of_the_block_back(tmp_path: Path) -> None:
    """A reboot in order leaves no hole in the numbers."""
    made = journal(tmp_path / "j")
    write(made, 5)
    made.close()
    again = journal(tmp_path / "j", boot="the next boot")
    assert again.next == 6
    again.close()


def test_a_power_cut_repeats_no_number(tmp_path: Path) -> None:
    """Behind a power cut the numbers go on beyond all that may have been seen."""
    made = journal(tmp_path / "j")
    write(made, 5)
    shutil.copytree(tmp_path, tmp_path / "cut")
    made.close()
    again = journal(tmp_path / "cut" / "j", boot="the next boot")
    assert again.next == 5 + BLOCK + 1
    again.close()


def test_a_kill_right_after_a_power_cut_repeats_no_number(tmp_path: Path) -> None:
    """The numbers that a power cut made unsafe stay so, also for the start after the next."""
    made = journal(tmp_path / "j")
    write(made, 5)
    shutil.copytree(tmp_path, tmp_path / "cut")
    made.close()
    again = journal(tmp_path / "cut" / "j", boot="the next boot")
    shutil.copytree(tmp_path / "cut", tmp_path / "killed")
    again.close()
    third = journal(tmp_path / "killed" / "j", boot="the next boot")
    assert third.next == 5 + BLOCK + 1
    third.close()


@pytest.mark.parametrize("kept", [0, 0.5])
def test_a_power_cut_that_tears_the_log(tmp_path: Path, kept: float) -> None:
    """Of the log only a part reached the disk: what is left are the first events, whole, then a hole."""
    made = journal(tmp_path / "j")
    write(made, 5)
    made.sync()
    forced = Path(f"{tmp_path}/j-wal").stat().st_size
    for _ in range(20):
        write(made, 5)
    shutil.copytree(tmp_path, tmp_path / "cut")
    made.close()
    log = tmp_path / "cut" / "j-wal"
    os.truncate(log, forced + int((log.stat().st_size - forced) * kept))
    again = journal(tmp_path / "cut" / "j", boot="the next boot")
    numbers = [event.seq for event in again.read(0, 1000)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert 5 <= len(numbers) < 105
    assert len(numbers) == 5 or kept
    assert again.next == BLOCK + 5 + 1
    again.close()


def test_forcing_does_not_depend_on_readers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`sync` flushes the log to disk while another connection reads an older state of the file."""
    made = journal(tmp_path / "j")
    write(made, 5)
    other = sqlite3.connect(tmp_path / "j", isolation_level=None)
    other.execute("BEGIN")
    assert other.execute("SELECT count(*) FROM events").fetchone() == (5,)
    write(made, 5)
    forced: list[int] = []
    monkeypatch.setattr(
        "vdsm_core.events.journal.os.fdatasync", lambda fd: forced.append(os.fstat(fd).st_ino)
    )
    made.sync()
    assert forced == [Path(f"{tmp_path}/j-wal").stat().st_ino]
    made.sync()
    assert len(forced) == 1, "nothing was written meanwhile"
    other.close()
    made.close()


def test_a_disk_that_cannot_be_forced_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was not forced stays to be forced."""
    made = journal(tmp_path / "j")
    write(made, 5)
    tries: list[int] = []

    def broken(fd: int) -> None:
        tries.append(fd)
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("vdsm_core.events.journal.os.fdatasync", broken)
    for _ in range(2):
        with pytest.raises(OSError, match="Input/output"):
            made.sync()
    assert len(tries) == 2
    monkeypatch.undo()
    made.sync()
    made.close()


def test_numbers_are_reserved_before_they_run_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No publisher waits for the disk; numbers are not used before they are flushed."""
    made = journal(tmp_path / "j")
    made.take_numbers(1)
    before = made.reserved
    made.take_numbers(BLOCK - 10)
    write(made, 1)
    order: list[tuple[str, int]] = []
    monkeypatch.setattr(
        "vdsm_core.events.journal.os.fdatasync", lambda _: order.append(("forced", made.reserved))
    )
    made.sync()
    assert order == [("forced", before)]
    assert made.reserved == before + BLOCK
    monkeypatch.undo()
    made.close()


def test_a_commit_that_fails_leaves_no_transaction_open(tmp_path: Path) -> None:
    """Once the disk has room again, the journal works on."""
    made = journal(tmp_path / "j")
    connection = made._open(made._writer)
    connection.execute("PRAGMA max_page_count=1")
    big = Event(seq=1, id="|a|b|c", time=1.0, params={}), b'"' + b"x" * 100_000 + b'"'
    with pytest.raises(sqlite3.OperationalError, match="full"):
        made.append([big])
    connection.execute("PRAGMA max_page_count=1000000")
    assert not connection.in_transaction
    write(made, 3)
    assert len(made.read(0, 10)) == 3
    made.close()


def test_the_log_does_not_grow_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Readers that come one after the other keep SQLite from reusing its log; `sync` cuts it."""
    monkeypatch.setattr("vdsm_core.events.journal._LOG_SIZE", 50_000)
    made = journal(tmp_path / "j")
    other = sqlite3.connect(tmp_path / "j", isolation_level=None)
    other.execute("BEGIN")
    other.execute("SELECT count(*) FROM events").fetchone()
    for _ in range(50):
        write(made, 50)
    log = tmp_path / "j-wal"
    assert log.stat().st_size > 100_000
    other.close()
    made.sync()
    assert log.stat().st_size < 100_000
    made.close()


def test_old_events_go_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many are too old, one `sync` is short."""
    monkeypatch.setattr("vdsm_core.events.journal._MAX_DROPPED", 10)
    made = journal(tmp_path / "j", keep=60.0)
    write(made, 25, at=time.time() - 100)
    write(made, 5)
    left = []
    for _ in range(4):
        made.sync()
        left.append(len(made.read(0, 100)))
    assert left == [20, 10, 5, 5]
    made.close()


def test_blocks_have_no_holes_between(tmp_path: Path) -> None:
    """At the end of a block the next one begins."""
    made = journal(tmp_path / "j")
    numbers = [made.take_numbers(999) for _ in range(2 * BLOCK // 999)]
    assert numbers == list(range(1, 999 * len(numbers), 999))
    made.close()


KILLED = """
import sys, time
from vdsm_core.events import Event, Journal
made = Journal(sys.argv[1], max_bytes=10**7, keep=1000.0)
made.open()
while True:
    first = made.take_numbers(7)
    at = time.time()
    made.append([(Event(seq=n, id="|a|b|c", time=at, params={}), b"{}") for n in range(first, first + 7)])
    print(first + 6, flush=True)
"""


@pytest.mark.parametrize("rounds", [5])
def test_kill_loses_nothing_that_was_appended(tmp_path: Path, rounds: int) -> None:
    """A number that was reported before `kill -9` exists afterwards, and no number is used twice."""
    path, reported = tmp_path / "j", 0
    for _ in range(rounds):
        writer = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        for _ in range(20):
            number = int(writer.stdout.readline())
            assert number > reported
            reported = number
        os.kill(writer.pid, signal.SIGKILL)
        rest = writer.stdout.read().split()
        writer.wait()
        writer.stdout.close()
        reported = max([reported, *map(int, rest[:-1])])
        made = Journal(str(path), max_bytes=10**7, keep=1000.0)
        made.open()
        numbers = [event.seq for event in made.read(0, 10**6)]
        assert numbers == list(range(1, numbers[-1] + 1))
        assert numbers[-1] >= reported
        assert made.next == numbers[-1] + 1
        reported = numbers[-1]
        made.close()


def test_a_folder_that_cannot_be_used(tmp_path: Path) -> None:
    """The error names the file and the option."""
    (tmp_path / "file").write_text("")
    made = Journal(str(tmp_path / "file" / "j"), max_bytes=1000, keep=1.0)
    with pytest.raises(ConfigError, match=r"file/j: daemon\.state_dir"):
        made.open()
    made.close()
