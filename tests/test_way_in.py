"""The way in: what `make` and its scripts promise."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from vdsm_core import config

ROOT = Path(__file__).parents[1]


def test_make_lists_every_target() -> None:
    """`make` alone names each target, with a line on it."""
    targets = re.findall(r"^\.PHONY: (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    answer = subprocess.run(
        ["make", "--no-print-directory"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert [line.split()[1] for line in answer.stdout.splitlines()] == targets
    assert all(len(line.split()) > 3 for line in answer.stdout.splitlines())


def test_ci_runs_make() -> None:
    """CI runs the same commands as developers; it stops at the first failure, without retries."""
    script = ROOT / ".ci" / "run"
    lines = script.read_text().splitlines()
    commands = [line for line in lines if line and not line.startswith("#")]
    assert commands == [
        "set -euo pipefail",
        'cd "$(dirname "${BASH_SOURCE[0]}")/.."',
        "export CI=true",
        "make test",
        "make fuzz FUZZ=5",
        "make isolated",
        "[[ $EUID -ne 0 ]] || make packages",
    ]
    assert not re.search(r"last-failed|--lf|reruns|flaky", (ROOT / "Makefile").read_text())
    assert script.stat().st_mode & 0o111


def test_setup_refuses_what_it_does_not_know() -> None:
    """A misspelled level is an error."""
    answer = subprocess.run([ROOT / "scripts/setup", "tests"], check=False, capture_output=True, text=True)
    assert (answer.returncode, answer.stderr) == (2, "usage: scripts/setup run|test\n")


@pytest.mark.parametrize("uri", ['test:///"', "a\\b", "a\nb"])
def test_run_refuses_what_breaks_its_config(uri: str) -> None:
    """A URI that would end the string in the config file is an error."""
    answer = subprocess.run([ROOT / "scripts/run", uri], check=False, capture_output=True, text=True)
    assert answer.returncode == 2
    assert answer.stderr.startswith("run: this is no URI")


def test_config_of_run(tmp_path: Path) -> None:
    """`make run` listens on the addresses of the README."""
    file = tmp_path / "vdsm.toml"
    file.write_text(
        (ROOT / "scripts/run.toml.in")
        .read_text()
        .replace("@URI@", "test:///default")
        .replace("@LOOPBACK@", "admin")
    )
    loaded = config.load(file)
    assert loaded.hypervisor.uri == "test:///default"
    assert loaded.plugin["xmlrpc"] == {"address": "127.0.0.1", "port": 54321}
    assert loaded.plugin["rest"] == {"address": "127.0.0.1", "port": 8088, "socket": "build/run/api.sock"}
