"""`GET /api/events`: events of the host, as server-sent events.

Each stream runs in a thread of its own, which takes the connection over from the server's pool: streams do
not delay requests, and a client that does not read blocks only its own stream.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from vdsm_bridge import Bridge, Identity, Slots, types
from vdsm_bridge.errors import InvalidArgument
from vdsm_bridge.events import Event, Subscription
from vdsm_bridge.types import TypeMismatch
from vdsm_http import Channel, Request
from vdsm_rest.arguments import read_query
from vdsm_rest.options import RestOptions
from vdsm_rest.problems import TooManyStreams
from vdsm_rest.router import ROOT

log = logging.getLogger(__name__)

PATH: Final = f"{ROOT}/events"
MEDIA_TYPE: Final = "text/event-stream"
HEADERS: Final = (
    ("Content-Type", MEDIA_TYPE),
    ("Cache-Control", "no-store"),
    # A stream ends with its connection.
    ("Connection", "close"),
    # nginx buffers kilobytes of events otherwise.
    ("X-Accel-Buffering", "no"),
)
#: Most patterns in one query.
MOST_FILTERS: Final = 100
#: Most characters of a pattern.
LONGEST_FILTER: Final = 512

#: Seconds between two checks whether the client is still connected.
_LOOK: Final = 1.0
#: Milliseconds after which a browser reconnects.
_RETRY: Final = 1000
#: Most events in one write.
_PIECE: Final = 200
#: Seconds that a stream has to end before its connection is closed.
_LAST_WORDS: Final = 1.0


class Wanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The parameters of a request. `filter` are patterns of ids, one of which must match."""

    filter: Annotated[
        list[Annotated[str, Meta(max_length=LONGEST_FILTER)]], Meta(max_length=MOST_FILTERS)
    ] = []
    after: Annotated[int, Meta(ge=0, le=2**63 - 1)] | None = None
    snapshot: bool = False


def wanted(request: Request) -> Wanted:
    """Return the parameters of a request; `Last-Event-ID` of a client that reconnects overrides `after`.

    :raises InvalidArgument: a parameter is unknown, or its value is invalid
    :raises MalformedRequest: the query string cannot be read
    """
    query = read_query(request.query)
    values: dict[str, Any] = {name: texts if name == "filter" else texts[-1] for name, texts in query.items()}
    if last := request.headers.get("last-event-id", "").strip():
        values["after"] = last
    try:
        asked: Wanted = types.convert(values, Wanted, text=True)
    except TypeMismatch as mismatch:
        reason = "there is no such argument" if mismatch.kind == "unknown" else mismatch.reason
        raise InvalidArgument(argument=mismatch.path, reason=reason) from None
    # A client that resumes has the states already.
    return msgspec.structs.replace(asked, snapshot=asked.snapshot and asked.after is None)


