"""The record of the runs of scripts, bounded, in memory."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from typing import Annotated, Final

from msgspec import Meta

from vdsm_core.types import Record

#: Bytes of text in all runs together.
MAX_TEXT: Final = 4 * 2**20


class HookRun(Record, frozen=True):
    """One run of a hook script.

    :ivar number: increases by one from run to run; the count begins anew when the daemon starts
    :ivar started: Unix time, in seconds
    :ivar point: the hook point
    :ivar script: its file name
    :ivar vm_id: the machine, if the point concerns one; empty otherwise
    :ivar sha256: checksum of the script, in hexadecimal
    :ivar duration: in seconds
    :ivar exit_code: its exit code; negative: the number of the signal that ended it; -1000: it was not run
    :ivar error: why the run counts as failed; empty if it does not
    :ivar stderr: the beginning of its standard error, at most 8 KiB
    :ivar difference: what it changed in the document, as a unified difference of at most 16 KiB
    """

    number: int
    started: float
    point: str
    script: str
    vm_id: str = ""
    sha256: str = ""
    duration: Annotated[float, Meta(ge=0, extra_json_schema={"x-unit": "s"})] = 0.0
    exit_code: int = 0
    error: str = ""
    stderr: str = ""
    difference: str = ""


#: `exit_code` of a script that was not run.
NOT_RUN: Final = -1000


class Journal:
    """The last runs. One for a daemon: the hooks write it, a verb reads it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._runs: deque[HookRun] = deque()
        self._text = 0
        self.keep = 500

    def next_number(self) -> int:
        """Return the number of a new run."""
        with self._lock:
            return next(self._numbers)

    def add(self, run: HookRun) -> None:
        """Record a run; the oldest ones are dropped beyond the limits."""
        with self._lock:
            self._runs.append(run)
            self._text += _size(run)
            while len(self._runs) > self.keep or (self._text > MAX_TEXT and len(self._runs) > 1):
                self._text -= _size(self._runs.popleft())

    def runs(self, point: str, vm_id: str, limit: int) -> list[HookRun]:
        """Return runs, the newest first.

        :param point: of this point only; empty: of all
        :param vm_id: of this machine only; empty: of all
        """
        with self._lock:
            found = [
                run
                for run in reversed(self._runs)
                if (not point or run.point == point) and (not vm_id or run.vm_id == vm_id)
            ]
        return found[:limit]

    def editors(self, vm_id: str) -> list[str]:
        """Return the scripts that changed the document of a machine's last start, as `point/script`."""
        with self._lock:
            mine = [run for run in reversed(self._runs) if run.vm_id == vm_id]
        edits = [run for run in mine if run.point in ("before_vm_start", "before_device_create")]
        return list(dict.fromkeys(f"{run.point}/{run.script}" for run in reversed(edits) if run.difference))


def _size(run: HookRun) -> int:
    return len(run.stderr) + len(run.difference) + len(run.error)
