"""The chain of the audit log: what was changed or removed is found, and where."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import soak
from tests.core.audit.records import record
from vdsm_core.audit import AuditFiles
from vdsm_core.audit.chain import Head, encode_head, head_path, heads_in
from vdsm_core.audit.verify import Report, records, verify

KILLS = soak.count(5)


def write(path: Path, count: int, *, max_bytes: int = 1000, files: int = 3) -> None:
    """Write records as one run of the daemon does."""
    audit = AuditFiles(path, max_bytes=max_bytes, files=files)
    audit.open()
    for number in range(count):
        audit.write(record(call=f"{number:06}"))
    audit.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """An audit log of nine records in three files."""
    path = tmp_path / "audit" / "audit.log"
    write(path, 9)
    assert sorted(each.name for each in path.parent.iterdir()) == [
        "audit.log", "audit.log.1", "audit.log.2", "audit.log.head",
    ]  # fmt: skip
    return path


def errors(report: Report) -> str:
    return "\n".join(finding.text for finding in report.findings if finding.kind == "error")


def test_intact_over_restarts_and_rotation(path: Path) -> None:
    """A chain goes on in the next run of the daemon, and after the oldest file has gone."""
    for _ in range(3):
        write(path, 4)
    report = verify(path)
    assert (report.intact, report.findings, report.head.seq) == (True, (), 21)
    assert report.records < 21


def test_every_flipped_byte(path: Path) -> None:
    """Whichever byte of whichever file is changed, the log is not intact, and the report names the file."""
    for name in ("audit.log", "audit.log.1", "audit.log.2"):
        file = path.with_name(name)
        content = file.read_bytes()
        for position in range(len(content)):
            changed = bytearray(content)
            changed[position] ^= 1
            file.write_bytes(changed)
            report = verify(path)
            assert not report.intact, f"byte {position} of {name}"
            findings = "\n".join(finding.text for finding in report.findings)
            assert "audit.log" in findings or "missing" in findings
        file.write_bytes(content)
    assert verify(path).intact


def test_located(path: Path) -> None:
    """A changed record is named by its file, its line and its number."""
    file = path.with_name("audit.log.1")
    line = next(number for number, each in enumerate(file.read_bytes().splitlines(), 1) if b"000004" in each)
    file.write_bytes(file.read_bytes().replace(b"000004", b"000009"))
    assert f"{file}:{line}: record 5 was changed" in errors(verify(path))


@pytest.mark.parametrize("line", range(9))
def test_removed_record(path: Path, line: int) -> None:
    """Each single record that is taken out is missed."""
    files = [path.with_name(name) for name in ("audit.log.2", "audit.log.1", "audit.log")]
    lines = [(file, each) for file in files for each in file.read_bytes().splitlines(keepends=True)]
    file, removed = lines[line]
    file.write_bytes(file.read_bytes().replace(removed, b""))
    assert f"{line + 1} to {line + 1}" in errors(verify(path))


def test_removed_tail(path: Path) -> None:
    """The newest records are missed, although what is left is a chain, also after the daemon went on."""
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]))
    assert errors(verify(path)) == "The newest records are missing: 9 to 9"
    write(path, 1)
    assert "records 9 to 9 are missing" in errors(verify(path))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("audit.log.2", "The oldest records are missing: 1 to"),
        ("audit.log.1", "are missing before it"),
        ("audit.log", "The newest records are missing"),
        ("audit.log.head", "The head file is missing"),
    ],
)
def test_missing_file(path: Path, name: str, text: str) -> None:
    """Each missing file is reported as what it held."""
    path.with_name(name).unlink()
    assert text in errors(verify(path))


def test_computed_anew(path: Path) -> None:
    """A chain that was forged as a whole is intact by itself; the heads that were logged expose it."""
    logged = heads_in(f"vdsmd[1]: {verify(path).head.message()}\n")
    assert verify(path, logged).confirmed == 1
    shutil.rmtree(path.parent)
    audit = AuditFiles(path, max_bytes=1000, files=3)
    audit.open()
    for number in range(9):
        audit.write(record(call=f"{number:06}", who="ann"))
    audit.close()
    assert verify(path).intact
    assert "record 9 is not the one whose hash was logged" in errors(verify(path, logged))


def test_shortened_with_its_head(path: Path) -> None:
    """A tail that was removed together with its head is missed by what was logged."""
    logged = heads_in(verify(path).head.message())
    shutil.rmtree(path.parent)
    write(path, 5)
    assert errors(verify(path, logged)) == "Record 9, whose hash was logged, is missing"


def test_heads_are_logged(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The head is logged when the log is opened and closed, and in between only if there are new records."""
    caplog.set_level(logging.INFO)
    audit = AuditFiles(path, max_bytes=10_000, files=3)
    audit.open()
    audit.report_head()
    audit.write(record(call="new"))
    audit.report_head()
    audit.report_head()
    audit.close()
    heads = heads_in("\n".join(caplog.messages))
    assert list(heads) == [9, 10]
    assert verify(path, heads).confirmed == 2


