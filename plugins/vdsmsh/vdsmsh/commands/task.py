"""Waiting for a task: `vdsmsh task wait`, and `--wait` of the verbs that start one."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

from vdsmsh.api.schema import Schema
from vdsmsh.connection.session import Session
from vdsmsh.errors import TaskFailed
from vdsmsh.output.display import Display
from vdsmsh.output.progress import Report, reporter
from vdsmsh.settings import Settings, add_options

#: Seconds between two polls: the first, their growth, the maximum.
_FIRST_PAUSE: Final = 0.1
_GROWTH: Final = 1.3
_MAX_PAUSE: Final = 1.0
_VERB: Final = "Task.getStatus"


def run_task_wait(session: Session, settings: Settings, words: Sequence[str]) -> None:
    """Carry out `task wait`.

    :param words: those that follow the command
    :raises TaskFailed: the task failed or was aborted
    :raises TransportError: the host refused, or did not answer
    """
    about = "Wait until a task has ended and show its progress. Ctrl-C ends the command, not the task."
    display = Display(
        session.streams.stdout, about, "Prints the result of the task. Exit code 4 if it failed."
    )
    parsed = wait_parser(display).parse_args(words)
    settings = settings.updated(parsed)
    display.show(wait_for(session, settings, parsed.task), Schema({}), [], parsed)


def wait_parser(display: Display) -> Any:
    """Return the parser of the words that follow `task wait`."""
    parser = display.get_parser("vdsmsh task wait")
    display.parameters.add_argument("task", metavar="TASK", help="id of the task")
    add_options(parser)
    return parser


def wait_for(session: Session, settings: Settings, task_id: str) -> Any:
    """Wait until a task has ended, with its progress on standard error.

    Ctrl-C ends the command, not the task.

    :returns: the result of the task's verb
    :raises TaskFailed: the task failed or was aborted
    :raises TransportError: the host refused, or did not answer
    """
    stderr = session.streams.stderr
    try:
        with reporter(stderr, settings) as report:
            status = _poll(session, settings, task_id, report)
    except KeyboardInterrupt:
        print(f"vdsmsh: the task goes on; wait for it with: vdsmsh task wait {task_id}", file=stderr)
        raise
    if status["taskResult"] != "success":
        raise TaskFailed(f"task {task_id} failed: {status['message']} (code {status['code']})")
    return status.get("result")


def _poll(session: Session, settings: Settings, task_id: str, report: Report) -> dict[str, Any]:
    pause = _FIRST_PAUSE
    while True:
        status: dict[str, Any] = session.call(_VERB, {"taskID": task_id}, settings.reading)
        report(int(status["progress"]), str(status["message"]))
        if status["taskState"] == "finished":
            return status
        time.sleep(pause)
        pause = min(_MAX_PAUSE, pause * _GROWTH)
