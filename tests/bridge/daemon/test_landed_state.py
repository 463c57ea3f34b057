"""This release takes over what the landed one left when it was killed; see landed/README.md."""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.bridge.daemon.landed.kiln import Kilns
from vdsm_bridge.testing.host import TestHost
from vdsm_bridge.testing.polling import until
from vdsm_core.errors import ConfigError, InvalidArgument, RequestIdReused
from vdsm_core.events import journal
from vdsm_core.events.vocabulary import GAP_ID

LANDED = Path(__file__).parent / "landed"
#: The last number in its journal.
LAST = 15
FINISHED = "cdb172cc-d42d-4217-85cc-d4d7d0c48dc3"
FAILED = "1d7ccbf5-fb69-4fa5-a298-f68ceb8b57df"
RUNNING = "2b4d8e6a-9ef9-4db7-8c1d-efbc8b636578"
RESUMABLE = "525133a4-6305-49aa-a804-097ca54385bf"
QUEUED = "5b7ee939-6df3-4a62-85fe-a9070532e700"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the landed state directory, as if written just now, on a machine that has run on."""
    made = tmp_path / "state"
    made.mkdir()
    for path in LANDED.glob("*.sqlite*"):
        shutil.copy(path, made)
    monkeypatch.setattr(journal, "boot_id", lambda: "the same boot")
    (made / "events.sqlite-boot").write_text("the same boot")
    now = time.time()
    for name, sql in (
        ("state.sqlite", "UPDATE requests SET begun = ?"),
        ("events.sqlite", "UPDATE events SET time = ?"),
    ):
        with closing(sqlite3.connect(made / name)) as connection, connection:
            connection.execute(sql, (now,))
    return made


@pytest.fixture
def host(folder: Path) -> Iterator[TestHost]:
    """This release on that copy."""
    with TestHost(verbs={"kiln": Kilns}, config={"daemon": {"state_dir": str(folder)}}) as started:
        yield started


def ended(host: TestHost, task_id: str) -> Any:
    """The status of a task once it is over."""

    def status() -> Any:
        return host.call("Task.getStatus", taskID=task_id)

    until(lambda: status().task_state == "finished", 60.0, what=f"the end of task {task_id}", detail=status)
    return status()


def test_what_was_over_stays_so(host: TestHost) -> None:
    """Tasks that had ended are listed with their results and errors; a finished one can be rolled back."""
    finished, failed = ended(host, FINISHED), ended(host, FAILED)
    assert (finished.task_result, finished.result) == ("success", 900)
    assert (failed.task_result, failed.code) == ("cleanFailure", InvalidArgument.code)
    assert failed.message == "Argument 'degrees' is not acceptable: the kiln would melt"
    host.call("Task.revert", taskID=FINISHED)
    assert ended(host, FINISHED).task_result == "cleanSuccess"


def test_what_was_under_way_goes_on_or_ends_as_it_would_have(host: TestHost) -> None:
    """A queued task begins, a repeatable one runs again; another one fails and reports its progress."""
    owners = {id_: task.owner for id_, task in host.call("Host.getAllTasks").items()}
    assert owners == dict.fromkeys((FINISHED, FAILED, RUNNING, RESUMABLE, QUEUED), "alice")
    assert (ended(host, QUEUED).task_result, ended(host, QUEUED).result) == ("success", 1200)
    assert (ended(host, RESUMABLE).task_result, ended(host, RESUMABLE).result) == ("success", "dry")
    broken = ended(host, RUNNING)
    assert broken.task_result == "cleanFailure"
    assert "40 %" in broken.message
    assert host.call("Kiln.getFired") == [1200]


def test_answered_requests_are_not_carried_out_again(host: TestHost) -> None:
    """An earlier request id has its answer, its error, or its task; for another request it is refused."""
    assert host.call("Kiln.stoke", request_id="stoked", logs=7) == 7
    with pytest.raises(InvalidArgument, match="the kiln is too small"):
        host.call("Kiln.stoke", request_id="refused", logs=1000)
    assert host.call("Kiln.fire", request_id="fired", degrees=900).task_id == FINISHED
    with pytest.raises(RequestIdReused):
        host.call("Kiln.stoke", request_id="stoked", logs=8)
    assert host.call("Kiln.stoke", logs=1) == 1


def test_events_go_on_without_a_gap(host: TestHost) -> None:
    """A resumed subscription delivers the earlier events, then those of this release."""
    ended(host, RESUMABLE)
    events = host.host.runtime.events.read(0, 1000)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert len(events) > LAST
    assert GAP_ID not in {event.id for event in events}
    assert events[3].id == f"|task|status|{FINISHED}"
    assert events[LAST - 1].params["progress"] == 10


@pytest.mark.parametrize(
    ("name", "part", "sql"),
    [
        ("state.sqlite", "tasks", "UPDATE migrations SET done = done + 100 WHERE part = 'tasks'"),
        ("state.sqlite", "requests", "UPDATE migrations SET done = done + 100 WHERE part = 'requests'"),
        ("events.sqlite", "events", "PRAGMA user_version = 2"),
    ],
)
def test_state_of_a_newer_release_keeps_the_host_from_starting(
    folder: Path, name: str, part: str, sql: str
) -> None:
    """The error names the file and part that cannot be used; state and journal are unchanged."""
    with closing(sqlite3.connect(folder / name)) as connection, connection:
        connection.execute(sql)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    host = TestHost(verbs={"kiln": Kilns}, config={"daemon": {"state_dir": str(folder)}})
    with pytest.raises(ConfigError, match=rf"{name}: .*'{part}' in this file was written by a newer release"):
        host.host.start()
    after = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert {key: after[key] for key in before} == before
