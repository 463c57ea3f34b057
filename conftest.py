"""What holds for every test of this checkout, those of the plugins included."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests import soak
from tests.settled import Held


def pytest_addoption(parser: pytest.Parser) -> None:
    """Read which tests stay together from pyproject.toml."""
    parser.addini("together", "folders and files whose tests one process runs", type="args", default=[])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Hand out tests one by one, and those that stay together as one piece."""
    from tests.together import Together  # noqa: PLC0415 - pytest-xdist may be absent

    return Together(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with the long ones where several processes run the suite, that none is left alone with them."""
    if hasattr(config, "workerinput"):  # pytest-xdist is there
        from tests.together import longest_first  # noqa: PLC0415

        places = config.getini("together")
        items.sort(key=lambda item: longest_first(item.nodeid, places))


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


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, exitstatus: int) -> None:
    """Say how to have the same chances again."""
    if exitstatus or soak.FACTOR > 1:
        terminalreporter.line(f"chances: VDSM_SEED={soak.SEED} VDSM_SOAK={soak.FACTOR}")
