"""The corpus: for each target one text file, an input a line, as Python writes bytes."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent / "corpus"
#: Inputs of a target that are kept at most; the shortest ones are.
_MAX: Final = 150


def read(target: str) -> list[bytes]:
    """Return the inputs that are kept of a target."""
    file = FOLDER / f"{target}.txt"
    return [ast.literal_eval(line) for line in file.read_text("ascii").splitlines()] if file.exists() else []


def write(target: str, inputs: Iterable[bytes]) -> int:
    """Keep inputs of a target, without doubles; return how many."""
    kept = sorted(set(inputs), key=lambda each: (len(each), each))[:_MAX]
    (FOLDER / f"{target}.txt").write_text("".join(f"{each!r}\n" for each in kept), "ascii")
    return len(kept)
