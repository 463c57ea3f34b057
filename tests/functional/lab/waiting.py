"""Waiting for what happens by itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(what: Callable[[], T], within: float = 20.0) -> T:
    """The first true answer of `what`, or its last one when `within` seconds are over."""
    deadline = time.monotonic() + within
    while not (answer := what()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return answer
