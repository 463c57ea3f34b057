"""Events across broken connections: whoever follows them goes on where it was."""

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

#: Seconds between two attempts to connect: the first, how they grow, the longest.
_FIRST: Final = 0.2
_GROWTH: Final = 1.6
_LONGEST: Final = 5.0
#: Refusals that only say: not now, or: begin again.
_PASSING: Final = frozenset(
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

    :param tell: is told of a broken connection, and of a new one
    :raises TransportError: the first connection fails; later ones are tried again and again
    """

    def __init__(
        self,
        transport: Transport,
        patterns: Sequence[str],
        options: CallOptions,
        tell: Callable[[str], None],
        *,
        after: int | None = None,
        snapshot: bool = False,
    ) -> None:
        self._transport = transport
        self._patterns = patterns
        self._options = options
        self._tell = tell
        self._snapshot = snapshot
        #: The number after which to go on; None as long as only a new snapshot would do.
        self.position = after
        #: How often a connection was made.
        self.connections = 0
        self._stream: EventStream | None = None
        #: Seconds to the next attempt to connect, from the last one on; and when that is.
        self._pause = _FIRST
        self._due = 0.0
        self._connect()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def next(self, timeout: float) -> list[Event]:
        """Wait for events; none after `timeout` seconds, or when the connection is a new one.

        :raises CallRefused: the host does not let us follow any longer
        """
        end = time.monotonic() + timeout
        if self._stream is None:
            self._connect_again(end)
            return []
        try:
            events = self._stream.next(timeout)
        except (CallRefused, Unreachable) as error:
            # It may have come on without an event for us.
            self._note_position()
            self._lost(error)
            self._connect_again(end)
            return []
        self._note_position()
        return events

    def close(self) -> None:
        """End."""
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
                let_pass(error)
                self._pause = min(_LONGEST, self._pause * _GROWTH)
                self._due = time.monotonic() + self._pause
            else:
                self._tell("connected again")
                return
        time.sleep(max(0.0, end - time.monotonic()))

    def _lost(self, error: TransportError) -> None:
        let_pass(error)
        self.close()
        self._pause = _FIRST
        self._due = time.monotonic() + _FIRST
        where = f" after event {self.position}" if self.position is not None else ""
        self._tell(f"{error}; trying again{where}")

    def _note_position(self) -> None:
        if self._stream is not None and self._stream.position is not None:
            self.position = self._stream.position


def let_pass(error: TransportError) -> None:
    """Let pass what time mends; raise the rest."""
    if isinstance(error, CallRefused) and error.slug not in _PASSING:
        raise error
