"""The journal when its file is damaged or gone: a gap, and numbers that never repeat."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest

from tests.core.damage import WAYS
from vdsm_core.database import Damaged
from vdsm_core.events import EventBus, EventParams, Journal


class LampBlinked(EventParams, frozen=True):
    """A lamp blinked."""

    component: ClassVar[str] = "lost"
    operation: ClassVar[str] = "blinked"
    notes: str


def started(path: Path) -> EventBus:
    bus = EventBus(Journal(str(path), max_bytes=10**7, keep=1000.0), sync_interval=0.02)
    bus.start()
    return bus


def publish(bus: EventBus, count: int) -> int:
    for _ in range(count):
        bus.publish(LampBlinked(notes="x" * 200), "a")
    return bus.flush()


@pytest.mark.parametrize("marked", [True, False], ids=["with the mark", "without the mark"])
@pytest.mark.parametrize("harm", WAYS, ids=lambda way: way.__name__)
def test_a_damaged_journal_is_begun_anew(
    tmp_path: Path, harm: Callable[[Path], None], marked: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Numbers continue higher; a resumed subscription gets a gap; the old file is set aside."""
    path = tmp_path / "events.sqlite"
    bus = started(path)
    last = publish(bus, 300)
    bus.stop()
    harm(path)
    if not marked:
        if harm.__name__ == "empty":
            pytest.skip("an empty file without the mark is a new journal: no trace of its use")
        Path(f"{path}-reserved").unlink()
    bus = started(path)
    new = publish(bus, 1)
    assert new > last
    subscription = bus.subscribe(after=last - 10)
    events = [*subscription.next(5, 1), *subscription.next(5, 1)]
    assert events[0].is_gap
    assert events[0].params["from"] == last - 9
    assert (events[0].params["to"], events[1].seq) == (new - 1, new)
    bus.stop()
    if harm.__name__ != "empty":
        assert list(tmp_path.glob("events.sqlite.damaged-*"))
        assert sum("begun anew" in record.getMessage() for record in caplog.records) == 1
    bus = started(path)
    assert publish(bus, 1) == new + 1
    bus.stop()


@pytest.mark.parametrize("how", ["damaged", "removed"])
def test_a_journal_that_is_lost_while_running(
    tmp_path: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is noticed without a restart; events go on in a new file, and no number repeats."""
    path = tmp_path / "state" / "events.sqlite"
    bus = started(path)
    publish(bus, 300)
    bus.stop()
    bus = started(path)
    last = publish(bus, 1)
    if how == "removed":
        shutil.rmtree(path.parent)
    else:
        with path.open("r+b") as harmed:
            harmed.seek(4096)
            harmed.write(b"\xff" * (path.stat().st_size - 4096))
    subscription = bus.subscribe(after=1)
    numbers = [last]
    for _ in range(1000):
        assert subscription.next(5, 1)
        numbers.append(publish(bus, 1))
        if any("begun anew" in record.getMessage() for record in caplog.records):
            break
    numbers.append(publish(bus, 1))
    assert numbers == sorted(set(numbers))
    bus.stop()
    bus = started(path)
    assert publish(bus, 1) > numbers[-1]
    late = bus.subscribe(after=last - 10)
    assert late.next(5, 1)[0].is_gap
    assert late.next(5, 100)[0].seq <= numbers[-1]
    bus.stop()


def test_one_damage_that_two_threads_meet(tmp_path: Path) -> None:
    """The new journal is not set aside for what was wrong with the old one."""
    path = tmp_path / "events.sqlite"
    journal = Journal(str(path), max_bytes=10**7, keep=1000.0)
    journal.open()
    before = journal.generation
    path.unlink()
    with pytest.raises(Damaged) as first:
        journal.sync()
    assert journal.repair(first.value, before)
    assert journal.repair(Damaged("met at the same time"), before)
    assert journal.generation == before + 1
    assert not list(tmp_path.glob("*.damaged-*"))
    # What comes later is another damage.
    assert journal.repair(Damaged("met later"), journal.generation)
    assert len(list(tmp_path.glob("events.sqlite.damaged-*"))) == 1
    journal.close()


def test_files_are_private(tmp_path: Path) -> None:
    """Events name callers: every file is for the daemon alone."""
    bus = started(tmp_path / "events.sqlite")
    publish(bus, 1)
    assert {file.stat().st_mode & 0o777 for file in tmp_path.iterdir()} == {0o600}
    bus.stop()