def test_logs_of_the_version_before(tmp_path: Path) -> None:
    """Records that are older than the chain are counted, and are no error."""
    path = tmp_path / "audit.log"
    path.write_bytes(
        b'{"time":"2026-01-31T12:00:00.000Z","call":"old","outcome":"done","verb":"Lamp.switch"}\n' * 2
    )
    write(path, 1, max_bytes=10_000)
    report = verify(path)
    assert report.intact
    assert [finding.text for finding in report.findings] == ["2 records are older than the chain"]


def test_inserted_record(path: Path) -> None:
    """A record without a number does not pass in the middle of the chain."""
    with path.open("ab") as file:
        file.write(b'{"time":"2026-01-31T12:00:00.000Z","call":"new"}\n')
    assert "outside the chain" in errors(verify(path))


def test_incomplete_line(path: Path) -> None:
    """Half a line, as a power failure leaves it, is a note: the records around it follow each other."""
    with path.open("ab") as file:
        file.write(b'{"seq":10,"prev":"12')
    write(path, 2, max_bytes=10_000)
    report = verify(path)
    assert report.intact
    assert "incomplete line" in report.findings[0].text


def test_fewer_files(path: Path) -> None:
    """With a smaller number of files the surplus is removed, and what is left is intact."""
    write(path, 1, files=2)
    assert not path.with_name("audit.log.2").exists()
    assert verify(path).intact


def test_head_behind(path: Path) -> None:
    """A daemon that was killed before it wrote the head goes on after the record that it wrote."""
    head_path(path).write_bytes(encode_head(Head(seq=8, hash="0" * 64, first=1)))
    write(path, 1, max_bytes=10_000)
    assert verify(path).intact


def test_verified_while_written(tmp_path: Path) -> None:
    """Verification beside a daemon that writes and rotates all the time raises no false alarm."""
    path = tmp_path / "audit.log"
    audit = AuditFiles(path, max_bytes=4000, files=3)
    audit.open()
    ended = threading.Event()

    def work() -> None:
        number = 0
        while not ended.is_set():
            number += 1
            audit.write(record(call=str(number)))
            ended.wait(0.0002)

    writer = threading.Thread(target=work)
    writer.start()
    try:
        for _ in range(50):
            report = verify(path)
            assert report.intact, report.findings
    finally:
        ended.set()
        writer.join()
        audit.close()


_WRITER = """
import sys
from pathlib import Path
from tests.core.audit.records import record
from vdsm_core.audit import AuditFiles
audit = AuditFiles(Path(sys.argv[1]), max_bytes=2000, files=3)
audit.open()
number = 0
while True:
    number += 1
    audit.write(record(call=str(number)))
    if number == 20:
        print("writing", flush=True)
"""


@pytest.mark.soak
def test_killed(tmp_path: Path) -> None:
    """A daemon that is killed at any moment leaves an intact chain, and the next one goes on with it."""
    path = tmp_path / "audit.log"
    delays = soak.chance("audit kills")
    last = 0
    for _ in range(KILLS):
        writer = subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE, text=True
        )
        try:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "writing\n"
            threading.Event().wait(delays.uniform(0, 0.02))
        finally:
            os.kill(writer.pid, signal.SIGKILL)
            writer.communicate()
        report = verify(path)
        # The head may lack the one record that was written last; the next start adds it.
        assert report.intact, report.findings
        assert report.head.seq > last
        last = report.head.seq
    write(path, 1)
    assert verify(path).intact


def test_records_can_be_read(path: Path) -> None:
    """Records come in order, over all files, without the members of the chain."""
    assert [each.call for each in records(path)] == [f"{number:06}" for number in range(9)]


@pytest.mark.parametrize("damage", [Path.unlink, lambda file: file.write_bytes(b"not a head")])
def test_head_lost(path: Path, damage: Callable[[Path], object], caplog: pytest.LogCaptureFixture) -> None:
    """Without its head file the chain continues after the last line, which is logged."""
    damage(head_path(path))
    write(path, 1, max_bytes=10_000)
    assert "audit.log.head is missing" in caplog.text
    assert verify(path).intact
