"""The message bus: calls and events through agent and broker, against bare Proton through the same broker.

The broker is a RabbitMQ of the bench's own. Agent and console are two processes; so are the two ends of the
yardstick, which answer with what came, in Proton's own reactor, and know no verb, no access and no journal.

``python -m bench.bus responder URL`` and ``source URL COUNT KEY`` are the other ends of the yardstick.
"""

from __future__ import annotations

import multiprocessing
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from proton import Delivery, Message
from proton import Event as Happening
from proton.handlers import MessagingHandler
from proton.reactor import AtMostOnce, Container

from bench.events import Changed
from bench.measure import UNLIMITED, Row
from vdsm_bridge.testing import TestHost
from vdsm_qmf.console import Cluster
from vdsm_qmf.testing import PASSWORD, USER, RabbitMQ

#: Ours and the yardstick take turns, so that a drift of the machine hits both alike.
ROUNDS = 5
#: In each round: calls one after the other, calls at the same time, events.
CALLS = 300
MANY = 1_500
EVENTS = 4_000
#: Calls on their way at the same time.
WINDOW = 32
HOST = "bench"
_BARE = "bare Proton, request and reply"
_EXCHANGE = "/exchange/qmf.default.direct"
#: As large as the call of the agent: what is compared is the work, not the size.
_REQUEST: dict[str, Any] = {
    "_method_name": "Host.ping",
    "_arguments": {},
    "padding": "x" * 250,
}


def run() -> list[Row]:
    """Calls one after the other, many at once, and events; about a minute."""
    with (
        tempfile.TemporaryDirectory(prefix="vdsm-bench-") as folder,
        RabbitMQ(Path(folder)) as broker,
        _agent(broker.url) as pipe,
        Cluster(broker.url, password=PASSWORD) as cluster,
    ):
        url = broker.url.replace(f"//{USER}", f"//{USER}:{PASSWORD}")
        with _process("responder", url):
            cluster.wait_for(HOST, timeout=60.0)
            return [*_latency(cluster, url), _throughput(cluster, url), _events(cluster, url, pipe)]


# -- ours


@contextmanager
def _agent(url: str) -> Iterator[Connection]:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, url), daemon=True)
    process.start()
    try:
        yield here
    finally:
        here.send(0)
        process.join(20)
        if process.is_alive():
            process.kill()
            process.join()


def _serve(pipe: Connection, url: str) -> None:
    """A host on the bus; publishes the requested number of events, until that is 0."""
    from vdsm_qmf import QmfBinding  # noqa: PLC0415 - only this process needs it

    with tempfile.TemporaryDirectory(prefix="vdsm-bench-") as folder:
        password = Path(folder, "password")
        password.write_text(PASSWORD)
        password.chmod(0o600)
        binding = {"brokers": [url], "password_file": str(password), "instance": HOST, "heartbeat": 5.0}
        config = {
            "limits": UNLIMITED,
            "daemon": {"state_dir": folder, "log_level": "ERROR"},
            "access": {"bus_users": {USER: "admin"}},
            "plugin": {"qmf": binding},
        }
        with TestHost(bindings={"qmf": QmfBinding}, config=config) as host:
            while count := pipe.recv():
                for number in range(count):
                    host.host.runtime.events.publish(Changed(number=number))


def _latency(cluster: Cluster, url: str) -> list[Row]:
    ours: list[float] = []
    theirs: list[float] = []
    for _ in range(ROUNDS):
        ours += _times(lambda: cluster.call(HOST, "Host.ping"))
        theirs += _Requester(url, 1, CALLS).run().times
    ours.sort()
    theirs.sort()
    return [
        Row(
            bench="bus, one call at a time",
            case="Host.ping",
            unit=unit,
            value=_at(ours, share),
            yardstick=_at(theirs, share),
            yardstick_name=_BARE,
        )
        for share, unit in ((0.5, "us p50"), (0.99, "us p99"))
    ]


