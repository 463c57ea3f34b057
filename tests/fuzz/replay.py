"""Run one target on files: `python -m tests.fuzz.replay TARGET FILE ...`. Needs no atheris."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.fuzz.targets import target

if __name__ == "__main__":
    for file in sys.argv[2:]:
        target(sys.argv[1])(Path(file).read_bytes())
