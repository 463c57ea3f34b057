"""Events that a broker refuses: repeated a few times, then given up, and never without end."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from vdsm_bridge.testing import TestHost
from vdsm_bridge.testing.polling import until
from vdsm_qmf.agent import deliveries
from vdsm_qmf.agent.deliveries import DELAYS, QUIET, Deliveries
from vdsm_qmf.bus.send_queue import Outcome
from vdsm_qmf.console import Cluster, Security
from vdsm_qmf.testing import PASSWORD, RabbitMQ

from .amqp_bytes import plain
from .conftest import MakeHost
from .old_console import OldConsole
from .probe import Probe
from .qpidd_peer import QpiddPeer

LAMP = "00000000-0000-4000-8000-000000000012"
TRIES = 1 + len(DELAYS)
EVENTS = ("qmf.default.topic", "agent.ind.event.vdsm.sample_switched.#")


class Clock:
    """A clock that a test moves."""

    now = 1_000.0

    def __call__(self) -> float:
        return self.now


class Broker:
    """Sends events as the pump does, with a broker that refuses some; time passes as the delays say."""

    def __init__(self, *refused: int) -> None:
        self.clock = Clock()
        self.deliveries = Deliveries(0, self.clock)
        self.refused = set(refused)
        self.sent: list[int] = []
        self.began = self.clock.now

    def round(self, last: int) -> bool:
        """One round up to an event. False: another one is needed."""
        flying, again = [], False
        self.deliveries.begin()
        for number in range(self.deliveries.confirmed + 1, last + 1):
            if not self.deliveries.ready:
                again |= self.answer(flying)
            if again:
                break
            if self.deliveries.is_due(number):
                self.deliveries.sent(number)
                self.sent.append(number)
                flying.append(number)
        again |= self.answer(flying)
        if again:
            self.clock.now += self.deliveries.delay
        return not again

    def answer(self, flying: list[int]) -> bool:
        outcomes = [Outcome.REFUSED if number in self.refused else Outcome.ACCEPTED for number in flying]
        again = [self.deliveries.ended(*one) for one in zip(flying, outcomes, strict=True)]
        flying.clear()
        return any(again)

    def send(self, last: int) -> None:
        """Send all events up to one, in as many rounds as it takes."""
        for _ in range(100):
            if self.round(last):
                return
        pytest.fail(f"no end of it: {self.sent}")


def test_all_taken() -> None:
    """Each is sent once, and no time is lost."""
    broker = Broker()
    broker.send(10)
    assert broker.sent == list(range(1, 11))
    assert (broker.deliveries.confirmed, broker.deliveries.given_up) == (10, 0)
    assert broker.clock.now == broker.began


def test_one_event_refused() -> None:
    """It alone is repeated, at growing intervals, and given up; the others are sent once."""
    broker = Broker(3)
    broker.send(6)
    assert broker.sent == [1, 2, 3, 4, 5, 6, *[3] * (TRIES - 1)]
    assert broker.clock.now - broker.began == sum(DELAYS) == 15.0
    assert (broker.deliveries.confirmed, broker.deliveries.given_up) == (6, 1)


def test_everything_refused() -> None:
    """A full queue that stays full: a few copies of one event, and one of each other, however many come."""
    broker = Broker(*range(3, 1_000))
    broker.send(6)
    assert broker.sent == [1, 2, 3, 4, 5, 6, *[3] * (TRIES - 1)]
    assert (broker.deliveries.confirmed, broker.deliveries.given_up) == (6, 4)
    passed = broker.clock.now
    for last in range(7, 500):
        broker.clock.now += QUIET - 1.0
        broker.send(last)
    assert broker.sent[10:] == list(range(7, 500))
    assert broker.clock.now - passed == 493 * (QUIET - 1.0), "no call may wait"


def test_a_queue_that_is_read_again() -> None:
    """What was refused is sent again, each once, and nothing else is."""
    broker = Broker(3, 4, 6)
    assert not broker.round(7)
    assert broker.deliveries.confirmed == 2
    broker.refused.clear()
    broker.send(7)
    assert broker.sent == [1, 2, 3, 4, 5, 6, 7, 3, 4, 6]
    assert (broker.deliveries.confirmed, broker.deliveries.given_up) == (7, 0)


def test_after_a_quiet_time_events_are_repeated_again() -> None:
    """One that was given up long ago costs a later one no try."""
    broker = Broker(1, 3)
    broker.send(2)
    assert broker.sent.count(1) == TRIES
    broker.clock.now += QUIET
    broker.send(3)
    assert broker.sent.count(3) == TRIES
    assert broker.deliveries.given_up == 2


def test_unsent() -> None:
    """An event without room or without a broker has reached no console: it is sent as often as necessary."""
    one = Deliveries(0, Clock())
    for _ in range(50):
        one.begin()
        for number in (1, 2):
            assert one.is_due(number)
            one.sent(number)
        assert one.ready
        assert one.ended(1, Outcome.UNSENT)
        assert one.ended(2, Outcome.UNSENT)
        assert one.delay == 1.0
    take(one, 1, 2)
    assert (one.confirmed, one.given_up) == (2, 0)


def test_lost_with_their_connection() -> None:
    """Sent again, all together at first; lost again and again, alone, since one of them may be why."""
    one = Deliveries(0, Clock())
    lose(one, 1, 2, 3)
    assert one.ready
    lose(one, 1, 2, 3)
    for _ in range(TRIES - 2):
        assert one.confirmed == 0
        one.begin()
        assert one.is_due(1)
        one.sent(1)
        assert not one.ready, "others wait for it"
        one.ended(1, Outcome.LOST)
    # The others may have been lost behind it: each is sent alone once, and given up if it is lost again.
    assert (one.confirmed, one.given_up) == (1, 1)
    for number in (2, 3):
        one.begin()
        assert one.delay == 1.0
        assert one.is_due(number)
        one.sent(number)
        assert not one.ready
        one.ended(number, Outcome.LOST)
    assert one.ready
    one.begin()
    assert one.is_due(4)
    assert (one.confirmed, one.given_up) == (3, 3)


def test_lost_together_behind_one_that_is_refused() -> None:
    """What never reached a queue is not given up with the cause: consoles with room get it."""
    one = Deliveries(0, Clock())
    for _ in range(2):
        lose(one, 1, 2, 3)
    for _ in range(TRIES - 2):
        one.begin()
        assert one.is_due(1)
        one.sent(1)
        one.ended(1, Outcome.LOST)
    assert (one.confirmed, one.given_up) == (1, 1)
    for number in (2, 3):
        take(one, number)
    assert (one.confirmed, one.given_up) == (3, 1)


def test_lost_soon_after_one_was_given_up() -> None:
    """A connection that ends for another reason costs no event."""
    one = Deliveries(0, Clock())
    for _ in range(TRIES):
        one.begin()
        one.is_due(1)
        one.sent(1)
        one.ended(1, Outcome.REFUSED)
    assert one.given_up == 1
    lose(one, 2, 3)
    assert one.ready
    take(one, 2, 3)
    assert (one.confirmed, one.given_up) == (3, 1)


def lose(deliveries: Deliveries, *numbers: int) -> None:
    """A round whose connection ends."""
    deliveries.begin()
    for number in numbers:
        assert deliveries.is_due(number)
        deliveries.sent(number)
    for number in numbers:
        assert deliveries.ended(number, Outcome.LOST)


def take(deliveries: Deliveries, *numbers: int) -> None:
    """A round that the broker takes."""
    deliveries.begin()
    for number in numbers:
        assert deliveries.is_due(number)
        deliveries.sent(number)
    for number in numbers:
        assert not deliveries.ended(number, Outcome.ACCEPTED) or number != numbers[-1]


def test_what_is_on_its_way_is_not_sent_twice() -> None:
    """A round skips events that the broker has not answered yet, and late outcomes change nothing."""
    one = Deliveries(0, Clock())
    for number in (1, 2, 3):
        assert one.is_due(number)
        one.sent(number)
    assert one.ended(1, Outcome.REFUSED)
    assert not one.ready
    one.ended(3, Outcome.ACCEPTED)
    one.begin()
    assert [one.is_due(number) for number in (1, 2, 3)] == [True, False, False]
    one.ended(2, Outcome.ACCEPTED)
    assert one.ready
    one.sent(1)
    one.ended(1, Outcome.ACCEPTED)
    assert one.confirmed == 3
    assert not one.ended(2, Outcome.REFUSED)
    assert one.ready


def test_a_refused_event_that_the_journal_lost() -> None:
    """A gap replaces it: the round does not wait for it."""
    one = Deliveries(0, Clock())
    one.is_due(1)
    one.sent(1)
    assert one.ended(1, Outcome.REFUSED)
    one.begin()
    assert one.is_due(5)
    one.sent(5)
    assert one.ready
    one.ended(5, Outcome.ACCEPTED)
    assert one.confirmed == 5


def copies(console: OldConsole) -> list[int]:
    """The numbers of the events that a console has got."""
    return [plain(one["amqp-value"])[0]["_values"]["eventSeq"] for one in list(console.got)]


def switch(host: TestHost, times: int) -> None:
    for turn in range(times):
        host.call("Lamp.switch", lampID=LAMP, lit=bool(turn % 2))


def test_a_full_queue_of_another_console(on_bus: MakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other consoles get a few copies of one event; vdsm's console gets each event once, in order."""
    monkeypatch.setattr(deliveries, "DELAYS", (0.05, 0.05, 0.1, 0.1))
    with QpiddPeer(queue=5) as peer:
        host = on_bus("full.host", url=peer.url, anonymous=True, access={"loopback": "admin"})
        host.call("Lamp.create", lamp={"lampID": LAMP, "name": "hall"})
        with (
            OldConsole(peer.url, EVENTS) as good,
            OldConsole(peer.url, EVENTS, prefetch=0),
            Cluster(peer.url, security=Security(anonymous=True)) as ours,
        ):
            ours.wait_for("full.host")
            with ours.events("|sample|switched") as stream:
                switch(host, 20)
                wait_for_numbers(good, 20 + TRIES - 1)
                switch(host, 20)
                wait_for_numbers(good, 40 + TRIES - 1)
                read = [stream.next(20.0) for _ in range(40)]
            # Longer than all tries together: whatever was to be repeated would have been.
            time.sleep(1.0)
            seen = copies(good)
        assert len(seen) == 40 + TRIES - 1
        numbers = sorted(set(seen))
        counts = {number: seen.count(number) for number in numbers}
        assert list(counts.values()) == [1] * 5 + [TRIES] + [1] * 34
        assert [one.seq for one in read if one is not None] == numbers
        assert not any(one.is_gap for one in read if one is not None)
        assert host.agent.bus.connections == 1


