"""Waiting for a task, with its progress on standard error."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Final, TextIO

from vdsmsh.failures import TaskFailed
from vdsmsh.session import Session
from vdsmsh.settings import Settings

#: Seconds between two questions: the first, how they grow, the longest.
_FIRST: Final = 0.1
_GROWTH: Final = 1.3
_LONGEST: Final = 1.0
_VERB: Final = "Task.getStatus"


#: Shows how far a task is: per cent, and its own words.
Report = Callable[[int, str], None]


@contextmanager
def lines(stream: TextIO) -> Iterator[Report]:
    """One line for each change, for logs and pipes."""
    last = ("", -1)

    def report(percent: int, message: str) -> None:
        nonlocal last
        if (message, percent) != last:
            last = (message, percent)
            print(f"{percent:3d}% {message}", file=stream, flush=True)

    yield report


def wait_for(session: Session, settings: Settings, task_id: str) -> Any:
    """Wait until a task has ended.

    Ctrl-C ends the waiting, not the task.

    :returns: the result of the task's verb
    :raises TaskFailed: it failed or was stopped
    :raises TransportError: the host refused, or did not answer
    """
    stderr = session.streams.stderr
    try:
        with reporter(stderr, settings) as report:
            status = _follow(session, settings, task_id, report)
    except KeyboardInterrupt:
        print(f"The task goes on; wait for it again with: vdsmsh task wait {task_id}", file=stderr)
        raise
    if status["taskResult"] != "success":
        raise TaskFailed(f"task {task_id} did not succeed: {status['message']} (code {status['code']})")
    return status.get("result")


def reporter(stream: TextIO, settings: Settings) -> AbstractContextManager[Report]:
    """Shows progress as the settings and the stream want it: not at all, a bar on a terminal, else lines."""
    if settings.verbosity == 0:
        return nullcontext(lambda _percent, _message: None)
    if not stream.isatty():
        return lines(stream)
    # rich is slow to import, and only a terminal needs it.
    bar: AbstractContextManager[Report] = importlib.import_module("vdsmsh.bar").bar(stream)
    return bar


def _follow(session: Session, settings: Settings, task_id: str, report: Report) -> dict[str, Any]:
    pause = _FIRST
    while True:
        status: dict[str, Any] = session.call(_VERB, {"taskID": task_id}, settings.reading)
        report(int(status["progress"]), str(status["message"]))
        if status["taskState"] == "finished":
            return status
        time.sleep(pause)
        pause = min(_LONGEST, pause * _GROWTH)
