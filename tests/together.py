"""How tests are handed out to several processes: one by one, but for those that share something costly.

pytest-xdist's own `--dist loadgroup` passes groups on in the ids of tests, which pytest 9 does not allow.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling


class Together(LoadScopeScheduling):
    """Hand out the tests of each folder and file that the option `together` names as one piece of work."""

    def __init__(self, config: pytest.Config, log: Any = None) -> None:
        super().__init__(config, log)
        self._places = list[str](config.getini("together"))
        # The order is that of `longest_first`, not by the number of tests.
        config.option.loadscopereorder = False

    def _split_scope(self, nodeid: str) -> str:
        return piece_of(nodeid, self._places)


def piece_of(nodeid: str, places: Iterable[str]) -> str:
    """Return the place that a test belongs to, and its own id if it belongs to none of them."""
    file = nodeid.partition("::")[0]
    return next((place for place in places if f"{file}/".startswith(f"{place}/")), nodeid)


def longest_first(nodeid: str, places: Sequence[str]) -> int:
    """Return what sorts the places first, in the order in which they are given, and all else behind them."""
    piece = piece_of(nodeid, places)
    return places.index(piece) if piece in places else len(places)
