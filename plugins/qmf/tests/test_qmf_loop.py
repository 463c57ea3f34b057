"""The loop's timers and work, and the bookkeeping of what waits to be sent."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from vdsm_bridge.testing.polling import until
from vdsm_qmf.bus import Broker, Loop, Security
from vdsm_qmf.bus.connection import BrokerConnection
from vdsm_qmf.bus.send_queue import Outcome, QueuedMessage, SendQueue
from vdsm_qmf.protocol.message import Address

HERE = Address("exchange", "key")


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop("tested")
    loop.start()
    yield loop
    loop.stop()


def on(loop: Loop, work: object) -> None:
    """Do something on the loop's thread, and wait for it."""
    done = threading.Event()
    loop.call_soon(lambda: (work(), done.set()))  # type: ignore[operator]
    assert done.wait(10.0)


def test_cancelled_timers_do_not_pile_up(loop: Loop) -> None:
    """A hundred thousand calls that were answered in time leave no hundred thousand entries behind."""

    def call() -> None:
        for _ in range(100_000):
            loop.call_later(60.0, lambda: None).cancel()

    on(loop, call)
    on(loop, lambda: None)
    assert len(loop.event_loop._scheduled) < 5_000


def test_timers_keep_their_order_when_tidied(loop: Loop) -> None:
    """What is due first is done first, also after the cancelled ones were taken out."""
    done: list[int] = []

    def call() -> None:
        for number in range(5_000):
            timer = loop.call_later(0.05 + (number % 50) / 1000, lambda number=number: done.append(number))
            if number >= 50:
                timer.cancel()

    on(loop, call)
    until(lambda: len(done) == 50)
    assert done == sorted(done)
    assert len(done) == 50


def test_work_that_makes_work_does_not_starve_the_timers(loop: Loop) -> None:
    """Callbacks that follow each other without end let sockets and timers have their turn."""
    ended = threading.Event()
    running = [True]

    def again() -> None:
        if running[0]:
            loop.call_soon(again)

    loop.call_soon(again)
    loop.call_soon(lambda: loop.call_later(0.05, ended.set))
    came = ended.wait(10.0)
    running[0] = False
    assert came


def test_no_work_of_many_threads_is_lost(loop: Loop) -> None:
    """All work is done, in each thread's order, also what arrives while the loop falls asleep."""
    done: dict[int, list[int]] = {thread: [] for thread in range(4)}

    def submit(thread: int) -> None:
        for number in range(2_000):
            loop.call_soon(lambda number=number: done[thread].append(number))
            if not number % 100:
                until(lambda number=number: len(done[thread]) > number)

    threads = [threading.Thread(target=submit, args=(thread,)) for thread in done]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60.0)
    on(loop, lambda: None)
    assert done == {thread: list(range(2_000)) for thread in done}


def test_a_failing_callback_ends_nothing(loop: Loop) -> None:
    """One connection's trouble is not the others'."""
    loop.call_soon(lambda: 1 // 0)
    on(loop, lambda: None)


def message(size: int = 1, lifetime: float = 60.0, reported: list[Outcome] | None = None) -> QueuedMessage:
    return QueuedMessage(HERE, b"x" * size, lifetime, None if reported is None else reported.append)


def test_queue_is_bounded_in_bytes() -> None:
    """Beyond the limit nothing is taken, unless it waits long enough for room; one message always fits."""
    queue = SendQueue(4_000)
    assert queue.put(message(100_000))
    assert not queue.put(message())
    (sent,) = queue.take()
    queue.done(sent, Outcome.ACCEPTED)
    for _ in range(6):
        assert queue.put(message(100))
    assert not queue.put(message(500))
    threading.Timer(0.1, lambda: [queue.done(one, Outcome.ACCEPTED) for one in queue.take()]).start()
    assert queue.put(message(500), timeout=10.0)


def test_events_leave_room_for_answers() -> None:
    """However many events wait for a slow broker, half of the room stays for answers."""
    queue = SendQueue(10_000)
    while queue.put(message(100, reported=[])):
        pass
    assert queue.size <= 5_000
    assert queue.put(message(4_000))


def test_queue_drops_what_is_too_old() -> None:
    """The outcome is reported, and the room is free."""
    queue, reported = SendQueue(10_000), list[Outcome]()
    queue.put(message(lifetime=0.01, reported=reported))
    queue.put(message())
    time.sleep(0.02)
    assert len(queue.take()) == 1
    assert reported == [Outcome.UNSENT]
    assert queue.size == message().size


def test_queue_without_a_connection() -> None:
    """Confirmed messages are reported as unsent; the others stay for the next connection."""
    queue, reported = SendQueue(10_000), list[Outcome]()
    for number in range(4):
        queue.put(message(reported=reported if number % 2 else None))
    queue.drop_confirmed()
    assert reported == [Outcome.UNSENT, Outcome.UNSENT]
    assert len(queue.take()) == 2


def test_closed_queue_lets_nobody_wait() -> None:
    """Closing the queue wakes all that wait for room."""
    queue = SendQueue(1_000)
    queue.put(message(900))
    threading.Timer(0.1, queue.close).start()
    begun = time.monotonic()
    assert not queue.put(message(900), timeout=30.0)
    assert time.monotonic() - begun < 20.0


class Attempt:
    """Notes how a connection ends."""

    def __init__(self) -> None:
        self.reasons: list[str] = []

    def ended(self, reason: str) -> None:
        self.reasons.append(reason)


def connection(loop: Loop, attempt: Attempt, port: int) -> BrokerConnection:
    """A connection to a broker whose name has to be resolved."""
    broker, security = Broker(host="localhost", port=port), Security(anonymous=True)
    return BrokerConnection(loop, broker, security, attempt, container="tested", idle_timeout=10.0)


def test_resolver_that_hangs_delays_nothing(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop goes on, and ends, while the resolution of a broker's name hangs."""
    released, resolvers = threading.Event(), list[threading.Thread]()

    def hang(*_: object, **__: object) -> None:
        resolvers.append(threading.current_thread())
        released.wait(60.0)
        raise socket.gaierror(socket.EAI_AGAIN, "no resolver")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    attempt = Attempt()
    loop.call_soon(lambda: connection(loop, attempt, 1).open())
    until(lambda: resolvers)
    on(loop, lambda: None)
    loop.stop()
    released.set()
    resolvers[0].join(10.0)
    assert not resolvers[0].is_alive()
    assert attempt.reasons == []


def test_name_that_cannot_be_resolved(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The attempt ends with the resolver's reason."""

    def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    attempt = Attempt()
    loop.call_soon(lambda: connection(loop, attempt, 1).open())
    until(lambda: attempt.reasons)
    assert attempt.reasons == ["the name of the host cannot be resolved: unknown"]


def test_second_address_is_tried(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that is reached by the second address of its name only is reached."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        address = listener.getsockname()
        addresses = [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, address[1]))
            for host in ("127.0.0.2", "127.0.0.1")
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: addresses)
        attempt = Attempt()
        loop.call_soon(lambda: connection(loop, attempt, address[1]).open())
        listener.settimeout(10.0)
        peer, _ = listener.accept()
        with peer:
            assert peer.recv(4) == b"AMQP"
        until(lambda: attempt.reasons)
    assert len(attempt.reasons) == 1
