"""Waiting for a condition."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import pytest

from vdsm_bridge.testing.polling import until


def never() -> list[str]:
    return []


def test_the_value_of_the_condition_is_returned() -> None:
    """The first true one; the condition is not called again after that."""
    values = iter([0, "", None, "here", "later"])
    assert until(lambda: next(values), every=0.0) == "here"
    assert next(values) == "later"


def test_a_condition_that_holds_costs_no_time() -> None:
    """It is called before the first pause."""
    assert until(lambda: 7, every=1000.0) == 7


def test_a_timeout_names_the_line_the_time_and_the_last_value() -> None:
    """The log of a run must have the cause of a failure."""
    number = 3
    with pytest.raises(AssertionError) as failed:
        until(lambda: number > 4, 0.05)
    message = str(failed.value)
    assert "until(lambda: number > 4, 0.05)" in message
    assert re.search(r"waited \d+\.\d s for .*; last value: False$", message)


@pytest.mark.parametrize(
    ("condition", "named"),
    [(never, "for never; last value: []"), ({}.copy, "for dict.copy; last value: {}")],
)
def test_functions_are_named(condition: Callable[[], object], named: str) -> None:
    """A condition that is no lambda is called by its name."""
    with pytest.raises(AssertionError, match=re.escape(named)):
        until(condition, 0.0)


def test_the_message_says_what_the_test_says() -> None:
    """Text instead of the line; the detail is what it is on failure."""
    lines = ["begun"]

    def condition() -> bool:
        lines.append("tried")
        return False

    with pytest.raises(AssertionError, match=r"for a lamp to burn; last value: False\nbegun tried$"):
        until(condition, 0.0, what="a lamp to burn", detail=lambda: " ".join(lines))


def test_long_values_are_cut() -> None:
    """Of a detail, a log mostly, the end is what counts; of a value, the beginning."""
    with pytest.raises(AssertionError) as failed:
        until(never, 0.0, detail=lambda: "a" * 5000 + "end")
    assert str(failed.value).endswith("aend")
    assert len(str(failed.value)) < 2200


def test_the_last_call_begins_after_the_timeout() -> None:
    """What came to hold while the test was not scheduled counts."""
    calls: list[float] = []

    def condition() -> bool:
        calls.append(time.monotonic())
        return len(calls) == 2

    begun = time.monotonic()
    until(condition, 0.02, every=0.05)
    assert calls[1] - begun >= 0.02


def test_errors_of_the_condition_end_the_waiting() -> None:
    """A process that died is no reason to wait on."""
    with pytest.raises(ZeroDivisionError):
        until(lambda: 1 // 0)
