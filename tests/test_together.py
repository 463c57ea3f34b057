"""How the suite is split among several processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.together import longest_first, piece_of

ROOT = Path(__file__).parents[1]
PLACES = ["tests/slow", "tests/test_b.py"]


@pytest.mark.parametrize(
    ("nodeid", "piece", "order"),
    [
        ("tests/slow/test_a.py::test_x[1]", "tests/slow", 0),
        ("tests/slow/deep/test_a.py::TestC::test_x", "tests/slow", 0),
        ("tests/test_b.py::test_y", "tests/test_b.py", 1),
        ("tests/slower/test_a.py::test_x", "tests/slower/test_a.py::test_x", 2),
        ("tests/test_a.py::test_x[tests/slow/]", "tests/test_a.py::test_x[tests/slow/]", 2),
    ],
)
def test_pieces(nodeid: str, piece: str, order: int) -> None:
    """A test belongs to the folder or file that it is in; whatever its parameters are called."""
    assert (piece_of(nodeid, PLACES), longest_first(nodeid, PLACES)) == (piece, order)


def test_every_place_is_there(pytestconfig: pytest.Config) -> None:
    """What pyproject.toml lists is in the tree."""
    assert [place for place in pytestconfig.getini("together") if not (ROOT / place).exists()] == []


SUITE = """
import os, pathlib, pytest

@pytest.mark.parametrize("number", range(6))
def test_it(number, testrun_uid):
    with (pathlib.Path(__file__).parents[1] / "seen").open("a") as seen:
        seen.write(f"{pathlib.Path(__file__).parent.name} {os.getpid()}\\n")
"""


def test_one_process_has_what_belongs_together(tmp_path: Path) -> None:
    """The tests of a place run in one process, its own before all others; other tests run in any."""
    for folder in ("a", "b", "kept"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "test_it.py").write_text(SUITE)
    (tmp_path / "pytest.ini").write_text("[pytest]\ntogether = kept\naddopts = --import-mode=importlib\n")
    (tmp_path / "conftest.py").write_text((ROOT / "conftest.py").read_text())
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "2", str(tmp_path)]
    done = subprocess.run(
        command, cwd=ROOT, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    assert "18 passed" in done.stdout, done.stdout
    seen = [line.split() for line in (tmp_path / "seen").read_text().splitlines()]
    assert len({process for folder, process in seen if folder == "kept"}) == 1
    assert len({process for _, process in seen}) == 2
    (process,) = {process for folder, process in seen if folder == "kept"}
    assert [folder for folder, by in seen if by == process][:6] == ["kept"] * 6
