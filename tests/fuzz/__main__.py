"""Run targets: `python -m tests.fuzz [--seconds N] [--seed N] [--keep] [TARGET ...]`.

Each target runs in a process of its own, on its corpus and on what earlier runs left in `build/fuzz/`. A
finding is printed with the command that replays it; the exit code is then 1. `--keep` adds inputs that cover
something new to the corpus.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.fuzz import corpus
from tests.fuzz.targets import TARGETS

FOUND: Final = Path("build/fuzz")
#: Bounds of one input: seconds of time, MiB of memory of the process, bytes of its length.
_TIMEOUT: Final = 5
_MEMORY: Final = 1024
_LENGTH: Final = 4096
_ONE: Final = Path(__file__).with_name("one.py")


def main() -> int:
    """Run the targets; the exit code."""
    words = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzz decoders with atheris.")
    words.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    words.add_argument("--seconds", type=int, default=60, help="time for each target (60)")
    words.add_argument("--seed", type=int, default=0, help="where chance begins; 0: anew each time")
    words.add_argument("--keep", action="store_true", help="add what was found to the corpus")
    options = words.parse_args()
    if unknown := set(options.targets) - set(TARGETS):
        words.error(f"no such target: {', '.join(sorted(unknown))}")
    good = True
    for name in options.targets or TARGETS:
        good = _run(name, options) and good
    return 0 if good else 1


def _run(name: str, options: argparse.Namespace) -> bool:
    inputs, failures = FOUND / name, FOUND / f"{name}-failures"
    for folder in (inputs, failures):
        folder.mkdir(parents=True, exist_ok=True)
    for each in corpus.read(name):
        (inputs / hashlib.sha256(each).hexdigest()[:40]).write_bytes(each)
    command = [
        sys.executable, str(_ONE), f"-timeout={_TIMEOUT}", f"-rss_limit_mb={_MEMORY}", f"-max_len={_LENGTH}",
        f"-artifact_prefix={failures}/", "-print_final_stats=1", f"-max_total_time={options.seconds}",
        f"-seed={options.seed}", str(inputs),
    ]  # fmt: skip
    environment = {**os.environ, "VDSM_FUZZ_TARGET": name, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        _print(done.stdout + done.stderr[-4000:])
        _print(f"{name}: FAILED; to replay: python -m tests.fuzz.replay {name} {failures}/FILE")
        return False
    runs = re.search(r"number_of_executed_units: (\d+)", done.stderr)
    kept = (
        f", {corpus.write(name, (each.read_bytes() for each in inputs.iterdir()))} kept"
        if options.keep
        else ""
    )
    _print(f"{name}: {runs[1] if runs else '?'} inputs, nothing found{kept}")
    return True


def _print(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - a command prints


if __name__ == "__main__":
    sys.exit(main())
