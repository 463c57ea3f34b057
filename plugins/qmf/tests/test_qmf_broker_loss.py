"""A broker that is killed and started again, under calls and events."""

from __future__ import annotations

import gc
import os
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests import soak
from vdsm_bridge.testing import TestHost
from vdsm_bridge.testing.polling import until
from vdsm_qmf.console import CallRefused, Cluster, ClusterEvent, Unreachable
from vdsm_qmf.testing import PASSWORD, RabbitMQ

from .conftest import MakeHost
from .probe import Probe

#: How often the broker is killed.
ROUNDS = soak.count(2)


class Load:
    """Calls and events without end, and the book of how they went."""

    def __init__(self, host: TestHost, cluster: Cluster, lamp: str) -> None:
        self.host, self.cluster, self.lamp = host, cluster, lamp
        self.ends: Counter[str] = Counter()
        self.engraved: list[str] = []
        self.surprises: list[Exception] = []
        self.received = 0
        self.last = 0
        self.disorder: list[ClusterEvent] = []
        self.published = 0
        self.stop = threading.Event()
        self.stream = cluster.events("|sample|switched")
        self.threads = [
            threading.Thread(target=work) for work in (self.query, self.act, self.publish, self.listen)
        ]

    def __enter__(self) -> Load:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        for thread in self.threads[:3]:
            thread.join(60.0)

    def query(self) -> None:
        while not self.stop.is_set():
            self.end("Room.add", {"left": 1})

    def act(self) -> None:
        number = 0
        while not self.stop.is_set():
            number += 1
            # A lamp for a hundred marks: its description, which each answer has, stays small.
            lamp = f"00000000-0000-4000-8000-{number // 100:012d}"
            if not number % 100:
                self.host.call("Lamp.create", lamp={"lampID": lamp, "name": lamp})
            if self.end("Lamp.engrave", {"lampID": lamp, "text": str(number)}):
                self.engraved.append(str(number))

    def end(self, verb: str, arguments: dict[str, Any]) -> bool:
        try:
            self.cluster.call("h", verb, arguments, timeout=30.0)
        except (CallRefused, Unreachable) as error:
            self.ends[type(error).__name__] += 1
            time.sleep(0.05)
        except Exception as error:  # noqa: BLE001 - the test reports any error
            self.surprises.append(error)
        else:
            self.ends["result"] += 1
            return True
        return False

    def publish(self) -> None:
        while not self.stop.wait(0.01):
            self.host.call("Lamp.switch", lampID=self.lamp, lit=bool(self.published % 2))
            self.published += 1

    def listen(self) -> None:
        for event in self.stream:
            self.received += 1
            if event.seq <= self.last or event.is_gap:
                self.disorder.append(event)
            self.last = event.seq

    def settle(self) -> None:
        """Wait until every event has arrived, then end the listening."""
        try:
            until(lambda: self.received >= self.published, every=0.05)
        finally:
            self.stream.close()
            self.threads[3].join(10.0)


def resident() -> int:
    """Bytes of this process in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def descriptors() -> int:
    """Open ones of this process."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@pytest.mark.soak
@pytest.mark.timeout(60 + 30 * ROUNDS)
def test_broker_killed_and_restarted(own_broker: RabbitMQ, on_bus: MakeHost, record_property: Any) -> None:
    """Every call ends in a result or a declared error, every event arrives once, nothing is left over."""
    host = on_bus("h", url=own_broker.url, threads=4)
    lamp = "00000000-0000-4000-8000-000000000000"
    host.call("Lamp.create", lamp={"lampID": lamp, "name": "a"})
    with Cluster(own_broker.url, password=PASSWORD) as cluster:
        cluster.wait_for("h")
        sizes: list[tuple[int, int, int]] = []
        with Load(host, cluster, lamp) as load:
            for _ in range(ROUNDS):
                time.sleep(0.5)
                own_broker.kill()
                time.sleep(0.2)
                own_broker.start()
                before = load.ends["result"]
                until(lambda before=before: load.ends["result"] > before + 20, 40.0, every=0.02)
                gc.collect()
                sizes.append((threading.active_count(), descriptors(), resident()))
        load.settle()
    report(record_property, load, sizes)
    assert load.surprises == []
    assert load.disorder == [], "an event came twice, out of order, or was lost"
    assert load.received == load.published
    marks = [mark for lamp in host.call("Lamp.list") for mark in lamp.marks]
    assert len(marks) == len(set(marks)), "an action was carried out twice"
    assert set(load.engraved) <= set(marks)
    assert max(threads for threads, _, _ in sizes) <= sizes[0][0] + 6, "threads are left over"
    assert max(files for _, files, _ in sizes) <= sizes[0][1] + 4, "connections are left over"
    if ROUNDS >= 20:
        # The host remembers events and request ids; over that there is nothing that grows.
        grown = sizes[-1][2] - sizes[ROUNDS // 2][2]
        assert grown < ROUNDS / 2 * 0.5 * 2**20, "memory is left over"


def report(record: Any, load: Load, sizes: list[tuple[int, int, int]]) -> None:
    """The figures, into the record of the run, and to be seen with -s."""
    figures = {
        "rounds": ROUNDS,
        "calls": dict(load.ends),
        "events published": load.published,
        "events received": load.received,
        "threads": [threads for threads, _, _ in sizes],
        "descriptors": [files for _, files, _ in sizes],
        "MiB resident": [round(size / 2**20, 1) for _, _, size in sizes],
    }
    record("broker loss", figures)
    print(figures)  # noqa: T201 - to be seen with -s


def test_connecting_again_costs_no_memory(broker: RabbitMQ) -> None:
    """A hundred lost connections leave neither descriptors nor, but for a little, memory behind."""
    with Probe(broker.url) as probe:
        probe.break_off(20)
        gc.collect()
        before, memory = descriptors(), resident()
        probe.break_off(100)
        gc.collect()
        assert descriptors() <= before
        assert resident() - memory < 4 * 2**20
