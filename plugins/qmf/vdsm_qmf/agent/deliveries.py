"""What the broker has done with the events, and which of them are to be sent again.

A broker refuses an event when one of the queues that it goes to is full, though it has put it into all
others; RabbitMQ ends the session instead. Each repetition is then one more copy for every other console. So
an event that fails is sent again alone, a few times, at growing intervals, and is then given up, and for a
while afterwards others that fail are repeated less. Who has missed an event asks for it (`replayEvents`).
"""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from vdsm_qmf.bus.outbox import Outcome

log = logging.getLogger(__name__)

#: Seconds between two tries to send an event that is refused; after the last one it is given up.
DELAYS: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0)
#: Seconds without a failure after which events are repeated as often as that again.
QUIET: Final = 60.0
#: Seconds until events are sent again that found no room.
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
        #: By number, how often an event has failed that is to be sent again.
        self._failures: dict[int, int] = {}
        #: Those that this round has not come to, in their order.
        self._expected: deque[int] = deque()
        #: Those of the failed ones that were refused, or lost more than once: they may be why.
        self._suspects: set[int] = set()
        #: When an event was last given up.
        self._gave_up = -math.inf

    @property
    def ready(self) -> bool:
        """Whether the next event may be sent: while there are suspects, each waits for the one before it."""
        return not self._suspects or not self._in_flight

    @property
    def delay(self) -> float:
        """Seconds until the next round."""
        if not self._suspects:
            return _AGAIN
        return DELAYS[min(self._failures[min(self._suspects)], len(DELAYS)) - 1]

    def begin(self) -> None:
        """Begin a round."""
        self._order.clear()
        self._expected = deque(sorted(self._failures))
        self._settled = {number for number in self._settled if number > self.confirmed}

    def is_due(self, number: int) -> bool:
        """Come to an event. False: the broker has it, or it is on its way there."""
        if number <= self.confirmed:
            return False
        while self._expected and self._expected[0] <= number:
            expected = self._expected.popleft()
            if expected != number:
                # The journal does not hold it any more: a gap has come instead.
                self._forget(expected)
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
        if outcome is Outcome.TAKEN:
            self._settle(number)
            return False
        if outcome is not Outcome.UNSENT:
            self._failed(number, outcome)
            return bool(self._failures)
        return True

    def _failed(self, number: int, outcome: Outcome) -> None:
        failures = self._failures[number] = self._failures.get(number, 0) + 1
        if outcome is Outcome.REFUSED or failures > 1:
            self._suspects.add(number)
        impatient = self._clock() - self._gave_up < QUIET
        if number not in self._suspects or (not impatient and failures <= len(DELAYS)):
            return
        if not impatient:
            log.warning(
                "The broker does not take event %d, after %d tries: the queue of some console may be full. "
                "Others that it does not take are given up sooner, until it has taken all for %g s",
                number,
                failures,
                QUIET,
            )
        self._gave_up = self._clock()
        # The other suspects have been sent, too, and each console without such a queue has them.
        self.given_up += len(self._suspects)
        for suspect in list(self._suspects):
            self._settle(suspect)

    def _settle(self, number: int) -> None:
        self._forget(number)
        self._settled.add(number)
        self._advance()

    def _forget(self, number: int) -> None:
        self._failures.pop(number, None)
        self._suspects.discard(number)

    def _advance(self) -> None:
        while self._order and self._order[0] in self._settled:
            self.confirmed = self._order.popleft()
            self._settled.discard(self.confirmed)
