"""Server-sent events, read by a thread, so that a wait for them can end at any time."""

from __future__ import annotations

import http.client
import json
import queue
import socket
import threading
import time
from contextlib import suppress
from typing import Final

from vdsm_bridge.transport import Event, EventStream, Unreachable

#: Seconds without a byte, heartbeats included, after which a stream counts as broken.
_READ_TIMEOUT: Final = 60.0
#: Messages that are read ahead; beyond, the connection is left unread.
_QUEUE_SIZE: Final = 1_000
#: Seconds between two looks whether there is room.
_FULL: Final = 0.01


class ServerSentEvents(EventStream):
    """The stream of one connection.

    :param sock: of the connection
    :param answer: its body is the stream
    """

    def __init__(self, url: str, sock: socket.socket, answer: http.client.HTTPResponse) -> None:
        self._url = url
        self._socket = sock
        self._answer = answer
        sock.settimeout(_READ_TIMEOUT)
        #: The number of a message and its event; None at the end.
        #: A SimpleQueue: Ctrl-C within the wait of a Queue can leave its lock released, and end in an error.
        self._messages: queue.SimpleQueue[tuple[int | None, Event | None] | None] = queue.SimpleQueue()
        self._ended = False
        self._thread = threading.Thread(target=self._read, name="vdsmsh-events", daemon=True)
        self._thread.start()

    def next(self, timeout: float) -> list[Event]:
        """See `EventStream.next`."""
        # An infinite timeout is more than a lock accepts.
        end = time.monotonic() + min(timeout, threading.TIMEOUT_MAX / 2)
        found: list[Event] = []
        while not self._ended:
            try:
                message = self._messages.get(timeout=0 if found else max(0.0, end - time.monotonic()))
            except queue.Empty:
                return found
            if message is None:
                self._ended = True
                break
            number, event = message
            self.position = self.position if number is None else number
            if event is not None:
                found.append(event)
        if found:
            return found
        raise Unreachable(f"the stream of events from {self._url} has ended")

    def close(self) -> None:
        """Break the connection, and wait until the thread has ended."""
        self._ended = True
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        while self._thread.is_alive():
            with suppress(queue.Empty):
                self._messages.get_nowait()
            self._thread.join(0.01)
        self._answer.close()

    def _read(self) -> None:
        # Any error ends the stream; `next` reports that it has ended.
        with suppress(OSError, ValueError, LookupError, TypeError, http.client.HTTPException):
            fields: dict[str, str] = {}
            for raw in self._answer:
                line = raw.decode().rstrip("\r\n")
                if line:
                    name, _, value = line.partition(":")
                    fields[name] = value.removeprefix(" ")
                else:
                    self._put(fields)
                    fields = {}
        self._messages.put(None)

    def _put(self, fields: dict[str, str]) -> None:
        number = int(fields["id"]) if fields.get("id") else None
        event = Event.of(json.loads(fields["data"])) if "data" in fields else None
        if number is not None or event is not None:
            while self._messages.qsize() >= _QUEUE_SIZE and not self._ended:
                time.sleep(_FULL)
            self._messages.put((number, event))
