"""How a daemon is found, and how it reports the outcome of a reload."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from vdsm_bridge.daemon import status_file
from vdsm_bridge.daemon.status_file import DaemonSilent, NoDaemon, Outcome, StatusFile
from vdsm_bridge.plugins.feature import PluginInfo
from vdsm_core.errors import ConfigError


def outcome(began: float, reason: str = "") -> Outcome:
    """The outcome that a daemon would report."""
    return Outcome(began=began, applied=not reason, reason=reason, config="", plugins=[])


@pytest.fixture
def claimed(tmp_path: Path) -> Iterator[StatusFile]:
    """A daemon that this process plays."""
    made = StatusFile(str(tmp_path))
    made.claim()
    yield made
    made.release()


@pytest.fixture
def hung_up() -> Iterator[threading.Event]:
    """Set when this process receives the signal to reload."""
    event = threading.Event()
    before = signal.signal(signal.SIGHUP, lambda *_: event.set())
    yield event
    signal.signal(signal.SIGHUP, before)


def test_a_daemon_is_found_while_it_lives(tmp_path: Path) -> None:
    """Before and after it there is none, whatever files lie there."""
    with pytest.raises(NoDaemon):
        status_file.find(str(tmp_path / "absent"))
    (tmp_path / status_file.PID_FILE).write_text("1\n")
    with pytest.raises(NoDaemon, match=f"No vdsmd runs on {tmp_path}"):
        status_file.find(str(tmp_path))
    mine = StatusFile(str(tmp_path))
    mine.claim()
    assert status_file.find(str(tmp_path)) == os.getpid()
    assert status_file.last_outcome(str(tmp_path)) is None
    mine.report(outcome(1.0))
    assert status_file.last_outcome(str(tmp_path)) == outcome(1.0)
    mine.release()
    assert list(tmp_path.iterdir()) == []


def test_plugins_that_change_are_written(claimed: StatusFile, tmp_path: Path) -> None:
    """After an outcome, and not as one; not before, as a tool may wait for it; nor at the end."""
    now = [PluginInfo(name="stall", group="vdsm.bindings", state="running")]
    claimed.update(lambda: now)
    assert status_file.last_outcome(str(tmp_path)) is None
    claimed.report(outcome(1.0))
    claimed.update(lambda: now)
    assert status_file.last_outcome(str(tmp_path)) == msgspec.structs.replace(outcome(1.0), plugins=now)
    claimed.release()
    claimed.update(lambda: now)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_belongs_to_one_daemon(claimed: StatusFile, tmp_path: Path) -> None:
    """The second one learns which has it, and does not disturb that."""
    second = StatusFile(str(tmp_path))
    with pytest.raises(ConfigError, match=rf"daemon\.run_dir: another daemon \(pid {os.getpid()}\) uses it"):
        second.claim()
    second.release()
    assert status_file.find(str(tmp_path)) == os.getpid()


def test_a_folder_that_cannot_be_used(tmp_path: Path) -> None:
    """It is an error of the configuration."""
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"daemon\.run_dir: Not a directory"):
        StatusFile(str(tmp_path / "file" / "run")).claim()


def test_a_reload_waits_for_its_own_outcome(
    claimed: StatusFile, tmp_path: Path, hung_up: threading.Event
) -> None:
    """One that began before the signal does not count: it may not have seen the change."""
    before = time.monotonic()

    def answer() -> None:
        hung_up.wait(10)
        claimed.report(outcome(before, "from before"))
        time.sleep(0.1)
        claimed.report(outcome(time.monotonic(), "after"))

    daemon = threading.Thread(target=answer)
    daemon.start()
    assert status_file.reload(str(tmp_path), 10.0).reason == "after"
    daemon.join()


def test_a_daemon_that_does_not_answer(claimed: StatusFile, tmp_path: Path, hung_up: threading.Event) -> None:
    """The wait has an end."""
    with pytest.raises(DaemonSilent, match=f"pid {os.getpid()}"):
        status_file.reload(str(tmp_path), 0.1)
    assert hung_up.is_set()


def test_a_host_without_a_folder_leaves_no_trace() -> None:
    """As in tests of other things."""
    none = StatusFile("")
    none.claim()
    none.report(outcome(1.0))
    none.release()
