"""Events: from libvirt's callback to subscribers, to many subscribers, and what the journal costs.

The yardsticks run in the same process at the same time: libvirt's bare callback, and a `queue.Queue` from
one thread to another, without storage and protocol.

``python -m bench.events single`` and ``burst`` publish, for looking at the system calls from outside.
"""

from __future__ import annotations

import json
import queue
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import libvirt

from bench.measure import UNLIMITED, Row, per_call
from vdsm_bridge.testing import TestHost
from vdsm_core.events import Event, EventBus, EventParams, Journal
from vdsm_qmf.testing import PASSWORD, USER, RabbitMQ

CHANGES = 400
#: Events by number of subscribers, and by those on sockets.
INSIDE = {1: 40_000, 10: 20_000, 100: 4_000}
STREAMS = {1: 20_000, 10: 10_000, 100: 2_000}
PAUSE = 0.004
#: Events whose system calls are counted: one by one, and all at once.
SINGLE = 300
MANY = 20_000
_QUEUE = "queue.Queue in process"


class Changed(EventParams, frozen=True):
    """An object has changed: of about the size of a machine's status."""

    component: ClassVar[str] = "bench"
    operation: ClassVar[str] = "changed"
    number: int
    vm_id: str = "11111111-2222-3333-4444-555555555555"
    vm_name: str = "a machine of a usual name"
    status: str = "Powering down"


def run() -> list[Row]:
    """All of it; about a minute."""
    return [*_latency(), *_inside(), *_streams(), *_journal_cost(), *_system_calls()]


@contextmanager
def _broker() -> Iterator[RabbitMQ]:
    with tempfile.TemporaryDirectory(prefix="vdsm-bench-") as folder, RabbitMQ(Path(folder)) as broker:
        yield broker


@contextmanager
def _host(broker: str = "") -> Iterator[TestHost]:
    with tempfile.TemporaryDirectory(prefix="vdsm-bench-") as folder:
        password = Path(folder, "password")
        password.write_text(PASSWORD)
        password.chmod(0o600)
        bus = {"brokers": [broker], "password_file": str(password), "heartbeat": 1.0}
        config = {
            "limits": UNLIMITED,
            "daemon": {"state_dir": folder, "log_level": "ERROR"},
            "access": {"bus_users": {USER: "monitor"}},
            "plugin": {
                "xmlrpc": {"port": 0},
                "rest": {"port": 0, "streams": 200},
                "qmf": bus if broker else {"enabled": False},
            },
        }
        with TestHost(installed=True, config=config) as host:
            yield host


def _address(host: TestHost, name: str) -> str:
    plugin = next(plugin for plugin in host.host.plugins() if plugin.name == name and plugin.address)
    return next(address for address in plugin.address if address.startswith("http"))


