"""Progress of long work, on standard error."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TextIO

from vdsmsh.settings import Settings

#: Shows progress: per cent, and a message.
Report = Callable[[int, str], None]


def reporter(stream: TextIO, settings: Settings) -> AbstractContextManager[Report]:
    """Return what shows progress: nothing with `--quiet`, a bar on a terminal, else lines."""
    if settings.verbosity == 0:
        return nullcontext(lambda _percent, _message: None)
    if not stream.isatty():
        return lines(stream)
    # rich is slow to import, and only a terminal needs it.
    bar: AbstractContextManager[Report] = importlib.import_module("vdsmsh.output.progress_bar").bar(stream)
    return bar


@contextmanager
def lines(stream: TextIO) -> Iterator[Report]:
    """Print one line for each change, for logs and pipes."""
    last = ("", -1)

    def report(percent: int, message: str) -> None:
        nonlocal last
        if (message, percent) != last:
            last = (message, percent)
            print(f"{percent:3d}% {message}", file=stream, flush=True)

    yield report
