"""Completion of vdsm-tool in real shells, from where packages put the scripts."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
#: Seconds for a shell on a busy machine.
PATIENCE = 60.0


@pytest.fixture(scope="module")
def share(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """/usr/share as packages lay it out."""
    folder = tmp_path_factory.mktemp("root")
    subprocess.run([ROOT / "packaging" / "install-files", folder], check=True)
    return folder / "usr" / "share"


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["plu"], ["plugin"]),
        (["plugin", "dis"], ["disable"]),
        (["plugin", "disable", "--no"], ["--no-reload"]),
        (["plugin", "disable", "vi"], ["virt"]),
        (["--config", "here", "reload", "--ti"], ["--timeout"]),
        (["plugin", "disable", "virt", "--ti"], ["--timeout"]),
        (["token", "create", "joe", "op"], ["operator"]),
        (["token", "nothing-like-it"], []),
    ],
)
def test_bash(share: Path, words: list[str], offered: list[str]) -> None:
    """Commands, options, choices and the names of plugins, wherever options with values stand."""
    script = f"""
        source {share}/bash-completion/completions/vdsm-tool
        COMP_WORDS=(vdsm-tool {" ".join(words)}) COMP_CWORD={len(words)}
        $(complete -p vdsm-tool | sed 's/.* -F \\([^ ]*\\) .*/\\1/')
        printf '%s\\n' "${{COMPREPLY[@]}}" """
    result = subprocess.run(
        ["bash", "-c", script],
        env={**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"},
        check=True,
        capture_output=True,
        text=True,
    )
    assert (result.stdout.split(), result.stderr) == (offered, "")


@contextmanager
def zsh(home: Path) -> Iterator[int]:
    """A terminal with zsh in it."""
    ours, theirs = pty.openpty()
    shell = subprocess.Popen(
        ["zsh", "-f", "-i"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        env={**os.environ, "HOME": str(home), "TERM": "dumb", "PS1": "> "},
    )
    os.close(theirs)
    try:
        yield ours
    finally:
        shell.kill()
        shell.wait()
        os.close(ours)


def read_until(terminal: int, mark: str) -> None:
    """Read what is shown until a text is among it."""
    shown = ""
    deadline = time.monotonic() + PATIENCE
    while mark not in shown:
        assert time.monotonic() < deadline, shown
        if select.select([terminal], [], [], 0.1)[0]:
            shown += os.read(terminal, 65_536).decode("utf-8", "replace")


@pytest.mark.skipif(shutil.which("zsh") is None, reason="needs zsh")
@pytest.mark.parametrize(
    ("typed", "completed"), [("plugin disab", "plugin disable"), ("--config x relo", "--config x reload")]
)
def test_zsh(share: Path, tmp_path: Path, typed: str, completed: str) -> None:
    """The script is loaded at the first Tab, and completes at that."""
    with zsh(tmp_path) as terminal:
        os.write(
            terminal,
            f"fpath=({share}/zsh/site-functions $fpath); autoload -U compinit; compinit -u -D\n"
            "vdsm-tool() { print -r -- 'got':$* }; print load''ed\n".encode(),
        )
        read_until(terminal, "loaded")
        os.write(terminal, f"vdsm-tool {typed}\t\n".encode())
        read_until(terminal, f"got:{completed}")
