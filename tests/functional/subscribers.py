"""Subscribers to a daemon's events, one for each HTTP binding, that go on where they were."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import urlsplit
from xml.parsers.expat import ExpatError
from xmlrpc.client import Error as XmlRpcError
from xmlrpc.client import ServerProxy

from tests.functional.daemon import Daemon, Refused
from vdsm_bridge.transport import Unreachable

#: What a connection that breaks at any place looks like; for each of them the answer is to come again.
BROKEN = (OSError, HTTPException, XmlRpcError, ExpatError, json.JSONDecodeError, Refused, Unreachable)
GAP = "|events|gap|no_id"


class Subscriber(threading.Thread):
    """Collects events on a thread of its own, from number 1 on.

    :param daemon: the daemon, reached by its unix socket, which has the same path in each life
    """

    def __init__(self, daemon: Daemon) -> None:
        super().__init__(name=type(self).__name__, daemon=True)
        self.host = daemon
        self.seen: list[dict[str, Any]] = []
        self.last = 0
        #: How often it had to connect.
        self.connections = 0
        self.error: BaseException | None = None
        self.listening = threading.Event()
        self._stopping = threading.Event()

    def listen(self, after: int) -> Iterator[list[dict[str, Any]]]:
        """Events with numbers above `after`, in parts, until the connection breaks. The first is empty."""
        raise NotImplementedError

    def run(self) -> None:
        """Listen until `stop`."""
        try:
            while not self._stopping.is_set():
                self._listen_once()
                self.listening.clear()
                self._stopping.wait(0.01)
        except BaseException as error:  # noqa: BLE001 - kept for the test's own thread
            self.error = error

    def stop(self) -> None:
        """End, and raise what went wrong."""
        self._stopping.set()
        self.join(20)
        assert not self.is_alive(), self.name
        if self.error is not None:
            raise self.error

    def _listen_once(self) -> None:
        try:
            parts = self.listen(self.last)
            next(parts)
            self.listening.set()
            for events in parts:
                for event in events:
                    self.seen.append(event)
                    self.last = event["seq"]
                if self._stopping.is_set():
                    return
        except BROKEN:
            return


class XmlRpcPoll(Subscriber):
    """`Events.next` over XML-RPC, on TCP."""

    def listen(self, after: int) -> Iterator[list[dict[str, Any]]]:
        """A subscription that is polled."""
        with ServerProxy(self.host.address("xmlrpc", "http")) as proxy:
            subscription = _result(getattr(proxy, "Events.subscribe")("", after))["subscriptionID"]
            self.connections += 1
            yield []
            while True:
                yield _result(getattr(proxy, "Events.next")(subscription, 1.0, 100))


class RestStream(Subscriber):
    """Server-sent events, on TCP."""

    def listen(self, after: int) -> Iterator[list[dict[str, Any]]]:
        """One stream, with the header that a browser sends when it connects again."""
        where = urlsplit(self.host.address("rest", "http")).netloc
        connection = HTTPConnection(where, timeout=5)
        try:
            connection.request("GET", "/api/events", headers={"Last-Event-ID": str(after)})
            answer = connection.getresponse()
            assert answer.status == 200, answer.read()
            self.connections += 1
            yield []
            yield from self._events(answer)
        finally:
            connection.close()

    @staticmethod
    def _events(stream: Any) -> Iterator[list[dict[str, Any]]]:
        data = b""
        while line := stream.readline():
            if line.startswith(b"data: "):
                data = line[6:]
            elif not line.strip():
                # Only now is the event whole.
                yield [json.loads(data)] if data else []
                data = b""


def _result(reply: dict[str, Any]) -> Any:
    if reply["status"]["code"]:
        raise Refused(reply["status"])
    return reply["result"]
