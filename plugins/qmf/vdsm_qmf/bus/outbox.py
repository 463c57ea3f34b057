"""What waits to be sent: bounded in bytes, and nothing waits for ever."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import Final

from vdsm_qmf.message import Address


class Outcome(Enum):
    """What became of a message.

    A broker refuses a message for a reason of its own, such as a full queue, and may have put it into others
    nevertheless. The connection of one that is lost ended: nobody knows whether it arrived, or whether it was
    the reason. One that waited too long, or whose connection ended before its turn, was not sent.
    """

    TAKEN = "taken"
    REFUSED = "refused"
    LOST = "lost"
    UNSENT = "unsent"


#: Called once, when it is known what became of a message.
OnOutcome = Callable[[Outcome], None]

#: What the bookkeeping of one message weighs, roughly, in bytes: many small ones are bounded, too.
_OVERHEAD: Final = 512


class Letter:
    """A message on its way. `outcome` makes it a sure one: it is told, and the broker is waited for."""

    __slots__ = ("address", "data", "expires", "outcome")

    def __init__(self, address: Address, data: bytes, lifetime: float, outcome: OnOutcome | None) -> None:
        self.address = address
        self.data = data
        self.expires = time.monotonic() + lifetime
        self.outcome = outcome

    @property
    def weight(self) -> int:
        """Bytes."""
        return len(self.data) + _OVERHEAD

    def end(self, outcome: Outcome) -> None:
        """Tell the outcome, once."""
        notify, self.outcome = self.outcome, None
        if notify is not None:
            notify(outcome)


class Outbox:
    """Letters in their order.

    :param limit: bytes; one letter always fits in
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._changed = threading.Condition()
        self._letters: deque[Letter] = deque()
        self._weight = 0
        self._closed = False

    @property
    def weight(self) -> int:
        """Bytes that wait."""
        return self._weight

    def put(self, letter: Letter, timeout: float = 0.0) -> bool:
        """Add a letter; wait up to `timeout` seconds for room. False: there was none, or it is closed."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._closed or self._fits(letter), timeout):
                return False
            if self._closed:
                return False
            self._letters.append(letter)
            self._weight += letter.weight
            return True

    def take(self) -> list[Letter]:
        """Everything, in its order; what has waited too long is left out."""
        with self._changed:
            letters, self._letters = self._letters, deque()
        now = time.monotonic()
        fresh = []
        for letter in letters:
            if letter.expires < now:
                self.done(letter, Outcome.UNSENT)
            else:
                fresh.append(letter)
        return fresh

    def put_back(self, letters: list[Letter]) -> None:
        """These come first again. They were never counted out."""
        with self._changed:
            self._letters.extendleft(reversed(letters))

    def done(self, letter: Letter, outcome: Outcome) -> None:
        """A letter has left, or never will: its room is free."""
        with self._changed:
            self._weight -= letter.weight
            self._changed.notify_all()
        letter.end(outcome)

    def drop_sure(self) -> None:
        """Without a connection, letters whose outcome somebody waits for are given back to them."""
        with self._changed:
            sure = [letter for letter in self._letters if letter.outcome is not None]
            self._letters = deque(letter for letter in self._letters if letter.outcome is None)
        for letter in sure:
            self.done(letter, Outcome.UNSENT)

    def close(self) -> None:
        """Take nothing more, and let nobody wait."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def clear(self) -> None:
        """Drop everything."""
        with self._changed:
            letters, self._letters = self._letters, deque()
        for letter in letters:
            self.done(letter, Outcome.UNSENT)

    def _fits(self, letter: Letter) -> bool:
        # Sure ones are events, of which there may be any number: they leave room for answers.
        limit = self._limit if letter.outcome is None else self._limit // 2
        return not self._weight or self._weight + letter.weight <= limit
