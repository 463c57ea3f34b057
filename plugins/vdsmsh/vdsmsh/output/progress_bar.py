"""The progress bar of a task on a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn


@contextmanager
def bar(stream: TextIO) -> Iterator[Callable[[int, str], None]]:
    """Draw a bar with the per cent, the elapsed time and the message of the task."""
    columns = (BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(file=stream)) as progress:
        row = progress.add_task("", total=100)

        def report(percent: int, message: str) -> None:
            # The message is the host's text; brackets in it are no markup.
            progress.update(row, completed=percent, description=escape(message))

        yield report
