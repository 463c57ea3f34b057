"""Waiting for tasks."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from vdsm_bridge.testing import TestHost
from vdsm_bridge.testing.polling import until

from .conftest import HALL, Run, Terminal


def burn(host: TestHost, **arguments: Any) -> str:
    """Start a task; its id."""
    task_id: str = host.call("Lamp.burn", lampID=HALL, **arguments).task_id
    return task_id


def test_wait(host: TestHost, run: Run) -> None:
    """The result of the task is printed, its progress is, line by line."""
    outcome = run("task", "wait", burn(host, hours=4, pause=0.4), "-f", "json")
    assert outcome.code == 0
    assert json.loads(outcome.out)["hours"] == 4
    assert outcome.err.splitlines()[-1] == "100% 1 jobs completed successfully"
    # A busy machine may show fewer of them.
    assert re.search(r"^ (25% hour 1|50% hour 2|75% hour 3)", outcome.err, re.MULTILINE)


def test_quiet(host: TestHost, run: Run) -> None:
    """With `-q` there is no progress."""
    assert run("task", "wait", burn(host), "-q").err == ""


def test_wait_at_once(host: TestHost, run: Run) -> None:
    """A command that starts a task can wait for it."""
    outcome = run("lamp", "burn", "hall", "--hours", "2", "--wait", "-f", "json")
    assert json.loads(outcome.out)["hours"] == 2


def test_not_waiting(host: TestHost, run: Run) -> None:
    """Without, it prints the id of the task."""
    task_id = run("lamp", "burn", "hall", "-f", "value").out.strip()
    assert run("task", "wait", task_id).code == 0


def test_failure(host: TestHost, run: Run) -> None:
    """A task that is stopped is a failure with an exit code of its own."""
    task_id = burn(host, hours=1000)
    host.call("Task.stop", taskID=task_id)
    outcome = run("task", "wait", task_id)
    assert outcome.code == 4
    assert outcome.err.splitlines()[-1].startswith(f"vdsmsh: task {task_id} failed: ")


def test_unknown_task(host: TestHost, run: Run) -> None:
    """A task that is not known is the host's refusal."""
    outcome = run("task", "wait", HALL)
    assert (outcome.code, outcome.err) == (1, f"vdsmsh: There is no task '{HALL}' (no-such-task, 401)\n")


def test_bar_and_interrupt(host: TestHost, terminal: Callable[..., Terminal], vdsmsh: str) -> None:
    """On a terminal there is a bar; Ctrl-C ends the waiting and leaves the task alone."""
    task_id = burn(host, hours=1000, pause=0.05)
    screen = terminal(vdsmsh, "task", "wait", task_id)
    screen.expect("━", "%", "hour ")
    screen.type("\x03")
    screen.expect(f"the task goes on; wait for it with: vdsmsh task wait {task_id}")
    assert screen.wait() == 130
    assert host.call("Task.getStatus", taskID=task_id).task_state == "running"
    host.call("Task.stop", taskID=task_id)
    until(lambda: host.call("Task.getStatus", taskID=task_id).task_state == "finished")
