"""The corpus of the fuzzer, replayed: each input is handled as its target documents."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.fuzz import corpus
from tests.fuzz.targets import TARGETS, target


@pytest.mark.parametrize("name", TARGETS)
def test_corpus(name: str) -> None:
    """No input that was ever kept makes its decoder fail; there are some for each decoder."""
    inputs = corpus.read(name)
    assert len(inputs) >= 3
    run = target(name)
    for each in inputs:
        run(each)


def test_only_known_targets_have_a_corpus() -> None:
    """A target that is renamed takes its corpus along."""
    assert {each.stem for each in corpus.FOLDER.iterdir()} == set(TARGETS)


def test_fuzzed() -> None:
    """The fuzzer itself runs, for a second, and finds nothing in the smallest target."""
    pytest.importorskip("atheris", reason="atheris has no wheel for this Python or machine")
    command = [sys.executable, "-m", "tests.fuzz", "--seconds", "1", "event-pattern"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing found" in done.stdout
