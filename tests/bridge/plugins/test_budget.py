"""Time that several steps share."""

from __future__ import annotations

import pytest

from vdsm_bridge.plugins.budget import Budget
from vdsm_bridge.testing import Clock


def test_each_share_is_half_of_what_is_left() -> None:
    """So that there is always something for the next step."""
    clock = Clock()
    budget = Budget(8.0, clock)
    assert budget.share() == pytest.approx(4.0)
    clock.move(4.0)
    assert budget.share() == pytest.approx(2.0)
    clock.move(1.0)
    assert budget.share() == pytest.approx(1.5)


def test_nothing_is_left_at_the_end() -> None:
    """A share is never negative."""
    clock = Clock()
    budget = Budget(1.0, clock)
    clock.move(2.0)
    assert budget.share() == 0.0
