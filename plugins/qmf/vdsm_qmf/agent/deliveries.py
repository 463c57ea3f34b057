"""The outcomes of sent events, and the events to send again.

A broker refuses an event when one of its destination queues is full, although it has put the event into all
others; RabbitMQ ends the session instead. Each repetition is then one more copy for every other console. So
an event that fails is sent again alone, a few times, at growing intervals, and is then abandoned; for a while
afterwards other events that fail are repeated less. A console that has missed an event requests it
(`replayEvents`).
"""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from vdsm_qmf.bus.send_queue import Outcome

log = logging.getLogger(__name__)

#: Seconds between two attempts to send an event that is refused; after the last one it is abandoned.
DELAYS: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0)
#: Seconds after an abandoned event during which other events are not repeated.
QUIET: Final = 60.0
#: Seconds until events without room are sent again.
_RETRY: Final = 1.0


class Deliveries:
    """The state of all events after the last confirmed one. Not thread-safe: the caller holds a lock.

    Events are sent in rounds, each from `confirmed` on; a round skips what the broker has accepted by then.

    :param confirmed: the number of the newest event that need not be sent
    :param clock: monotonic, in seconds
    :ivar confirmed: all events up to this number were accepted or abandoned
    :ivar given_up: number of abandoned events
    """

    def __init__(self, confirmed: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.confirmed = confirmed
        self.given_up = 0
        self._clock = clock
        #: Numbers above `confirmed` that this round has reached, in their order.
        self._order: deque[int] = deque()
        self._in_flight: set[int] = set()
        self._settled: set[int] = set()
        #: By number, the failures of the events to send again.
        self._failures: dict[int, int] = {}
        #: Failed events that this round has not reached, in their order.
        self._expected: deque[int] = deque()
        #: Failed events that were refused, or lost more than once: possible causes of the failures.
        self._suspects: set[int] = set()
        #: Failed events that the broker has put into every queue with room: it refused them, or ended the
        #: connection on them alone. Of several that were lost together, some may have reached no queue.
        self._spread: set[int] = set()
        #: When an event was last abandoned.
        self._gave_up = -math.inf

    @property
    def ready(self) -> bool:
        """Whether the next event may be sent: while there are suspects, events are sent one by one."""
        return not self._suspects or not self._in_flight

    @property
    def delay(self) -> float:
        """Seconds until the next round."""
        if not self._suspects or self._is_throttled:
            return _RETRY
        return DELAYS[min(self._failures[min(self._suspects)], len(DELAYS)) - 1]

    def begin(self) -> None:
        """Begin a round."""
        self._order.clear()
        self._expected = deque(sorted(self._failures))
        self._settled = {number for number in self._settled if number > self.confirmed}

    def is_due(self, number: int) -> bool:
        """Advance to an event; return whether it is to be sent, neither accepted nor in flight."""
        if number <= self.confirmed:
            return False
        while self._expected and self._expected[0] <= number:
            expected = self._expected.popleft()
            if expected != number:
                # The journal has dropped it and delivers a gap instead.
                self._forget(expected)
        self._order.append(number)
        self._advance()
        return number > self.confirmed and number not in self._in_flight and number not in self._settled

    def sent(self, number: int) -> None:
        """Note that an event is in flight."""
        self._in_flight.add(number)

    def withdraw(self, number: int) -> None:
        """Note that an event could not be sent after all."""
        self._in_flight.discard(number)

    def ended(self, number: int, outcome: Outcome) -> bool:
        """Note the outcome of an event; return whether a new round is needed, after `delay`."""
        self._in_flight.discard(number)
        if number <= self.confirmed:
            return False
        if outcome is Outcome.ACCEPTED:
            self._settle(number)
            return False
        if outcome is not Outcome.UNSENT:
            self._failed(number, outcome)
            return bool(self._failures)
        return True

    def _failed(self, number: int, outcome: Outcome) -> None:
        failures = self._failures[number] = self._failures.get(number, 0) + 1
        # Suspects are sent one by one, see `ready`.
        was_alone = number in self._suspects
        if outcome is Outcome.REFUSED or failures > 1:
            self._suspects.add(number)
        if outcome is Outcome.REFUSED or was_alone:
            self._spread.add(number)
        is_throttled = self._is_throttled
        if number not in self._spread or (not is_throttled and failures <= len(DELAYS)):
            return
        if not is_throttled:
            log.warning(
                "The broker refuses event %d after %d attempts: the queue of a console may be full. "
                "Further refused events are not repeated for %g s",
                number,
                failures,
                QUIET,
            )
        self._gave_up = self._clock()
        # All consoles whose queue has room have these; a suspect that was never sent alone still needs to be.
        self.given_up += len(self._spread)
        for suspect in list(self._spread):
            self._settle(suspect)

    @property
    def _is_throttled(self) -> bool:
        return self._clock() - self._gave_up < QUIET

    def _settle(self, number: int) -> None:
        self._forget(number)
        self._settled.add(number)
        self._advance()

    def _forget(self, number: int) -> None:
        self._failures.pop(number, None)
        self._suspects.discard(number)
        self._spread.discard(number)

    def _advance(self) -> None:
        while self._order and self._order[0] in self._settled:
            self.confirmed = self._order.popleft()
            self._settled.discard(self.confirmed)
