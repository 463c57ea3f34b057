"""Completion: the candidates, and real shells that ask for them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from vdsm_bridge.testing import TestHost
from vdsmsh.shell.completion import split, start_of_last_word

from .conftest import HALL, Run, Terminal


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", ([], "")),
        ("lamp", ([], "lamp")),
        ("lamp ", (["lamp"], "")),
        ("lamp info 'back y", (["lamp", "info"], "back y")),
        ('lamp info "back y', (["lamp", "info"], "back y")),
        ("lamp info back\\ y", (["lamp", "info"], "back y")),
        ("lamp info back\\", (["lamp", "info"], "back")),
        ("lamp 'a b' c", (["lamp", "a b"], "c")),
    ],
)
def test_split(line: str, expected: tuple[list[str], str]) -> None:
    """An unfinished line is split into words, with or without its closing quotation mark."""
    assert split(line) == expected


def test_start_of_last_word() -> None:
    """Quotation marks belong to the word."""
    assert start_of_last_word("a 'b c") == 2


def test_candidates(host: TestHost, run: Run) -> None:
    """Each place on the line has its candidates."""
    expected = {
        "vdsmsh ": "complete drawer events help host lamp plugin rack room task verb whoami",
        "vdsmsh la": "lamp",
        "vdsmsh lamp s": "smash switch",
        "vdsmsh lamp switch h": "hall",
        "vdsmsh lamp switch 111": HALL,
        "vdsmsh lamp switch hall ": "",
        "vdsmsh lamp switch --note x b": "back yard",
        "vdsmsh lamp switch hall --li": "--lit",
        "vdsmsh lamp switch hall --no-": "--no-lit",
        "vdsmsh events sample.sw": "sample.switched",
        "vdsmsh events unsub": "unsubscribe",
        "vdsmsh events sample.switched unsub": "",
        "vdsmsh events --co": "--count",
        "vdsmsh events -f ": "csv json text",
        "vdsmsh events --after ": "",
        "vdsmsh lamp list --wa": "--watch",
        "vdsmsh lamp burn hall --wai": "--wait",
        "vdsmsh lamp list --al": "--all",
        "vdsmsh task wait --qui": "--quiet",
        "vdsmsh events --col": "",
        "vdsmsh lamp create --colour ": "blue green red",
        "vdsmsh lamp create --colour=": "blue green red",
        "vdsmsh lamp list -f ": "csv json table value yaml",
        "vdsmsh lamp list -c w": "watts",
        "vdsmsh --timeout 5 lamp rem": "remove",
        "vdsmsh --timeout ": "",
        "vdsmsh --url unix:///nowhere la": "",
        "vdsmsh --url": "--url",
        "vdsmsh help lamp sw": "switch",
        "vdsmsh complete --shell ": "bash zsh",
        "vdsmsh xyzzy ": "",
        "vdsmsh room add --left ": "",
    }
    printed = {line: " ".join(run("__complete", "bash", line).out.split("\n")).strip() for line in expected}
    assert printed == expected


def test_descriptions(host: TestHost, run: Run) -> None:
    """zsh gets a description of each candidate."""
    assert run("__complete", "zsh", "vdsmsh lamp sm").out.startswith("smash\tBreak a lamp")
    assert run("__complete", "zsh", "vdsmsh lamp info h").out == f"hall\t{HALL}\n"
    assert run("__complete", "zsh", "vdsmsh lamp create --colour=g").out == "--colour=green\t\n"


def test_tasks(host: TestHost, run: Run) -> None:
    """Objects without a name are completed by their id."""
    task_id = host.call("Lamp.burn", lampID=HALL).task_id
    assert run("__complete", "bash", "vdsmsh task wait ").out.strip() == task_id
    run("task", "wait", task_id)


def test_silence(home: Path, run: Run) -> None:
    """Without a host there are no candidates, and no error in the middle of a line."""
    outcome = run("__complete", "bash", "vdsmsh --url unix:///nowhere lamp ")
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "")


def test_bash(host: TestHost, terminal: Callable[..., Terminal]) -> None:
    """In a real bash, Tab completes commands, options, and names with blanks."""
    shell = terminal("bash", "--norc", "--noprofile", "-i", PS1="ready> ", INPUTRC="/dev/null")
    shell.expect("ready> ")
    shell.type("source <(vdsmsh complete --shell bash); echo load''ed\n")
    shell.expect("loaded", "ready> ")
    shell.type("vdsmsh lamp inf\tba\t-f value -c na\t\n")
    shell.expect("info back\\ yard -f value -c name", "\rback yard\r\n")


@pytest.mark.skipif(shutil.which("zsh") is None, reason="needs zsh")
def test_zsh(host: TestHost, terminal: Callable[..., Terminal], home: Path) -> None:
    """In a real zsh, too."""
    shell = terminal("zsh", "-f", "-i", PS1="ready> ")
    shell.expect("ready> ")
    shell.type(
        f"autoload -U compinit; compinit -u -d {home}/dump; "
        "source <(vdsmsh complete --shell zsh); echo load''ed\n"
    )
    shell.expect("loaded")
    shell.type("vdsmsh lamp inf\tba\t-f value -c na\t\n")
    shell.expect("back yard\r\n")
