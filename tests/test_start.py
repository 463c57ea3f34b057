"""How the suite was started makes no difference to what it tests."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
TELL = (
    "import signal; print(*(signal.getsignal(n) is signal.SIG_IGN for n in (signal.SIGINT, signal.SIGQUIT)))"
)


def test_programs_react_to_an_interrupt() -> None:
    """A program that a test starts ignores neither SIGINT nor SIGQUIT."""
    done = subprocess.run([sys.executable, "-c", TELL], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["False", "False"]


def test_also_in_the_background() -> None:
    """That holds where the suite itself was started with both ignored, as in the background of a script."""

    def ignore() -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGQUIT, signal.SIG_IGN)

    test = f"{__file__}::{test_programs_react_to_an_interrupt.__name__}"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", test],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
        preexec_fn=ignore,
    )
    assert done.returncode == 0, done.stdout
