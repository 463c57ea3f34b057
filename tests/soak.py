"""How much of what is tried at random: little in each run of the suite, much with `make soak`.

`VDSM_SOAK` multiplies the counts of every test with the marker `soak`. `VDSM_SEED` replays the chances of a
run; the summary of a run that failed has it.
"""

from __future__ import annotations

import os
import random
from typing import Final

FACTOR: Final = int(os.environ.get("VDSM_SOAK", "1"))
# Processes that run a part of the suite inherit the choice of the first.
SEED: Final = os.environ.setdefault("VDSM_SEED", str(random.randrange(10**9)))


def count(ordinary: int) -> int:
    """Return how often to do what the suite does `ordinary` times."""
    return ordinary * FACTOR


def chance(what: str) -> random.Random:
    """Return the chances of one test, the same in each run with one seed, whatever else runs."""
    return random.Random(f"{SEED} {what}")