class _Client:
    """Subscribers in another process, ready to listen."""

    def __init__(self, kind: str, address: str, count: int, clients: int = 1) -> None:
        command = [sys.executable, "-m", "bench.event_clients", kind, address, str(count), str(clients)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def result(self) -> dict[str, Any]:
        """The events that they received."""
        output, _ = self._process.communicate(timeout=120)
        result: dict[str, Any] = json.loads(output)
        return result


def _latency() -> list[Row]:
    """Machine by machine, change by change: libvirt's callback and all subscribers behind it."""
    with _broker() as broker, _host(broker.url) as host:
        console = broker.url.replace(f"{USER}@", f"{USER}:{PASSWORD}@")
        clients = {
            "XML-RPC, long poll": _Client("xmlrpc", _address(host, "xmlrpc"), CHANGES),
            "REST, server-sent events": _Client("sse", _address(host, "rest"), CHANGES),
            "QMF, through a broker": _Client("qmf", console, CHANGES),
        }
        raw = _Raw()
        inside: list[float] = []
        subscription = host.bridge.subscribe("|virt|VM_status")

        def listen() -> None:
            while len(inside) < CHANGES:
                found = subscription.next(10)
                inside.extend([time.monotonic()] * len(found))

        thread = threading.Thread(target=listen)
        thread.start()
        try:
            raw.change(CHANGES)
            thread.join()
            arrived = {"in process": inside}
            for name, client in clients.items():
                result = client.result()
                assert result["missing"] == 0, name
                arrived[name] = result["arrived"]
        finally:
            subscription.close()
            raw.close()
    yardstick = _delays(raw.called, raw.through_queue)
    rows = []
    for share, unit in ((0.5, "us p50"), (0.99, "us p99")):
        rows.append(
            _row(
                "latency of a change",
                "libvirt call to its bare callback",
                unit,
                _at(_delays(raw.begun, raw.called), share),
                _at(yardstick, share),
                f"callback to {_QUEUE}",
            )
        )
        rows += [
            _row(
                "latency of a change",
                f"callback to subscriber, {name}",
                unit,
                _at(_delays(raw.called, times), share),
                _at(yardstick, share),
                f"callback to {_QUEUE}",
            )
            for name, times in arrived.items()
        ]
    return rows


class _Raw:
    """A libvirt client beside the daemon, on the same driver: changes a machine, and receives the events."""

    def __init__(self) -> None:
        self.begun: list[float] = []
        self.called: list[float] = []
        self.through_queue: list[float] = []
        self._queue: queue.Queue[bool] = queue.Queue()
        self._connection = libvirt.open("test:///default")
        self._callback = self._connection.domainEventRegisterAny(
            None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._hear, None
        )
        self._thread = threading.Thread(target=self._take)
        self._thread.start()

    def _hear(self, *_: object) -> None:
        self.called.append(time.monotonic())
        self._queue.put(True)

    def _take(self) -> None:
        while self._queue.get():
            self.through_queue.append(time.monotonic())

    def change(self, count: int) -> None:
        """Pause and resume a machine, with a pause after each."""
        domain = self._connection.lookupByName("test")
        for number in range(count):
            self.begun.append(time.monotonic())
            domain.resume() if number % 2 else domain.suspend()
            time.sleep(PAUSE)

    def close(self) -> None:
        """Leave."""
        self._queue.put(False)
        self._thread.join()
        self._connection.domainEventDeregisterAny(self._callback)
        self._connection.close()


def _delays(since: list[float], until: list[float]) -> list[float]:
    assert len(since) == len(until), (len(since), len(until))
    return sorted((end - begin) * 1e6 for begin, end in zip(since, until, strict=True))


def _at(values: list[float], share: float) -> float:
    return values[min(len(values) - 1, int(len(values) * share))]


@contextmanager
def _bus() -> Iterator[EventBus]:
    with tempfile.TemporaryDirectory(prefix="vdsm-bench-") as folder:
        bus = EventBus(Journal(f"{folder}/events.sqlite", max_bytes=2**26, keep=1e6))
        bus.start()
        yield bus
        bus.stop()


def _inside() -> list[Row]:
    """As fast as one thread can publish, to threads that read."""
    rows = []
    for subscribers, count in INSIDE.items():
        with _bus() as bus:
            subscriptions = [bus.subscribe() for _ in range(subscribers)]

            def read(number: int, subscriptions: Any = subscriptions, count: int = count) -> None:
                numbers: list[int] = []
                while len(numbers) < count:
                    numbers += [event.seq for event in subscriptions[number].next(30, max_events=1000)]
                assert numbers == list(range(1, count + 1))

            ours = _rate(
                subscribers, count, read, lambda number, bus=bus: bus.publish(Changed(number=number))
            )
        theirs = _queues(subscribers, count)
        rows.append(_rates(f"{subscribers} in process", ours, theirs))
    return rows


def _rate(subscribers: int, count: int, read: Callable[[int], None], publish: Callable[[int], None]) -> float:
    threads = [threading.Thread(target=read, args=(number,)) for number in range(subscribers)]
    for thread in threads:
        thread.start()
    begin = time.perf_counter()
    for number in range(count):
        publish(number)
    for thread in threads:
        thread.join()
    return count / (time.perf_counter() - begin)


def _streams() -> list[Row]:
    """As fast as one thread can publish, to connections of another process."""
    rows = []
    with _host() as host:
        address, bus = _address(host, "rest"), host.host.runtime.events
        for clients, count in STREAMS.items():
            client = _Client("|bench|changed", address, count, clients)
            begin = time.monotonic()
            for number in range(count):
                bus.publish(Changed(number=number))
            result = client.result()
            assert result["missing"] == 0, f"{result['missing']} of {clients} missed some"
            ours = count / (result["ended"] - begin)
            theirs = _queues(clients, count)
            rows.append(_rates(f"{clients} on REST streams", ours, theirs))
    return rows


def _queues(subscribers: int, count: int) -> float:
    queues: list[queue.Queue[Changed]] = [queue.Queue() for _ in range(subscribers)]

    def take(number: int) -> None:
        for _ in range(count):
            queues[number].get()

    def put(number: int) -> None:
        event = Changed(number=number)
        for each in queues:
            each.put(event)

    return _rate(subscribers, count, take, put)


def _rates(case: str, ours: float, theirs: float) -> Row:
    return _row("events sustained", case, "events/s", ours, theirs, _QUEUE, better="higher")


def _journal_cost() -> list[Row]:
    """One transaction of one event, and of as many as a batch has."""
    encoded = json.dumps(
        {"vmId": "11111111-2222-3333-4444-555555555555", "vmName": "a machine", "status": "Up"}
    ).encode()
    single: queue.Queue[int] = queue.Queue()

    def hand_over() -> None:
        single.put(1)
        single.get()

    yardstick = per_call(hand_over)
    rows = []
    with tempfile.TemporaryDirectory(prefix="vdsm-bench-") as folder:
        journal = Journal(f"{folder}/events.sqlite", max_bytes=2**26, keep=1e6)
        journal.open()
        for size in (1, 500):

            def write(size: int = size) -> None:
                first = journal.take_numbers(size)
                name = "|virt|VM_status|11111111-2222-3333-4444-555555555555"
                journal.append(
                    [
                        (Event(seq=number, id=name, time=1.0, params={}), encoded)
                        for number in range(first, first + size)
                    ]
                )

            ours = per_call(write, seconds=2.0) / size
            case = f"transactions of {size}"
            rows.append(
                _row(
                    "journal, per event", case, "us", ours * 1e6, yardstick * 1e6, "queue.Queue, put and get"
                )
            )
        journal.close()
    return rows


def _system_calls() -> list[Row]:
    """Writes and forced writes of each event, as the kernel counts them."""
    if shutil.which("strace") is None:
        return []
    rows = []
    for mode, count in (("single", SINGLE), ("burst", MANY)):
        idle, busy = _traced(mode, 0), _traced(mode, count)
        rows += [
            _row(
                "journal, system calls",
                f"{count} events, {mode}",
                f"{call}s per event",
                (busy[call] - idle[call]) / count,
                1.0,
                "one",
            )
            for call in ("write", "fsync")
        ]
    return rows


def _traced(mode: str, count: int) -> dict[str, int]:
    calls = "write,pwrite64,fsync,fdatasync"
    command = [
        "strace",
        "-f",
        "-c",
        "-e",
        f"trace={calls}",
        sys.executable,
        "-m",
        "bench.events",
        mode,
        str(count),
    ]
    text = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stderr
    # Columns: % time, seconds, usecs/call, calls, errors (may be empty), syscall.
    rows = re.findall(r"^ *[\d.]+ +[\d.]+ +\d+ +(\d+)(?: +\d+)? (?: *)(\w+)$", text, re.MULTILINE)
    found = {name: int(calls) for calls, name in rows}
    return {
        "write": found.get("pwrite64", 0),
        "fsync": found.get("fsync", 0) + found.get("fdatasync", 0),
    }


def _publish(mode: str, count: int) -> None:
    """What is traced: a bus as the daemon has it, events one by one, 10 ms apart, or all at once."""
    with _bus() as bus:
        for number in range(count):
            bus.publish(Changed(number=number))
            if mode == "single":
                time.sleep(0.01)
        bus.flush()


def _row(
    bench: str, case: str, unit: str, value: float, yardstick: float, name: str, better: str = "lower"
) -> Row:
    return Row(
        bench=bench,
        case=case,
        unit=unit,
        value=value,
        yardstick=yardstick,
        yardstick_name=name,
        better=better,
    )


if __name__ == "__main__":
    _publish(sys.argv[1], int(sys.argv[2]))
