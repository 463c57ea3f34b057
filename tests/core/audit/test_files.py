"""The files of the audit log."""

from __future__ import annotations

import json
import logging
import resource
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.core.audit.records import record
from vdsm_core.audit import LOGGER, AuditFiles, AuditToLog
from vdsm_core.errors import ConfigError


def calls(path: Path) -> list[str]:
    return [json.loads(line)["call"] for line in path.read_bytes().splitlines()]


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit" / "audit.log"


@pytest.fixture
def files(path: Path) -> Iterator[AuditFiles]:
    """Three files of 1,000 bytes."""
    made = AuditFiles(path, max_bytes=1000, files=3)
    made.open()
    yield made
    made.close()


def test_a_line_for_each_record(files: AuditFiles, path: Path) -> None:
    """JSON, without what is empty, whatever the texts hold; only the owner can read it."""
    files.write(record(flow_id='line\nend "quoted"', object="lamp-1"))
    (line,) = path.read_text().splitlines()
    logged = json.loads(line)
    assert (logged["flow_id"], logged["object"]) == ('line\nend "quoted"', "lamp-1")
    assert "request_id" not in logged
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_bounded(files: AuditFiles, path: Path) -> None:
    """A full file is put aside, and the oldest one goes; the newest records are all there, in order."""
    for number in range(200):
        files.write(record(call=str(number)))
    names = sorted(each.name for each in path.parent.iterdir())
    assert names == ["audit.log", "audit.log.1", "audit.log.2", "audit.log.head"]
    assert all(each.stat().st_size <= 1000 for each in path.parent.iterdir())
    kept = [call for name in reversed(names[:3]) for call in calls(path.with_name(name))]
    assert kept == [str(number) for number in range(200 - len(kept), 200)]
    assert len(kept) > 5


def test_only_one_file(path: Path) -> None:
    """One file alone begins anew when it is full."""
    files = AuditFiles(path, max_bytes=1000, files=1)
    files.open()
    for number in range(50):
        files.write(record(call=str(number)))
    files.close()
    assert sorted(each.name for each in path.parent.iterdir()) == ["audit.log", "audit.log.head"]
    assert calls(path)[-1] == "49"


def test_a_second_life(files: AuditFiles, path: Path) -> None:
    """The next daemon appends; the half line that a power cut left spoils only itself."""
    files.write(record(call="first"))
    files.close()
    with path.open("ab") as torn:
        torn.write(b'{"time": "2026-')
    files.open()
    files.write(record(call="second"))
    first, torn_line, second = path.read_bytes().splitlines()
    assert (json.loads(first)["call"], json.loads(second)["call"]) == ("first", "second")
    assert torn_line == b'{"time": "2026-'


@pytest.mark.parametrize("what", ["moved", "removed"])
def test_taken_away(files: AuditFiles, path: Path, what: str) -> None:
    """A file that was moved or removed is created again."""
    files.write(record(call="before"))
    if what == "moved":
        path.rename(path.with_name("elsewhere"))
    else:
        path.unlink()
    files.write(record(call="after"))
    assert calls(path) == ["after"]


def test_many_writers(path: Path) -> None:
    """Lines of many threads do not mix, and none is lost."""
    files = AuditFiles(path, max_bytes=10**6, files=2)
    files.open()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: files.write(record(call=str(number))), range(1000)))
    files.close()
    assert sorted(map(int, calls(path))) == list(range(1000))


def test_disk_that_is_full(files: AuditFiles, path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is raised; the failure, and later the number of lost records, are logged. No line is cut."""
    files.write(record(call="kept"))
    bound, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 20, most))
    try:
        for _ in range(3):
            files.write(record(call="lost"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (bound, most))
    files.write(record(call="after"))
    assert calls(path) == ["kept", "after"]
    errors = [each.getMessage() for each in caplog.records if each.levelname == "ERROR"]
    assert len(errors) == 2
    assert errors[0].startswith(f"Cannot write the audit log {path}")
    assert errors[1].endswith("3 records are missing from it")


def test_place_that_cannot_be_used(tmp_path: Path) -> None:
    """A file that cannot be written is an error before the API is served."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"audit\.file"):
        AuditFiles(tmp_path / "file" / "audit.log", max_bytes=1000, files=1).open()


def test_descriptors(files: AuditFiles) -> None:
    """However many files were begun, one is open."""
    before = descriptors()
    for number in range(100):
        files.write(record(call=str(number)))
    assert descriptors() == before


def test_to_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """Records are written to the daemon's log, although its level is WARNING."""
    caplog.handler.setLevel(logging.NOTSET)
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.WARNING)
    try:
        audit = AuditToLog()
        audit.open()
        audit.write(record(call="told"))
    finally:
        root.setLevel(level)
        logging.getLogger(LOGGER).setLevel(logging.NOTSET)
    (logged,) = caplog.records
    assert json.loads(logged.getMessage())["call"] == "told"