class EventStream:
    """One stream: its bytes, and once it has a connection the thread that sends them.

    :param states: sent first
    :param standing: returns whether the caller may still read; otherwise the stream ends
    :param heartbeat: seconds without events after which a comment is sent
    :param patience: seconds that a client may take to read what was sent
    """

    def __init__(
        self,
        states: Sequence[Event],
        subscription: Subscription,
        release: Callable[[EventStream], None],
        *,
        standing: Callable[[], bool],
        heartbeat: float,
        patience: float,
    ) -> None:
        self._states = states
        self._subscription = subscription
        self._release = release
        self._standing = standing
        self._heartbeat = heartbeat
        self._patience = patience
        self._channel: Channel | None = None
        self._thread: threading.Thread | None = None

    def take(self, channel: Channel) -> None:
        """Send the stream on a connection whose header is sent, then close the connection."""
        self._channel = channel
        self._thread = threading.Thread(target=self._run, name="rest-stream", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the stream."""
        self._subscription.close()
        self._release(self)

    def join(self, timeout: float) -> None:
        """Wait for the end of the stream; close the connection after `timeout` seconds."""
        if self._thread is None:
            return
        self._thread.join(timeout)
        if self._thread.is_alive() and self._channel is not None:
            self._channel.cut()
            self._thread.join(_LAST_WORDS)

    def _run(self) -> None:
        channel = self._channel
        assert channel is not None
        try:
            channel.settimeout(self._patience)
            for piece in self._pieces(channel.peer_left):
                channel.send(piece)
        except TimeoutError:
            log.info("An event stream ends: its client does not read")
        except OSError as error:
            log.debug("An event stream ends: its client has disconnected: %s", error)
        finally:
            self.close()
            channel.close()

    def _pieces(self, gone: Callable[[], bool]) -> Iterator[bytes]:
        subscription = self._subscription
        yield b"retry: %d\n\n" % _RETRY
        for start in range(0, len(self._states), _PIECE):
            # Without ids: a client that is disconnected among the states needs all of them again.
            yield b"".join(_message(state, numbered=False) for state in self._states[start : start + _PIECE])
        steady = subscription.steady
        yield _place(subscription, steady)
        spoken = time.monotonic()
        while not gone():
            events = subscription.next(min(_LOOK, self._heartbeat), _PIECE)
            if not self._standing():
                log.info("An event stream ends: its caller is no longer permitted to read")
                return
            if events:
                yield b"".join(_message(event, numbered=event.seq >= steady) for event in events)
            elif subscription.closed:
                return
            elif time.monotonic() < spoken + self._heartbeat:
                continue
            else:
                yield b": heartbeat\n" + _place(subscription, steady)
            spoken = time.monotonic()


class Streams:
    """The streams of one binding, over all its sockets."""

    def __init__(self, bridge: Bridge, options: RestOptions) -> None:
        self._bridge = bridge
        self._options = options
        self._lock = threading.Lock()
        self._slots = Slots(options.streams, options.streams_per_client)
        self._open: set[EventStream] = set()
        self._ended = False

    def open(
        self, asked: Wanted, identity: Identity, standing: Callable[[], bool] = lambda: True
    ) -> EventStream:
        """Open a stream for a caller.

        :param standing: returns whether the caller may still read
        :raises TooManyStreams: the limit of all callers, or of this one, is reached
        :raises Unavailable: the current states cannot be read now
        :raises OutOfScope: the caller may not see events
        """
        if self._ended or not self._slots.take(identity):
            mine = self._slots.taken_by(identity)
            if mine >= self._slots.each:
                option = "[plugin.rest] streams_per_client"
                raise TooManyStreams(open=mine, most=self._slots.each, option=option)
            raise TooManyStreams(
                open=self._slots.taken, most=self._slots.limit, option="[plugin.rest] streams"
            )
        try:
            states, subscription = self._subscribe(asked, identity)
        except BaseException:
            self._slots.leave(identity)
            raise
        stream = EventStream(
            states,
            subscription,
            lambda stream: self._forget(stream, identity),
            standing=standing,
            heartbeat=self._options.heartbeat,
            patience=self._options.timeout,
        )
        with self._lock:
            self._open.add(stream)
            ended = self._ended
        if ended:
            stream.close()
        return stream

    @property
    def count(self) -> int:
        """The number of open streams."""
        return len(self._open)

    def end(self) -> None:
        """End all streams, and refuse new ones."""
        with self._lock:
            self._ended = True
            streams = list(self._open)
        for stream in streams:
            stream.close()
        deadline = time.monotonic() + _LAST_WORDS
        for stream in streams:
            stream.join(max(0.0, deadline - time.monotonic()))

    def _subscribe(self, asked: Wanted, identity: Identity) -> tuple[Sequence[Event], Subscription]:
        if asked.snapshot:
            return self._bridge.snapshot(asked.filter, identity=identity)
        return (), self._bridge.subscribe(asked.filter, asked.after, identity=identity)

    def _forget(self, stream: EventStream, identity: Identity) -> None:
        with self._lock:
            if stream not in self._open:
                return
            self._open.remove(stream)
        self._slots.leave(identity)


def _message(event: Event, *, numbered: bool) -> bytes:
    number = b"id: %d\n" % event.seq if numbered else b""
    _, component, operation, _ = event.id.split("|", 3)
    return b"%sevent: %s.%s\ndata: %s\n\n" % (
        number,
        component.encode(),
        operation.encode(),
        types.to_json(event),
    )


def _place(subscription: Subscription, steady: int) -> bytes:
    """Return the id to resume after; nothing before the states are complete."""
    return b"id: %d\n\n" % subscription.position if subscription.position >= steady else b"\n"
