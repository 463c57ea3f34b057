"""The files in `run_dir` through which a running daemon is found, and its reload requested.

The daemon holds a lock on `vdsmd.pid` while it runs, so that a file left by a crash is recognized. After its
start and after each reload it writes the outcome to `vdsmd.json`, and again whenever the state of a plugin
changes. The sender of SIGHUP waits for an outcome whose reading of the configuration began after the signal
was sent.
"""

from __future__ import annotations

import fcntl
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Final

import msgspec

from vdsm_bridge.plugins.feature import PluginInfo
from vdsm_core.errors import ConfigError, VdsmError
from vdsm_core.filelock import PATIENCE, STEP, lock_exclusively
from vdsm_core.types import Record

PID_FILE: Final = "vdsmd.pid"
OUTCOME_FILE: Final = "vdsmd.json"


class NoDaemon(VdsmError):
    """No daemon uses this folder. Facts: `run_dir`."""

    slug = "no-daemon"
    template = "No vdsmd runs on {run_dir}; if it was started with --config, give the same --config here"


class DaemonSilent(VdsmError):
    """A daemon did not report the outcome of a reload in time. Facts: `pid`, `seconds`."""

    slug = "daemon-silent"
    template = (
        "vdsmd (pid {pid}) has not finished the reload after {seconds:g} s; a plugin may hang, "
        "see the daemon's log"
    )


class NotYours(VdsmError):
    """The daemon belongs to another user and cannot be signalled. Facts: `pid`."""

    slug = "not-your-daemon"
    template = (
        "Cannot signal vdsmd (pid {pid}): it belongs to another user. Run this as that user, or as root"
    )


class Outcome(Record, frozen=True):
    """The outcome of the start, or of the last reload. `began` is on the clock of `time.monotonic`, in
    seconds.

    `waiting` are the options whose new values need a restart. `config` is the argument `--config` of the
    daemon, empty for the default files.
    """

    began: float
    applied: bool
    reason: str
    config: str
    plugins: list[PluginInfo]
    waiting: list[str] = []


class StatusFile:
    """The daemon's side of the files.

    :param run_dir: empty: write no files
    """

    def __init__(self, run_dir: str) -> None:
        self._folder = Path(run_dir) if run_dir else None
        self._lock: IO[str] | None = None
        self._writing = threading.Lock()
        self._reported: Outcome | None = None

    def claim(self) -> None:
        """Lock the folder for this process.

        :raises ConfigError: another daemon uses it, or it cannot be written to
        """
        if self._folder is None:
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lock = _locked(self._folder / PID_FILE)
        except OSError as error:
            raise self._bad_folder(error.strerror or str(error)) from None
        if self._lock is None:
            raise self._bad_folder(f"another daemon (pid {_pid(self._folder)}) uses it")
        self._lock.truncate(0)
        self._lock.write(f"{os.getpid()}\n")
        self._lock.flush()

    def report(self, outcome: Outcome) -> None:
        """Write the outcome of the start or of a reload.

        :raises OSError: it cannot be written
        """
        with self._writing:
            self._reported = outcome
            self._write(outcome)

    def update(self, plugins: Callable[[], list[PluginInfo]]) -> None:
        """Write the last outcome again, with the present states of the plugins.

        Before the first outcome nothing is written: a client may be waiting for that one.

        :raises OSError: it cannot be written
        """
        with self._writing:
            if self._reported is not None:
                self._reported = msgspec.structs.replace(self._reported, plugins=plugins())
                self._write(self._reported)

    def _write(self, outcome: Outcome) -> None:
        if self._folder is not None:
            new = self._folder / f"{OUTCOME_FILE}.new"
            new.write_bytes(msgspec.json.encode(outcome))
            new.rename(self._folder / OUTCOME_FILE)

    def release(self) -> None:
        """Remove the files and unlock the folder."""
        with self._writing:
            self._reported = None
        if self._folder is not None and self._lock is not None:
            (self._folder / OUTCOME_FILE).unlink(missing_ok=True)
            (self._folder / PID_FILE).unlink(missing_ok=True)
            self._lock.close()

    def _bad_folder(self, reason: str) -> ConfigError:
        return ConfigError(file=str(self._folder), key="daemon.run_dir", reason=reason)


def _locked(path: Path) -> IO[str] | None:
    """Return the file, with a lock on it; None if another process holds that."""
    file = path.open("a", encoding="ascii")
    if lock_exclusively(file.fileno()):
        return file
    file.close()
    return None


def find(run_dir: str) -> int:
    """Return the process id of the daemon that uses a folder.

    :raises NoDaemon: there is none
    """
    try:
        with (Path(run_dir) / PID_FILE).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _pid(Path(run_dir))
    except FileNotFoundError:
        pass
    raise NoDaemon(run_dir=run_dir)


def last_outcome(run_dir: str) -> Outcome | None:
    """Return the last outcome that the daemon wrote; None before the first."""
    try:
        return msgspec.json.decode((Path(run_dir) / OUTCOME_FILE).read_bytes(), type=Outcome)
    except FileNotFoundError:
        return None


def reload(run_dir: str, timeout: float) -> Outcome:
    """Signal the daemon to reload its configuration, and wait for the outcome.

    :param timeout: seconds
    :raises NoDaemon: there is none
    :raises DaemonSilent: it has not reported an outcome in time
    :raises NotYours: it belongs to another user
    """
    pid = find(run_dir)
    sent = time.monotonic()
    try:
        os.kill(pid, signal.SIGHUP)
    except PermissionError:
        raise NotYours(pid=pid) from None
    while time.monotonic() < sent + timeout:
        outcome = last_outcome(run_dir)
        # A reload that began before the signal may have read an earlier configuration.
        if outcome is not None and outcome.began >= sent:
            return outcome
        find(run_dir)
        time.sleep(STEP)
    raise DaemonSilent(pid=pid, seconds=timeout)


def _pid(folder: Path) -> int:
    # The daemon writes it right after it has taken the lock.
    for _ in range(int(PATIENCE / STEP)):
        if text := (folder / PID_FILE).read_text("ascii").strip():
            return int(text)
        time.sleep(STEP)
    raise NoDaemon(run_dir=str(folder))
