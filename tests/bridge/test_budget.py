"""Time that several steps share."""

from __future__ import annotations

import time

from vdsm_bridge.budget import Budget


def test_each_share_is_half_of_what_is_left() -> None:
    """So that there is always something for the next step."""
    budget = Budget(0.2)
    first = budget.share()
    assert 0.05 < first <= 0.1
    time.sleep(first)
    assert 0 < budget.share() <= first / 2 + 0.01


def test_nothing_is_left_at_the_end() -> None:
    """A share is never negative."""
    assert Budget(-1.0).share() == 0.0