def _times(call: Callable[[], Any]) -> list[float]:
    for _ in range(CALLS // 10):
        call()
    found = []
    for _ in range(CALLS):
        begun = time.perf_counter()
        call()
        found.append((time.perf_counter() - begun) * 1e6)
    return found


def _at(values: list[float], share: float) -> float:
    return values[min(len(values) - 1, int(len(values) * share))]


def _throughput(cluster: Cluster, url: str) -> Row:
    ours, theirs = [], []
    for _ in range(ROUNDS):
        ours.append(MANY / _many(cluster))
        theirs.append(MANY / _Requester(url, WINDOW, MANY).run().elapsed)
    return Row(
        bench="bus, calls at the same time",
        case=f"Host.ping, {WINDOW} at once",
        unit="calls/s",
        value=statistics.median(ours),
        yardstick=statistics.median(theirs),
        yardstick_name=_BARE,
        better="higher",
        note=f"median of {ROUNDS}",
    )


def _many(cluster: Cluster) -> float:
    """Seconds for many calls, so many at the same time."""
    room = threading.Semaphore(WINDOW)
    begun = time.perf_counter()
    asked = []
    for _ in range(MANY):
        room.acquire()
        future = cluster.submit(HOST, "Host.ping")
        future.add_done_callback(lambda _future: room.release())
        asked.append(future)
    for future in asked:
        future.result(60.0)
    return time.perf_counter() - begun


def _events(cluster: Cluster, url: str, pipe: Connection) -> Row:
    ours, theirs = [], []
    for _ in range(ROUNDS):
        ours.append(EVENTS / _heard(cluster, pipe))
        theirs.append(_Sink(url, EVENTS).run())
    return Row(
        bench="bus, events",
        case="published to read, in order, none lost",
        unit="events/s",
        value=statistics.median(ours),
        yardstick=statistics.median(theirs),
        yardstick_name="bare Proton, one way, each accepted",
        better="higher",
        note=f"median of {ROUNDS}",
    )


def _heard(cluster: Cluster, pipe: Connection) -> float:
    """Seconds from the first event that is published to the last that is read."""
    with cluster.events("|bench|changed") as stream:
        begun = time.perf_counter()
        pipe.send(EVENTS)
        numbers = []
        while len(numbers) < EVENTS:
            event = stream.next(60.0)
            assert event is not None, f"{len(numbers)} of {EVENTS} events arrived"
            assert not event.is_gap
            numbers.append(event.params["number"])
        elapsed = time.perf_counter() - begun
    assert numbers == list(range(EVENTS))
    return elapsed


# -- the yardstick


@contextmanager
def _process(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "bench.bus", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.communicate()


class _Responder(MessagingHandler):
    """Sends back each message."""

    def __init__(self, url: str) -> None:
        super().__init__(prefetch=200)
        self.url = url

    def on_start(self, event: Happening) -> None:
        connection = event.container.connect(self.url, allow_insecure_mechs=True)
        self.sender = event.container.create_sender(connection, _EXCHANGE, options=AtMostOnce())
        event.container.create_receiver(connection, f"{_EXCHANGE}/bare-responder")

    def on_link_opened(self, event: Happening) -> None:
        if event.link.is_receiver:
            print("ready", flush=True)

    def on_message(self, event: Happening) -> None:
        asked = event.message
        answer = Message(body=asked.body, subject=asked.reply_to, correlation_id=asked.correlation_id)
        self.sender.send(answer)


class _Requester(MessagingHandler):
    """Sends a number of requests at once, and measures the time of each answer."""

    def __init__(self, url: str, window: int, count: int) -> None:
        super().__init__(prefetch=200)
        self.url, self.window, self.count = url, window, count
        self.begun: dict[int, float] = {}
        self.times: list[float] = []
        self.elapsed = 0.0
        self.key = f"bare-{window}-{time.monotonic_ns()}"
        self.next = 0
        self.ready = 0

    def run(self) -> _Requester:
        """All of it."""
        Container(self).run()
        self.times.sort()
        return self

    def on_start(self, event: Happening) -> None:
        self.connection = event.container.connect(self.url, allow_insecure_mechs=True)
        self.sender = event.container.create_sender(self.connection, _EXCHANGE, options=AtMostOnce())
        event.container.create_receiver(self.connection, f"{_EXCHANGE}/{self.key}")

    def on_link_opened(self, _event: Happening) -> None:
        self.ready += 1
        if self.ready == 2:
            self.start = time.perf_counter()
            for _ in range(self.window):
                self.ask()

    def ask(self) -> None:
        self.begun[self.next] = time.perf_counter()
        message = Message(
            body=_REQUEST, subject="bare-responder", reply_to=self.key, correlation_id=str(self.next)
        )
        message.inferred = False
        self.sender.send(message)
        self.next += 1

    def on_message(self, event: Happening) -> None:
        number = int(event.message.correlation_id)
        self.times.append((time.perf_counter() - self.begun.pop(number)) * 1e6)
        if self.next < self.count:
            self.ask()
        elif not self.begun:
            self.elapsed = time.perf_counter() - self.start
            self.connection.close()


class _Sink(MessagingHandler):
    """Counts what another process sends."""

    def __init__(self, url: str, count: int) -> None:
        super().__init__(prefetch=200)
        self.url, self.count, self.seen = url, count, 0
        self.key = f"bare-sink-{time.monotonic_ns()}"
        self.rate = 0.0

    def run(self) -> float:
        """Messages per second."""
        Container(self).run()
        return self.rate

    def on_start(self, event: Happening) -> None:
        self.connection = event.container.connect(self.url, allow_insecure_mechs=True)
        event.container.create_receiver(self.connection, f"{_EXCHANGE}/{self.key}")

    def on_link_opened(self, _event: Happening) -> None:
        self.start = time.perf_counter()
        command = [sys.executable, "-m", "bench.bus", "source", self.url, str(self.count), self.key]
        self.process = subprocess.Popen(command)

    def on_message(self, _event: Happening) -> None:
        if not self.seen:
            self.start = time.perf_counter()
        self.seen += 1
        if self.seen == self.count:
            self.rate = self.count / (time.perf_counter() - self.start)
            self.connection.close()
            self.process.wait(20)


class _Source(MessagingHandler):
    """Sends as fast as it may."""

    def __init__(self, url: str, count: int, key: str) -> None:
        super().__init__()
        self.url, self.left, self.key = url, count, key
        self.body = [{"_values": {"number": 0, "padding": "x" * 250}}]

    def on_start(self, event: Happening) -> None:
        self.connection = event.container.connect(self.url, allow_insecure_mechs=True)
        self.unsettled = 0
        event.container.create_sender(self.connection, _EXCHANGE)

    def on_sendable(self, event: Happening) -> None:
        while event.sender.credit and self.left:
            message = Message(body=self.body, subject=self.key)
            message.inferred = False
            event.sender.send(message)
            self.left -= 1
            self.unsettled += 1

    def on_settled(self, event: Happening) -> None:
        assert event.delivery.remote_state == Delivery.ACCEPTED
        self.unsettled -= 1
        if not self.left and not self.unsettled:
            self.connection.close()


if __name__ == "__main__":
    if sys.argv[1] == "responder":
        Container(_Responder(sys.argv[2])).run()
    else:
        Container(_Source(sys.argv[2], int(sys.argv[3]), sys.argv[4])).run()
