"""The engine under thousands of schedules with kills, refusals of the store and stops."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from tests import soak

from .simulation import simulate

#: Schedules of one run: a few seconds.
SCHEDULES = soak.count(5000)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Write no log: thousands of daemons are killed."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.soak
def test_schedules() -> None:
    """The rules hold in schedules that were never run before; one that breaks them names its seed."""
    first = soak.chance("schedules").randrange(10**9)
    for seed in range(first, first + SCHEDULES):
        simulate(seed)


@pytest.mark.parametrize("seed", [6, 19, 491, 561])
def test_schedules_that_found_a_fault(seed: int) -> None:
    """What once broke a rule, or found a deliberate fault, is run each time."""
    simulate(seed)
