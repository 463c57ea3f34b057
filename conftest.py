"""What holds for every test of this checkout, those of the plugins included."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tests.settled import Held


def pytest_configure() -> None:
    """Let the programs that tests start react to an interrupt, however the suite was started.

    A shell without job control ignores SIGINT for what it starts in the background; children inherit that.
    """
    for number in (signal.SIGINT, signal.SIGQUIT):
        if signal.getsignal(number) is signal.SIG_IGN:
            # A handler of this process becomes the default in a program that it starts (execve(2)).
            signal.signal(number, signal.default_int_handler)


@pytest.fixture(autouse=True)
def settled() -> Iterator[None]:
    """A test leaves no thread, child process or listening socket behind."""
    before = Held.now()
    yield
    if left := before.left_since():
        pytest.fail(f"left behind: {left}")
