"""Nothing that a subscriber has seen is lost, and nothing comes twice, however often the daemon is killed."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import soak
from tests.functional.bus_subscriber import QmfStream
from tests.functional.daemon import Daemon
from tests.functional.subscribers import GAP, RestStream, Subscriber, XmlRpcPoll
from vdsm_bridge.testing.polling import until
from vdsm_core.events import Event, Journal
from vdsm_qmf.testing import PASSWORD, USER, RabbitMQ

ROUNDS = soak.count(15)
BURST = 2_000
OBJECTS = 8
#: What the host is called on the bus.
HOST = "killed"

CONFIG = """\
[daemon]
state_dir = "{folder}/state"
run_dir = "{folder}"
log_level = "WARNING"
required = ["burst", "xmlrpc", "rest", "qmf"]
[access]
loopback = "admin"
[hypervisor]
uri = "{uri}"
[access.bus_users]
USER = "monitor"
[plugin.virt]
enabled = false
[plugin.qmf]
brokers = ["BROKER"]
password_file = "{folder}/password"
instance = "HOST"
epoch_file = "{folder}/epoch"
heartbeat = 0.5
[plugin.xmlrpc]
port = 0
[plugin.rest]
port = 0
socket = "{folder}/api.sock"
"""

PLUGIN = '''\
"""A third-party feature that makes events, many and quickly."""

import threading
import time
from typing import ClassVar

from vdsm_bridge import Feature, Namespace, action
from vdsm_core.events import EventParams


class Fired(EventParams, frozen=True):
    """A change of an object."""

    component: ClassVar[str] = "burst"
    operation: ClassVar[str] = "fired"
    burst: int
    number: int


class Warmed(Fired, frozen=True):
    """A statistic of an object."""

    operation: ClassVar[str] = "warmed"
    bulk: ClassVar[bool] = True


class Burst(Namespace, plural="burst"):
    """Bursts of events."""

    def __init__(self, events):
        self._events = events

    @action(since="1.0")
    def fire(self, burst: int, count: int, objects: int) -> None:
        """Begin a burst.

        :param burst: its number
        :param count: events
        :param objects: that they are about
        """
        # Not before the caller has its answer.
        threading.Timer(0.02, self._fire, (burst, count, objects)).start()

    def _fire(self, burst, count, objects):
        for number in range(count):
            if number % 20 == 19:
                time.sleep(0.001)  # else it is over before the kill
            kind = Warmed if number % 5 == 4 else Fired
            self._events.publish(kind(burst=burst, number=number), f"object{number % objects}")


class Bursts(Feature):
    """The feature."""

    def namespaces(self):
        """`Burst`."""
        return [Burst(self.runtime.events)]
'''


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[RabbitMQ]:
    """A message broker."""
    with RabbitMQ(tmp_path / "rabbit") as broker:
        yield broker


@pytest.fixture
def daemon(tmp_path: Path, broker: RabbitMQ) -> Iterator[Daemon]:
    """A daemon with that feature, installed as its author would ship it, on the bus."""
    site = tmp_path / "site"
    about = site / "vdsm_burst-1.0.dist-info"
    about.mkdir(parents=True)
    (site / "vdsm_burst.py").write_text(PLUGIN)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: vdsm-burst\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[vdsm.verbs]\nburst = vdsm_burst:Bursts\n")
    password = tmp_path / "password"
    password.write_text(PASSWORD)
    password.chmod(0o600)
    config = CONFIG.replace("BROKER", broker.url).replace("HOST", HOST).replace("USER", USER)
    with Daemon(tmp_path, "test:///default", config, site) as daemon:
        yield daemon


def fire(daemon: Daemon, burst: int) -> None:
    """Begin a burst."""
    arguments = {"burst": burst, "count": BURST, "objects": OBJECTS}
    daemon.rest("POST", "/api/verbs/Burst.fire", arguments)


def wait_for_first(subscribers: list[Subscriber], burst: int) -> None:
    """Wait until a subscriber has seen an event of a burst, at most two seconds."""
    deadline = time.monotonic() + 2.0
    while time.monotonic() < deadline:
        for each in subscribers:
            if each.seen and each.seen[-1]["params"].get("burst") == burst:
                return
        time.sleep(0.001)


def read_journal(daemon: Daemon) -> list[Event]:
    """All that a daemon which has ended has kept."""
    journal = Journal(str(daemon.folder / "state" / "events.sqlite"), max_bytes=10**9, keep=10**6)
    journal.open()
    events = journal.read(0, 10**7)
    journal.close()
    return events


@pytest.mark.slow
@pytest.mark.soak
@pytest.mark.timeout(120 + 10 * ROUNDS)
def test_kill_in_a_burst(
    daemon: Daemon, broker: RabbitMQ, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> None:
    """Three subscribers that resume, one for each binding: each has got exactly what the journal holds."""
    chance = soak.chance("kill in a burst")
    began = time.monotonic()
    console = broker.url.replace(f"{USER}@", f"{USER}:{PASSWORD}@")
    subscribers: list[Subscriber] = [
        XmlRpcPoll(daemon), RestStream(daemon), QmfStream(daemon, console, HOST)
    ]  # fmt: skip
    for subscriber in subscribers:
        request.addfinalizer(subscriber.stop)
        subscriber.start()
    for burst in range(ROUNDS):
        until(lambda: all(each.listening.is_set() for each in subscribers), 20, every=0.1, detail=daemon.log)
        fire(daemon, burst)
        if chance.random() < 0.8:
            wait_for_first(subscribers, burst)
        time.sleep(chance.uniform(0.0, 0.1))
        daemon.kill()
        for subscriber in subscribers:
            subscriber.listening.clear()
        daemon.start()
    until(lambda: all(each.listening.is_set() for each in subscribers), 20, every=0.1, detail=daemon.log)
    fire(daemon, ROUNDS)

    def complete() -> bool:
        last = [each.seen[-1]["params"] if each.seen else {} for each in subscribers]
        return all(
            (params.get("burst"), params.get("number", 0) >= BURST - 6) == (ROUNDS, True) for params in last
        )

    until(complete, every=0.1)
    time.sleep(0.2)
    newest = max(each.last for each in subscribers)
    until(
        lambda: all(each.last == newest for each in subscribers),
        every=0.1,
        detail=lambda: {each.name: each.last for each in subscribers},
    )
    for subscriber in subscribers:
        subscriber.stop()
    daemon.stop()

    kept = read_journal(daemon)
    counts = _counts(kept)
    cut = sum(0 < count < BURST for count in counts.values())
    report = [
        f"\n{ROUNDS} kills in {time.monotonic() - began:.0f} s (seed {soak.SEED}): {len(kept)} events kept",
        f"  {cut} bursts cut in the middle, {ROUNDS + 1 - len(counts)} before their first event",
    ]
    for each in subscribers:
        gaps = sum(event["id"] == GAP for event in each.seen)
        report.append(
            f"  {each.name}: {len(each.seen)} events on {each.connections} connections, {gaps} gaps"
        )
    with capsys.disabled():
        sys.stdout.write("\n".join(report) + "\n")
    assert [event.seq for event in kept] == list(range(1, len(kept) + 1))
    assert counts[ROUNDS] == BURST
    for each in subscribers:
        assert each.connections > ROUNDS
        got = [(event["seq"], event["id"], event["params"]) for event in each.seen]
        # Events that the daemon published while it stopped had no subscriber.
        assert got == [(event.seq, event.id, event.params) for event in kept[: len(got)]]
        assert len(got) >= newest
    assert _in_order(kept)


def _counts(events: list[Event]) -> dict[int, int]:
    """Events of each burst."""
    counts: dict[int, int] = {}
    for event in events:
        if event.id.startswith("|burst|"):
            counts[event.params["burst"]] = counts.get(event.params["burst"], 0) + 1
    return counts


def _in_order(events: list[Event]) -> bool:
    """Whether the events of each object are in the order of their making, statistics included."""
    last: dict[str, tuple[Any, Any]] = {}
    for event in events:
        if event.id.startswith("|burst|"):
            name, place = event.id.rsplit("|", 1)[1], (event.params["burst"], event.params["number"])
            if place <= last.get(name, (-1, -1)):
                return False
            last[name] = place
    return True
