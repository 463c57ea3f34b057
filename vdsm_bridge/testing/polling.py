"""Waiting in tests: for a condition, never for a time."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from typing import TypeVar

__all__ = ["until"]

T = TypeVar("T")
#: How much of a value is shown: characters.
_SHOWN = 2000


def until(
    condition: Callable[[], T],
    timeout: float = 30.0,
    every: float = 0.005,
    *,
    what: str = "",
    detail: Callable[[], object] | None = None,
) -> T:
    """Call a condition again and again until it is true, and return its value.

    An exception of the condition ends the wait. Its last call begins after the timeout, so a process that
    was not scheduled for long does not fail on an old value.

    :param condition: what to wait for; any true value will do
    :param timeout: seconds after which the test fails
    :param every: seconds between two calls; longer where a call costs something
    :param what: name of the condition in the message; by default its source line
    :param detail: returns further text for the message, such as a log; called on failure only
    :raises AssertionError: the condition was false at the end; the message names the condition, the
        duration, and the last value
    """
    begun = time.monotonic()
    while True:
        over = time.monotonic() - begun >= timeout
        value = condition()
        if value:
            return value
        if over:
            waited = time.monotonic() - begun
            message = (
                f"waited {waited:.1f} s for {what or _source(condition)}; last value: {_shown(repr(value))}"
            )
            raise AssertionError(f"{message}\n{_shown(str(detail()), end=True)}" if detail else message)
        time.sleep(every)


def _source(condition: Callable[[], object]) -> str:
    name = getattr(condition, "__qualname__", repr(condition))
    if not name.endswith("<lambda>"):
        return name
    try:
        return " ".join(inspect.getsource(condition).split())
    except OSError:  # typed at a prompt, or made by `exec`
        return name


def _shown(text: str, *, end: bool = False) -> str:
    if len(text) <= _SHOWN:
        return text
    return f"... {text[-_SHOWN:]}" if end else f"{text[:_SHOWN]} ..."