def test_a_queue_with_room_again(on_bus: MakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was refused is repeated until the queue has room; the events after it follow in their order."""
    monkeypatch.setattr(deliveries, "DELAYS", (1.0,) * 20)
    with QpiddPeer(queue=5) as peer:
        host = on_bus("full.host", url=peer.url, anonymous=True, access={"loopback": "admin"})
        host.call("Lamp.create", lamp={"lampID": LAMP, "name": "hall"})
        with OldConsole(peer.url, EVENTS) as good, OldConsole(peer.url, EVENTS, prefetch=0):
            switch(host, 8)
            wait_for_numbers(good, 8)
            peer.queue = 100
            switch(host, 1)
            # The sixth was refused; those after it too, if they were sent before that was known.
            while len(numbers := sorted(set(seen := copies(good)))) < 9 or seen.count(numbers[5]) < 2:
                wait_for_numbers(good, len(seen) + 1)
        assert [seen.count(number) for number in numbers[:5]] == [1] * 5
        assert all(seen.count(number) <= 2 for number in numbers[6:])


class OneFullQueue(RabbitMQ):
    """A broker with a queue that takes three events and then refuses."""

    def _write_files(self) -> None:
        super()._write_files()
        file = self.folder / "definitions.json"
        document = json.loads(file.read_text())
        limits = {"x-max-length": 3, "x-overflow": "reject-publish"}
        queue = {"name": "full", "vhost": "/", "durable": True, "auto_delete": False, "arguments": limits}
        document["queues"] = [queue]
        document["bindings"] = [
            {
                "source": "qmf.default.topic",
                "vhost": "/",
                "destination": "full",
                "destination_type": "queue",
                "routing_key": EVENTS[1],
                "arguments": {},
            }
        ]
        file.write_text(json.dumps(document))


@pytest.mark.slow
def test_rabbitmq_with_a_full_queue(on_bus: MakeHost, tmp_path: Path) -> None:
    """It ends the session instead of refusing: a host does not go on connecting and repeating."""
    with OneFullQueue(tmp_path / "broker") as broker:
        host = on_bus("full.host", url=broker.url, reconnect_most=0.2)
        host.call("Lamp.create", lamp={"lampID": LAMP, "name": "hall"})
        with Probe(broker.url, EVENTS[1]) as good:
            deliveries = host.agent._events._deliveries
            switch(host, 3)
            # The broker's end of the session may overtake its outcomes: wait for those of what fits in.
            until(lambda: len(numbers_of(good)) == 3 and not deliveries._in_flight)
            switch(host, 5)
            until(lambda: deliveries.given_up >= 5, 60.0, detail=lambda: numbers_of(good))
            # Longer than between two connections.
            time.sleep(2.0)
            seen, connections = numbers_of(good), host.agent.bus.connections
            time.sleep(2.0)
            assert (numbers_of(good), host.agent.bus.connections) == (seen, connections)
        counts = {number: seen.count(number) for number in sorted(set(seen))}
        assert list(counts.values())[:3] == [1, 1, 1]
        assert len(counts) == 8
        assert max(counts.values()) <= TRIES
        with Cluster(broker.url, password=PASSWORD) as ours:
            ours.wait_for("full.host")
            with ours.events("|sample|switched", resume={"full.host": 0}) as stream:
                read = [stream.next(20.0) for _ in range(8)]
        assert [one.seq for one in read if one is not None] == list(counts)


def numbers_of(probe: Probe) -> list[int]:
    """As `copies`."""
    return [plain(one["amqp-value"])[0]["_values"]["eventSeq"] for _, one in list(probe.got)]


def wait_for_numbers(console: OldConsole, count: int) -> Any:
    until(lambda: len(console.got) >= count, what=f"{count} events", detail=lambda: copies(console))
