"""The events of all hosts: each once, in each host's order, or announced as a gap.

Live events arrive from the bus. Each has the number of its predecessor; if that is not the last known one, or
a heartbeat has a newer one, the missing events are requested from the host. So are those that a slow reader
had no room for: none need to be kept for it.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from typing import Any, Final, Self

from vdsm_bridge.events import compile_pattern
from vdsm_bridge.transport import CallRefused
from vdsm_qmf.console.model import ClusterEvent, Host
from vdsm_qmf.protocol import bodies

#: Events in one request.
_PAGE: Final = 200
#: The beginning of the ids of gaps.
_GAP: Final = "|events|gap|"
#: Values of an event that are no parameters.
_ADDED: Final = (bodies.SEQ, bodies.PREVIOUS, bodies.EVENT_ID, bodies.EVENT_TIME, bodies.ABSENT)
#: Slugs of errors that another request does not change.
_PERMANENT: Final = frozenset({"access-refused", "forbidden", "unauthenticated"})

#: Requests at most so many events after a number from a host.
Replay = Callable[[str, int, int], "Future[Any]"]
#: Runs work on the thread of the streams.
Later = Callable[[Callable[[], None]], None]


class _Position:
    """How far the events of one host have been delivered."""

    def __init__(self, last: int) -> None:
        self.last = last
        self.requested = False
        #: The newest number that is known to exist.
        self.seen = last
        self.stalled = False


class EventStream:
    """The events of all hosts: an iterator, with `next` for a timeout.

    `positions` can be saved to resume after a restart.

    :param resume: by host, the number of the last known event
    :param pattern: id of the wanted events, with `*`
    :param limit: events that may wait to be read
    :param replay: requests events of a host
    :param later: runs work on the thread of the streams
    :param forget: called with the stream once it is closed
    """

    def __init__(
        self,
        pattern: str,
        resume: Mapping[str, int],
        limit: int,
        *,
        replay: Replay,
        later: Later,
        forget: Callable[[EventStream], None],
    ) -> None:
        self._matches = compile_pattern(pattern)
        self._resume = dict(resume)
        self._limit = limit
        self._replay = replay
        self._later = later
        self._forget = forget
        self._positions: dict[str, _Position] = {}
        self._changed = threading.Condition()
        self._queue: deque[ClusterEvent] = deque()
        self._closed = False
        self._read: dict[str, int] = dict(resume)

    @property
    def positions(self) -> dict[str, int]:
        """By host, the number of the last event that was read."""
        with self._changed:
            return dict(self._read)

    def next(self, timeout: float | None = None) -> ClusterEvent | None:
        """Return the next event; None after `timeout` seconds, or once the stream is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closed, timeout)
            if not self._queue:
                return None
            event = self._queue.popleft()
            self._read[event.host] = event.seq
            resume = len(self._queue) == self._limit // 2
        if resume or not self._queue:
            self._later(self._go_on)
        return event

    def __iter__(self) -> Iterator[ClusterEvent]:
        while (event := self.next()) is not None:
            yield event

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """End the stream; a waiting `next` returns None."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._forget(self)

    # -- on the console's thread

    def receive(self, host: str, values: Mapping[str, Any]) -> None:
        """Handle an event from the bus."""
        seq, previous = int(values[bodies.SEQ]), int(values[bodies.PREVIOUS])
        position = self._position(host, previous)
        position.seen = max(position.seen, seq)
        if position.requested or position.stalled or seq <= position.last:
            return
        if previous > position.last:
            self._request(host, position)
        else:
            self._deliver(host, position, values)

    def update(self, host: Host) -> None:
        """Handle a heartbeat: request the events that it has and this stream does not."""
        position = self._position(host.id, host.newest_event)
        position.seen = max(position.seen, host.newest_event)
        # A smaller number: the journal was started again, as its gap states.
        if host.newest_event != position.last and not position.requested and not position.stalled:
            self._request(host.id, position)

    def _position(self, host: str, otherwise: int) -> _Position:
        if host not in self._positions:
            self._positions[host] = _Position(self._resume.get(host, otherwise))
            with self._changed:
                self._read.setdefault(host, self._positions[host].last)
        return self._positions[host]

    def _request(self, host: str, position: _Position) -> None:
        if self._closed:
            return
        position.requested = True
        future = self._replay(host, position.last, _PAGE)
        future.add_done_callback(lambda done: self._later(lambda: self._replayed(host, position, done)))

    def _replayed(self, host: str, position: _Position, done: Future[Any]) -> None:
        position.requested = False
        error = None if done.cancelled() else done.exception()
        if isinstance(error, CallRefused) and error.slug in _PERMANENT:
            self._refused(host, position, str(error))
            return
        if done.cancelled() or error is not None:
            # The next heartbeat leads to another request.
            return
        answer = done.result()
        before = position.last
        for values in answer.get("events", ()):
            if not self._deliver(host, position, values):
                return
        position.last = int(answer.get("last", position.last))
        if position.seen < position.last or position.last < before:
            position.seen = position.last
        if answer.get("events") and position.last != position.seen:
            self._request(host, position)

    def _refused(self, host: str, position: _Position, reason: str) -> None:
        """Deliver a gap for events that the host refuses; new ones may arrive nevertheless."""
        params = {"from": position.last + 1, "to": position.seen, "reason": reason}
        if position.seen > position.last:
            added = {bodies.SEQ: position.seen, bodies.EVENT_ID: f"{_GAP}no_id"}
            self._deliver(host, position, {**params, **added})
        else:
            position.last = position.seen

    def _deliver(self, host: str, position: _Position, values: Mapping[str, Any]) -> bool:
        """Queue an event; return whether there was room. Without room it is requested again later."""
        seq, name = int(values[bodies.SEQ]), str(values[bodies.EVENT_ID])
        is_gap = name.startswith(_GAP)
        if is_gap or self._matches(name):
            hidden = {*_ADDED, *values.get(bodies.ABSENT, ())}
            event = ClusterEvent(
                host=host,
                seq=seq,
                id=name,
                time=float(values.get(bodies.EVENT_TIME, time.time())),
                params={key: value for key, value in values.items() if key not in hidden},
                is_gap=is_gap,
            )
            with self._changed:
                if len(self._queue) >= self._limit:
                    position.stalled = True
                    return False
                self._queue.append(event)
                self._changed.notify()
        position.last = seq
        return True

    def _go_on(self) -> None:
        for host, position in self._positions.items():
            if position.stalled:
                position.stalled = False
                if not position.requested:
                    self._request(host, position)
