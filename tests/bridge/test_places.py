"""Nobody can take all places of what is bounded."""

from __future__ import annotations

from vdsm_bridge import Identity
from vdsm_bridge.call.slots import Places

GREEDY = Identity("greedy", "monitor", "token")
MODEST = Identity("modest", "monitor", "token")


def taken(places: Places, identity: Identity, tries: int = 1_000) -> int:
    """How many places a caller gets who takes what it can."""
    return sum(places.take(identity) for _ in range(tries))


def test_one_caller_leaves_a_quarter() -> None:
    """A caller who takes all that it can leaves a quarter to others, who get it."""
    places = Places(100)
    assert taken(places, GREEDY) == 75
    assert taken(places, MODEST, 25) == 25
    assert places.taken == 100
    assert not places.take(MODEST)


def test_a_place_that_is_left_is_free() -> None:
    """A place comes back when it is left, and counts for nobody any more."""
    places = Places(8)
    assert taken(places, GREEDY) == 6
    for _ in range(6):
        places.leave(GREEDY)
    assert places.taken == 0
    assert taken(places, GREEDY) == 6


def test_few_places_are_not_divided() -> None:
    """Where there are fewer than four, nothing is kept back."""
    assert taken(Places(3), GREEDY) == 3


def test_names_of_different_proofs_are_different_callers() -> None:
    """A token that is named like a local user does not share that user's places."""
    places = Places(100)
    assert taken(places, GREEDY) == 75
    assert taken(places, Identity("greedy", "monitor", "peer"), 25) == 25
