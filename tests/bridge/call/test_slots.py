"""No caller can take all slots of a bounded resource."""

from __future__ import annotations

from vdsm_bridge import Identity
from vdsm_bridge.call.slots import Slots

GREEDY = Identity("greedy", "monitor", "token")
MODEST = Identity("modest", "monitor", "token")


def taken(slots: Slots, identity: Identity, tries: int = 1_000) -> int:
    """How many slots a caller gets who takes what it can."""
    return sum(slots.take(identity) for _ in range(tries))


def test_one_caller_leaves_a_quarter() -> None:
    """A caller who takes all that it can leaves a quarter to others, who get it."""
    slots = Slots(100)
    assert taken(slots, GREEDY) == 75
    assert taken(slots, MODEST, 25) == 25
    assert slots.taken == 100
    assert not slots.take(MODEST)


def test_a_place_that_is_left_is_free() -> None:
    """A released slot is free again and no longer counted."""
    slots = Slots(8)
    assert taken(slots, GREEDY) == 6
    for _ in range(6):
        slots.leave(GREEDY)
    assert slots.taken == 0
    assert taken(slots, GREEDY) == 6


def test_few_places_are_not_divided() -> None:
    """Where there are fewer than four, nothing is kept back."""
    assert taken(Slots(3), GREEDY) == 3


def test_names_of_different_proofs_are_different_callers() -> None:
    """A token that is named like a local user does not share that user's slots."""
    slots = Slots(100)
    assert taken(slots, GREEDY) == 75
    assert taken(slots, Identity("greedy", "monitor", "peer"), 25) == 25
