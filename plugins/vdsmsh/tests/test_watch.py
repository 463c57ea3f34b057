"""`--watch`: lists that follow the events."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from vdsm_bridge.testing import TestHost
from vdsm_bridge.transport import CallRefused, Unreachable
from vdsmsh import program
from vdsmsh.commands.watch import watch
from vdsmsh.connection.session import Streams
from vdsmsh.settings import Settings

from .conftest import HALL, YARD, Run, Terminal

PATIENCE = 15.0


class Watcher:
    """`vdsmsh ... --watch` that writes into a pipe."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._read = ""

    def line(self) -> str:
        """The next line."""
        assert self._process.stdout is not None
        while "\n" not in self._read:
            ready, _, _ = select.select([self._process.stdout], [], [], PATIENCE)
            assert ready, f"no line has come: {self._read!r}"
            piece = os.read(self._process.stdout.fileno(), 65536)
            assert piece, "it has ended"
            self._read += piece.decode()
        line, _, self._read = self._read.partition("\n")
        return line

    def hang_up(self) -> int:
        """Read no more; the exit code."""
        assert self._process.stdout is not None
        self._process.stdout.close()
        return self._process.wait(PATIENCE)

    def interrupt(self) -> int:
        """Ctrl-C; the exit code."""
        self._process.send_signal(signal.SIGINT)
        return self._process.wait(PATIENCE)


@contextmanager
def watching(vdsmsh: str, *words: str) -> Iterator[Watcher]:
    """A running watcher; gone afterwards."""
    process = subprocess.Popen([vdsmsh, *words], stdout=subprocess.PIPE, env={**os.environ})
    try:
        yield Watcher(process)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def test_changes_in_a_pipe(host: TestHost, vdsmsh: str) -> None:
    """Into a pipe go the rows that are there, then one line for each change; nothing is polled."""
    with watching(vdsmsh, "lamp", "list", "--watch", "-c", "name", "-c", "lit") as watcher:
        assert {watcher.line(), watcher.line()} == {"= name=hall lit=false", '= name="back yard" lit=false'}
        host.call("Lamp.switch", lampID=HALL, lit=True)
        assert watcher.line() == "~ name=hall lit=true"
        host.call("Lamp.remove", lampID=YARD)
        host.call("Lamp.create", lamp={"lampID": YARD.replace("2", "3"), "name": "roof"})
        # Lamps come and go without an event; the next one brings it all.
        host.call("Lamp.switch", lampID=HALL, lit=False)
        lines = [watcher.line() for _ in range(3)]
        assert sorted(lines) == [
            "+ name=roof lit=false",
            '- name="back yard" lit=false',
            "~ name=hall lit=false",
        ]
        assert watcher.interrupt() == 130


def test_changes_as_json(host: TestHost, vdsmsh: str) -> None:
    """Programs get an object for each change, with the whole of the row."""
    with watching(vdsmsh, "lamp", "list", "--watch", "-f", "json") as watcher:
        present = [json.loads(watcher.line()) for _ in range(2)]
        assert {entry["change"] for entry in present} == {"present"}
        host.call("Lamp.switch", lampID=HALL, lit=True)
        changed: dict[str, Any] = json.loads(watcher.line())
        assert (changed["change"], changed["object"]["lampID"]) == ("changed", HALL)
        assert changed["object"]["lit"] is True
        assert watcher.interrupt() == 130


def test_table_in_place(host: TestHost, terminal: Callable[..., Terminal], vdsmsh: str) -> None:
    """On a terminal the table is drawn again over the last one."""
    screen = terminal(vdsmsh, "lamp", "list", "--watch", "-c", "name", "-c", "lit")
    screen.expect("vdsmsh lamp list", "hall", "back yard", "Ctrl-C ends")
    screen.type("")
    host.call("Lamp.switch", lampID=HALL, lit=True)
    seen = screen.expect("true")
    assert "\x1b[7F\x1b[0J" in seen
    screen.type("\x03")
    assert screen.wait() == 130


def test_the_table_covers_notices(host: TestHost, terminal: Callable[..., Terminal], vdsmsh: str) -> None:
    """A broken connection is reported below the table; the next table is drawn over the notice."""
    screen = terminal(vdsmsh, "lamp", "list", "--watch", "-c", "name")
    screen.expect("back yard", "Ctrl-C ends")
    screen.type("")
    rest = next(plugin.instance for plugin in host.host._lifecycle._plugins if plugin.found.name == "rest")
    for stream in list(rest._service.streams._open):
        stream.close()
    seen = screen.expect("connected again", "\x1b[0J")
    (broken,) = re.findall(r"vdsmsh: the stream .* has ended; trying again after event \d+", seen)
    # Seven lines of the table, and the notice, which may take two.
    assert f"\x1b[{7 + 1 + (len(broken) > 100) + 1}F\x1b[0J" in screen.expect("back yard")
    screen.type("\x03")
    assert screen.wait() == 130


def test_bursts_are_one_reading(host: TestHost, vdsmsh: str) -> None:
    """Many events in a moment make the list be read once or twice, not once for each."""
    with watching(vdsmsh, "lamp", "list", "--watch", "-c", "lit", "-c", "name") as watcher:
        assert watcher.line().startswith("=")
        assert watcher.line().startswith("=")
        for turn in range(101):
            host.call("Lamp.switch", lampID=HALL, lit=not turn % 2)
        lines = [watcher.line()]
        time.sleep(1.0)
        host.call("Lamp.switch", lampID=YARD, lit=True)
        while "back yard" not in lines[-1]:
            lines.append(watcher.line())
        assert len(lines) < 10
        assert lines[-2] == "~ lit=true name=hall"


@pytest.mark.parametrize("words", [("lamp", "list", "--watch"), ("events", "--snapshot")])
def test_a_reader_that_goes_away(host: TestHost, vdsmsh: str, words: tuple[str, ...]) -> None:
    """After the pipe is closed it ends without waiting for the next event."""
    with watching(vdsmsh, *words) as watcher:
        watcher.line()
        assert watcher.hang_up() == 141


def test_a_list_that_cannot_be_had_now(host: TestHost, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal that time mends is waited out, without an event; any other ends the watching."""
    monkeypatch.setattr("vdsmsh.commands.watch._RETRY", 0.2)
    answers: list[Any] = [
        ["first"],
        CallRefused("recovering", 99, "not yet"),
        Unreachable("away"),
        ["second"],
        CallRefused("forbidden", 100, "no"),
    ]

    class Shown(list[Any]):
        def show(self, answer: Any) -> None:
            self.append(answer)
            host.call("Lamp.switch", lampID=HALL, lit=True)

        def add_line(self, text: str) -> None:
            raise AssertionError(text)

    shown = Shown()

    def ask() -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    with closing(program.open_session({}, Streams())) as session, pytest.raises(CallRefused, match="no"):
        watch(session, Settings(), ["sample"], ask, shown)
    assert shown == [["first"], ["second"]]


@pytest.mark.parametrize("words", [("lamp", "info", "hall"), ("lamp", "switch", "hall", "--lit")])
def test_what_is_no_list(host: TestHost, run: Run, words: tuple[str, ...]) -> None:
    """Only lists can be watched."""
    assert run(*words, "--watch").code == 2
