"""What the broker has done with the events, and which of them are to be sent again.

A broker refuses an event when one of the queues that it goes to is full, though it has put it into all
others: each repetition is one more copy for every other console. So an event that is refused is sent again
alone, a few times, at growing intervals, and is then given up, and with it whatever else is refused until
the broker has refused nothing for a while. Who has missed an event asks for it (`replayEvents`).
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from vdsm_qmf.bus.outbox import Outcome

log = logging.getLogger(__name__)

#: Seconds between two tries to send an event that is refused; after the last one it is given up.
DELAYS: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0)
#: Seconds without a refusal after which events are repeated again.
QUIET: Final = 60.0
#: Seconds until events are sent again that were lost on the way.
_AGAIN: Final = 1.0


class Deliveries:
    """The events from the first one on that the broker does not have. Its user holds a lock.

    Events are sent in rounds, each from `confirmed` on; those that the broker has by then are passed over.

    :param confirmed: the number of the newest event that need not be sent
    :param clock: monotonic, in seconds
    :ivar confirmed: every event up to this number has been taken, or was given up
    :ivar given_up: how many were
    """

    def __init__(self, confirmed: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.confirmed = confirmed
        self.given_up = 0
        self._clock = clock
        #: Numbers above `confirmed` that this round has come to, in their order.
        self._order: deque[int] = deque()
        self._in_flight: set[int] = set()
        self._settled: set[int] = set()
        #: By number, how often an event was refused that is to be sent again.
        self._refusals: dict[int, int] = {}
        #: When the last one was refused after one was given up.
        self._last_refusal: float | None = None

    @property
    def ready(self) -> bool:
        """Whether the next event may be sent: while events are refused each waits for the one before it."""
        return not self._refusals or not self._in_flight

    @property
    def delay(self) -> float:
        """Seconds until the next round."""
        if not self._refusals:
            return _AGAIN
        return DELAYS[min(self._refusals[min(self._refusals)], len(DELAYS)) - 1]

    def begin(self) -> None:
        """Begin a round."""
        self._order.clear()
        self._settled = {number for number in self._settled if number > self.confirmed}

    def is_due(self, number: int) -> bool:
        """Come to an event. False: the broker has it, or it is on its way there."""
        if self._refusals:
            # What the journal does not hold any more is not sent again: a gap has come instead.
            gone = [old for old in self._refusals if old < number and old not in self._order]
            for old in gone:
                del self._refusals[old]
        self._order.append(number)
        self._advance()
        return number > self.confirmed and number not in self._in_flight and number not in self._settled

    def sent(self, number: int) -> None:
        """Note that an event is on its way."""
        self._in_flight.add(number)

    def withdraw(self, number: int) -> None:
        """Note that an event could not be sent after all."""
        self._in_flight.discard(number)

    def ended(self, number: int, outcome: Outcome) -> bool:
        """Note what became of an event. True: a new round is needed, after `delay`."""
        self._in_flight.discard(number)
        if number <= self.confirmed:
            return False
        if outcome is Outcome.LOST:
            return True
        if outcome is Outcome.REFUSED:
            return self._refused(number)
        self._settle(number)
        return False

    def _refused(self, number: int) -> bool:
        now = self._clock()
        if self._last_refusal is not None:
            if now - self._last_refusal < QUIET:
                self._last_refusal = now
                self._give_up([number])
                return False
            self._last_refusal = None
        self._refusals[number] = self._refusals.get(number, 0) + 1
        if self._refusals[number] <= len(DELAYS):
            return True
        log.warning(
            "The broker refuses events, number %d %d times: the queue of some console may be full. "
            "None is repeated until it has refused nothing for %g s",
            number,
            self._refusals[number],
            QUIET,
        )
        self._last_refusal = now
        # The others have been refused once, and each console without such a queue has them.
        self._give_up(list(self._refusals))
        return False

    def _give_up(self, numbers: list[int]) -> None:
        self.given_up += len(numbers)
        for number in numbers:
            self._settle(number)

    def _settle(self, number: int) -> None:
        self._refusals.pop(number, None)
        self._settled.add(number)
        self._advance()

    def _advance(self) -> None:
        while self._order and self._order[0] in self._settled:
            self.confirmed = self._order.popleft()
            self._settled.discard(self.confirmed)
