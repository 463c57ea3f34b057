"""Secret options of verbs."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from vdsm_bridge.testing import TestHost

from .conftest import HALL, SCRIPTS, Run, Terminal


def _unlocks(host: TestHost, code: str) -> None:
    host.call("Lamp.unlock", lampID=HALL, code=code)


@pytest.mark.parametrize("text", ["s3cret", "s3cret\n", "@s3cret\r\nsecond line"])
def test_file(host: TestHost, run: Run, tmp_path: Path, text: str) -> None:
    """A secret is read from the first line of a file."""
    file = tmp_path / "code"
    file.write_bytes(text.encode())
    assert run("lamp", "lock", "hall", "--code-file", str(file)).code == 0
    _unlocks(host, text.splitlines()[0])


def test_standard_input(host: TestHost, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """`-` is standard input."""
    monkeypatch.setattr("sys.stdin", io.StringIO("s3cret\n"))
    assert run("lamp", "lock", "hall", "--code-file", "-").code == 0
    _unlocks(host, "s3cret")


def test_command_line(host: TestHost, run: Run) -> None:
    """The option itself still takes a word; the preview of a call does not show it."""
    preview = run("--dry-run", "lamp", "lock", "hall", "--code", "s3cret")
    assert "***" in preview.out
    assert "s3cret" not in preview.out
    assert run("lamp", "lock", "hall", "--code", "s3cret").code == 0
    _unlocks(host, "s3cret")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--code-file", "/nowhere"], "--code-file: cannot read /nowhere"),
        (["--code-file", "/dev/null", "--code", "x"], "exclude each other"),
        ([], "--code is required"),
    ],
)
def test_refusals(host: TestHost, run: Run, words: list[str], message: str) -> None:
    """What cannot be read, both ways at once, and none of them without a terminal are refused."""
    outcome = run("lamp", "lock", "hall", *words)
    assert outcome.code != 0
    assert message in outcome.err


def test_prompt(host: TestHost, home: Path) -> None:
    """On a terminal, a required secret is asked for, and not echoed."""
    terminal = Terminal([str(SCRIPTS / "vdsmsh"), "lamp", "lock", "hall"], {})
    terminal.expect("Code: ")
    terminal.type("s3cret\n")
    assert terminal.wait() == 0
    assert "s3cret" not in terminal.seen
    _unlocks(host, "s3cret")


def test_help(host: TestHost, run: Run) -> None:
    """The help names the option for the file."""
    assert "--code-file FILE" in run("lamp", "lock", "--help").out
