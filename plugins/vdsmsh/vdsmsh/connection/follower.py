"""Events across broken connections: a new connection continues after the last event of the old one."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Final, Self

from vdsm_bridge.transport import (
    CallOptions,
    CallRefused,
    Event,
    EventStream,
    Transport,
    TransportError,
    Unreachable,
)

#: Seconds between two attempts to connect: the first, their growth, the maximum.
_FIRST_PAUSE: Final = 0.2
_GROWTH: Final = 1.6
_MAX_PAUSE: Final = 5.0
#: Slugs of refusals that a later attempt, or a new subscription, may get past.
_TEMPORARY: Final = frozenset(
    {
        "deadline-exceeded",
        "hypervisor-deadline",
        "hypervisor-lost",
        "hypervisor-unavailable",
        "no-such-subscription",
        "not-responding",
        "queue-deadline",
        "recovering",
        "resource-exhausted",
        "too-many-streams",
        "unavailable",
    }
)


class Follower:
    """Events of one host, until it is closed.

    :param notify: called with a line when the connection breaks, and when there is a new one
    :raises TransportError: the first connection failed; later ones are retried
    """

    def __init__(
        self,
        transport: Transport,
        patterns: Sequence[str],
        options: CallOptions,
        notify: Callable[[str], None],
        *,
        after: int | None = None,
        snapshot: bool = False,
    ) -> None:
        self._transport = transport
        self._patterns = patterns
        self._options = options
        self._notify = notify
        self._snapshot = snapshot
        #: The number of the event after which to continue; None while only a new snapshot would do.
        self.position = after
        #: The number of connections so far.
        self.connections = 0
        self._stream: EventStream | None = None
        #: Seconds from one attempt to connect to the next, and the time of the next.
        self._pause = _FIRST_PAUSE
        self._due = 0.0
        self._connect()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def next(self, timeout: float) -> list[Event]:
        """Wait for events. Return none after `timeout` seconds, and none when the connection broke.

        :raises CallRefused: the host refused the subscription, and would refuse it again
        """
        end = time.monotonic() + timeout
        if self._stream is None:
            self._connect_again(end)
            return []
        try:
            events = self._stream.next(timeout)
        except (CallRefused, Unreachable) as error:
            # The position moves on with events that no pattern matched, too.
            self._note_position()
            self._disconnected(error)
            self._connect_again(end)
            return []
        self._note_position()
        return events

    def close(self) -> None:
        """Close the connection."""
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()

    def _connect(self) -> None:
        self._stream = self._transport.events(
            self._patterns,
            self._options,
            after=self.position,
            snapshot=self._snapshot and self.position is None,
        )
        self.connections += 1
        self._note_position()

    def _connect_again(self, end: float) -> None:
        while self._due < end:
            time.sleep(max(0.0, self._due - time.monotonic()))
            try:
                self._connect()
            except (CallRefused, Unreachable) as error:
                raise_if_permanent(error)
                self._pause = min(_MAX_PAUSE, self._pause * _GROWTH)
                self._due = time.monotonic() + self._pause
            else:
                self._notify("connected again")
                return
        time.sleep(max(0.0, end - time.monotonic()))

    def _disconnected(self, error: TransportError) -> None:
        raise_if_permanent(error)
        self.close()
        self._pause = _FIRST_PAUSE
        self._due = time.monotonic() + _FIRST_PAUSE
        where = f" after event {self.position}" if self.position is not None else ""
        self._notify(f"{error}; trying again{where}")

    def _note_position(self) -> None:
        if self._stream is not None and self._stream.position is not None:
            self.position = self._stream.position


def raise_if_permanent(error: TransportError) -> None:
    """Raise a refusal that no later attempt gets past; return after any other error."""
    if isinstance(error, CallRefused) and error.slug not in _TEMPORARY:
        raise error
