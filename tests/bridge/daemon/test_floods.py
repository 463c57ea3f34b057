"""Floods of one log line."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from vdsm_bridge.daemon.floods import FloodFilter


class Collector(logging.Handler):
    """Keeps the lines."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one."""
        self.lines.append(record.getMessage())


class Log:
    """A logger of its own with a clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.handler = Collector()
        self.handler.addFilter(FloodFilter(self.handler, limit=3, window=60.0, clock=lambda: self.now))
        self.logger = logging.Logger("flood")  # noqa: LOG001 - no part of the global tree
        self.logger.addHandler(self.handler)

    def complain(self, about: object) -> None:
        self.logger.error("Cannot accept: %s", about)


@pytest.fixture
def made() -> Iterator[Log]:
    """A log with a bound of three lines in 60 s."""
    log = Log()
    yield log
    log.handler.close()


def test_a_flood_is_summed_up(made: Log) -> None:
    """The first lines pass; the rest is one line, when the window is over and anything is logged."""
    for number in range(12_348):
        made.complain(number)
    assert made.handler.lines == [f"Cannot accept: {number}" for number in range(3)]
    made.now += 60.0
    made.logger.info("Something else")
    assert made.handler.lines[3:] == [
        "Cannot accept: 12347 ... repeated 12,345 times in 60 s",
        "Something else",
    ]


def test_what_comes_after_the_window_passes_again(made: Log) -> None:
    """Each window has its own count."""
    for _ in range(3):
        made.complain("a")
    made.now += 60.0
    made.complain("b")
    assert made.handler.lines == ["Cannot accept: a"] * 3 + ["Cannot accept: b"]


def test_other_lines_are_never_suppressed(made: Log) -> None:
    """Another place, another level and another text are other lines."""
    for _ in range(10):
        made.complain("a")
    made.logger.error("Cannot accept: %s", "from another place")
    made.logger.error("Another text")
    made.logger.info("Below a warning")
    assert made.handler.lines[3:] == ["Cannot accept: from another place", "Another text", "Below a warning"]


def test_lines_of_requests_and_of_the_audit_log_are_never_suppressed(made: Log) -> None:
    """What is logged once per request stays whole, and so does the audit log at any level."""
    for _ in range(10):
        made.logger.info("VM.pause by joe")
    audit = logging.Logger("vdsm.audit")  # noqa: LOG001 - as above
    audit.addHandler(made.handler)
    for _ in range(10):
        audit.error("{}")
    assert made.handler.lines == ["VM.pause by joe"] * 10 + ["{}"] * 10


def test_many_kinds_of_lines(made: Log) -> None:
    """What is remembered is bounded, and what is beyond the bound passes."""
    for number in range(3000):
        made.logger.error(f"text {number}")  # noqa: G004 - each a template of its own
    assert len(made.handler.lines) == 3000
