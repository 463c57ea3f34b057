"""The queue of outgoing messages: bounded in bytes, and each message in time."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import Final

from vdsm_qmf.protocol.message import Address


class Outcome(Enum):
    """What became of a message.

    A broker refuses a message for a reason of its own, such as a full queue, and may have put it into other
    queues nevertheless. A message is lost if its connection ended before the broker confirmed it: it may have
    arrived, and it may have been the reason. It is unsent if it expired or its connection ended before its
    turn.
    """

    ACCEPTED = "accepted"
    REFUSED = "refused"
    LOST = "lost"
    UNSENT = "unsent"


#: Called once with the outcome of a message.
OnOutcome = Callable[[Outcome], None]

#: Bytes that the bookkeeping of one message counts, roughly: many small messages are bounded, too.
_OVERHEAD: Final = 512


class QueuedMessage:
    """An outgoing message. With `on_outcome`, delivery is confirmed: it is called with the outcome."""

    __slots__ = ("address", "data", "expires", "on_outcome")

    def __init__(self, address: Address, data: bytes, lifetime: float, on_outcome: OnOutcome | None) -> None:
        self.address = address
        self.data = data
        self.expires = time.monotonic() + lifetime
        self.on_outcome = on_outcome

    @property
    def size(self) -> int:
        """Bytes that the message takes in the queue."""
        return len(self.data) + _OVERHEAD

    def end(self, outcome: Outcome) -> None:
        """Report the outcome, once."""
        notify, self.on_outcome = self.on_outcome, None
        if notify is not None:
            notify(outcome)


class SendQueue:
    """Outgoing messages in their order. A message counts until its outcome is known.

    :param limit: bytes; one message always fits in
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._changed = threading.Condition()
        self._messages: deque[QueuedMessage] = deque()
        self._size = 0
        self._closed = False

    @property
    def size(self) -> int:
        """Bytes of the messages whose outcome is not known."""
        return self._size

    def put(self, message: QueuedMessage, timeout: float = 0.0) -> bool:
        """Add a message; wait up to `timeout` seconds for room.

        :returns: whether there was room; a closed queue has none
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._closed or self._fits(message), timeout):
                return False
            if self._closed:
                return False
            self._messages.append(message)
            self._size += message.size
            return True

    def take(self) -> list[QueuedMessage]:
        """Take all messages, in their order, without those that have expired."""
        with self._changed:
            messages, self._messages = self._messages, deque()
        now = time.monotonic()
        fresh = []
        for message in messages:
            if message.expires < now:
                self.done(message, Outcome.UNSENT)
            else:
                fresh.append(message)
        return fresh

    def put_back(self, messages: list[QueuedMessage]) -> None:
        """Return messages that were taken to the head of the queue. Their bytes still count."""
        with self._changed:
            self._messages.extendleft(reversed(messages))

    def done(self, message: QueuedMessage, outcome: Outcome) -> None:
        """Free the room of a message that was taken, and report its outcome."""
        with self._changed:
            self._size -= message.size
            self._changed.notify_all()
        message.end(outcome)

    def drop_confirmed(self) -> None:
        """Drop the messages with `on_outcome`: without a connection, their senders decide anew."""
        with self._changed:
            dropped = [message for message in self._messages if message.on_outcome is not None]
            self._messages = deque(message for message in self._messages if message.on_outcome is None)
        for message in dropped:
            self.done(message, Outcome.UNSENT)

    def close(self) -> None:
        """Refuse further messages, and wake the threads that wait for room."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def clear(self) -> None:
        """Drop all messages."""
        with self._changed:
            messages, self._messages = self._messages, deque()
        for message in messages:
            self.done(message, Outcome.UNSENT)

    def _fits(self, message: QueuedMessage) -> bool:
        # Confirmed messages are events, of which there may be any number: they leave room for answers.
        limit = self._limit if message.on_outcome is None else self._limit // 2
        return not self._size or self._size + message.size <= limit
