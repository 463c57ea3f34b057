"""The events of all hosts: each once, in each host's order, or announced as a gap.

Live events come from the bus. Each names the one before it; where that is not the last known one, and where a
heartbeat tells of newer ones, the host is asked for what is missing. The same is done for a reader that was
too slow, so that nothing needs to be kept for it.
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
from vdsm_qmf import forms
from vdsm_qmf.console.model import ClusterEvent, Host

#: Events asked for at a time.
_PAGE: Final = 200
#: The id of an event that says that others are missing.
_GAP: Final = "|events|gap|"
#: What we add to the parameters of an event.
_OURS: Final = (forms.SEQ, forms.PREVIOUS, forms.EVENT_ID, forms.EVENT_TIME, forms.ABSENT)
#: Refusals that asking again does not mend.
_FINAL: Final = frozenset({"access-refused", "forbidden", "unauthenticated"})

#: Asks a host for events after a number.
Replay = Callable[[str, int, int], "Future[Any]"]
#: Does some work on the thread that everything else of a stream is done on.
Later = Callable[[Callable[[], None]], None]


class _Place:
    """How far the events of one host have been delivered."""

    def __init__(self, last: int) -> None:
        self.last = last
        self.asking = False
        #: The newest number that was seen while it was asked.
        self.seen = last
        self.stalled = False


class EventStream:
    """Iterate over it, or call `next`. `positions` is what to resume with, in another run too.

    :param resume: by host, the number of the last known event
    :param limit: events that may wait to be read
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
        self._places: dict[str, _Place] = {}
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
        """The next event; None after `timeout` seconds, or once the stream is closed."""
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
        """End it; a waiting `next` returns."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._forget(self)

    # -- on the console's thread

    def happened(self, host: str, values: Mapping[str, Any]) -> None:
        """An event came over the bus."""
        seq, previous = int(values[forms.SEQ]), int(values[forms.PREVIOUS])
        place = self._place(host, previous)
        place.seen = max(place.seen, seq)
        if place.asking or place.stalled or seq <= place.last:
            return
        if previous > place.last:
            self._ask(host, place)
        else:
            self._deliver(host, place, values)

    def beat(self, host: Host) -> None:
        """A host was heard of."""
        place = self._place(host.id, host.newest_event)
        place.seen = max(place.seen, host.newest_event)
        # A smaller number is that of a journal that was begun anew; the host tells.
        if host.newest_event != place.last and not place.asking and not place.stalled:
            self._ask(host.id, place)

    def _place(self, host: str, otherwise: int) -> _Place:
        if host not in self._places:
            self._places[host] = _Place(self._resume.get(host, otherwise))
            with self._changed:
                self._read.setdefault(host, self._places[host].last)
        return self._places[host]

    def _ask(self, host: str, place: _Place) -> None:
        if self._closed:
            return
        place.asking = True
        future = self._replay(host, place.last, _PAGE)
        future.add_done_callback(lambda done: self._later(lambda: self._replayed(host, place, done)))

    def _replayed(self, host: str, place: _Place, done: Future[Any]) -> None:
        place.asking = False
        error = None if done.cancelled() else done.exception()
        if isinstance(error, CallRefused) and error.slug in _FINAL:
            self._refused(host, place, str(error))
            return
        if done.cancelled() or error is not None:
            # The next heartbeat asks again.
            return
        told = done.result()
        before = place.last
        for values in told.get("events", ()):
            if not self._deliver(host, place, values):
                return
        place.last = int(told.get("last", place.last))
        if place.seen < place.last or place.last < before:
            place.seen = place.last
        if told.get("events") and place.last != place.seen:
            self._ask(host, place)

    def _refused(self, host: str, place: _Place, reason: str) -> None:
        """What the host does not tell us is a gap; new events may reach us all the same."""
        missing = {"from": place.last + 1, "to": place.seen, "reason": reason}
        if place.seen > place.last:
            ours = {forms.SEQ: place.seen, forms.EVENT_ID: f"{_GAP}no_id"}
            self._deliver(host, place, {**missing, **ours})
        else:
            place.last = place.seen

    def _deliver(self, host: str, place: _Place, values: Mapping[str, Any]) -> bool:
        """Hand an event over. False: the reader is too slow; it is asked for again later."""
        seq, name = int(values[forms.SEQ]), str(values[forms.EVENT_ID])
        is_gap = name.startswith(_GAP)
        if is_gap or self._matches(name):
            left_out = {*_OURS, *values.get(forms.ABSENT, ())}
            event = ClusterEvent(
                host=host,
                seq=seq,
                id=name,
                time=float(values.get(forms.EVENT_TIME, time.time())),
                params={key: value for key, value in values.items() if key not in left_out},
                is_gap=is_gap,
            )
            with self._changed:
                if len(self._queue) >= self._limit:
                    place.stalled = True
                    return False
                self._queue.append(event)
                self._changed.notify()
        place.last = seq
        return True

    def _go_on(self) -> None:
        for host, place in self._places.items():
            if place.stalled:
                place.stalled = False
                if not place.asking:
                    self._ask(host, place)
