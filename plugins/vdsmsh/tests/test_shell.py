"""The interactive shell, on a terminal and fed by a pipe."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

from vdsm_bridge.testing import TestHost

from .conftest import HALL, Terminal

PROMPT = "vdsmsh>"


def test_conversation(host: TestHost, terminal: Callable[..., Terminal], vdsmsh: str, home: Path) -> None:
    """Commands, completion of live names, errors that do not end it, history that outlives it."""
    shell = terminal(vdsmsh)
    shell.expect(f"unix://{home}/api.sock", PROMPT)
    shell.type("lamp inf\t")
    # A terminal gets only what has changed on the line.
    shell.expect("o")
    shell.type(" ba\t")
    shell.expect("ard")
    shell.type(" -c name\r")
    shell.expect("| name  | back yard |", PROMPT)
    shell.type("lamp info attic\r")
    shell.expect("vdsmsh: there is no Lamp 'attic'", PROMPT)
    shell.type("lamp 'x\r")
    shell.expect("cannot split the line into words: No closing quotation", PROMPT)
    shell.type("vdsmsh lamp switch hall --lit -f value -c lit\r")
    shell.expect("true", PROMPT)
    shell.type("\x1b[A\x1b[A\x1b[A\r")
    shell.expect("there is no Lamp 'attic'", PROMPT)
    shell.type("exit\r")
    assert shell.wait() == 1, "like a shell's, the exit code is that of the last command"
    assert "+lamp info attic" in (home / "xdg_state_home" / "vdsmsh" / "history").read_text().splitlines()


def test_secrets_are_not_in_the_history(
    host: TestHost, terminal: Callable[..., Terminal], vdsmsh: str, home: Path
) -> None:
    """A line with a secret is not written to the history; one that names a file with it is."""
    shell = terminal(vdsmsh)
    shell.expect(PROMPT)
    for line in (
        "lamp lock hall --code s3cret",
        "lamp unlock hall --code=s3cret",
        "lamp lok x --code s3cret",
    ):
        shell.type(f"{line}\r")
        shell.expect(PROMPT)
    shell.type("lamp lock hall --code-file /dev/null\r")
    shell.expect(PROMPT)
    shell.type("exit\r")
    shell.wait()
    history = (home / "xdg_state_home" / "vdsmsh" / "history").read_text()
    assert "s3cret" not in history
    assert "--code-file /dev/null" in history


def test_choice_of_completions(host: TestHost, terminal: Callable[..., Terminal], vdsmsh: str) -> None:
    """Tab shows what there is to choose from, with help."""
    shell = terminal(vdsmsh)
    shell.expect(PROMPT)
    shell.type("lamp info \t")
    shell.expect("back yard", "hall", HALL)
    shell.type("\x03")
    # Ctrl-D ends it on an empty line only. That Ctrl-C has emptied it cannot be seen: the line is drawn anew
    # for the choice, too.
    assert shell.type_until_it_ends("\x04") == 0


def test_lines_from_a_pipe(host: TestHost, vdsmsh: str) -> None:
    """Lines from a pipe are carried out in order; comments and empty lines are passed over."""
    script = "# first\n\nlamp switch hall --lit -f value -c lit\nroom add --left 1\nexit\nroom add --left 5\n"
    done = subprocess.run([vdsmsh], input=script, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "true\n2\n", "")


def test_pipe_stops_at_the_first_failure(host: TestHost, vdsmsh: str) -> None:
    """A line that fails ends a script with its exit code."""
    done = subprocess.run(
        [vdsmsh],
        input="lamp info attic\nroom add --left 1\n",
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
