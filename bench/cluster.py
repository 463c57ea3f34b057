"""Many hosts on one message bus: discovery, queries, calls at a steady rate, events.

Each host is whole: its own daemon in a few processes, its own embedded hypervisor with a machine of its own,
its own connection. Broker, hosts and console share one machine, so the figures are those of the machine, not
of the console alone. A thousand hosts by default, which takes some minutes; `VDSM_BENCH_HOSTS` sets the
number.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import resource
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from bench.measure import UNLIMITED, Row
from vdsm_bridge.testing import TestHost
from vdsm_bridge.testing.polling import until
from vdsm_qmf.console import Cluster, HostChange
from vdsm_qmf.testing import PASSWORD, USER, RabbitMQ

HOSTS = int(os.environ.get("VDSM_BENCH_HOSTS", "1000"))
PROCESSES = 25
#: Seconds between two heartbeats of a host, as by default.
HEARTBEAT = 10.0
#: Calls a second, spread over all hosts, and for how long.
RATE = 100
SECONDS = 20.0
#: Seconds for which only heartbeats are on the bus.
QUIET = 30.0
_TICK = os.sysconf("SC_CLK_TCK")
_MACHINE = """<node><domain type='test'><name>machine</name><uuid>{uuid}</uuid><memory unit='MiB'>64</memory>
<vcpu>1</vcpu><os><type>hvm</type></os></domain></node>"""


def run(hosts: int = HOSTS) -> list[Row]:
    """One host first, as the yardstick, then all."""
    with tempfile.TemporaryDirectory(prefix="vdsm-bench-") as folder:
        with RabbitMQ(Path(folder, "one")) as broker, _hosts(broker, 1, Path(folder)) as one:
            alone = _Figures(broker, one, 1)
            alone.measure()
        with RabbitMQ(Path(folder, "all")) as broker, _hosts(broker, hosts, Path(folder)) as all_:
            together = _Figures(broker, all_, hosts)
            together.measure()
            return _rows(together, alone)


def _rows(found: _Figures, alone: _Figures) -> list[Row]:
    case = f"{found.hosts} hosts"
    beats = f"{found.hosts / HEARTBEAT:g} heartbeats/s"

    def row(bench: str, unit: str, value: float, yardstick: float, name: str, note: str = "") -> Row:
        return Row(
            bench=bench,
            case=case,
            unit=unit,
            value=value,
            yardstick=yardstick,
            yardstick_name=name,
            note=note,
        )

    one, core = "the same with one host", "one core"
    one_by_one = found.hosts * _at(alone.called, 0.5)
    rows = [
        row("bus, discover all", "s", found.discovered, alone.discovered, one),
        row("bus, ask all: Host.getVMList", "s", found.asked, one_by_one, "one by one"),
        row("bus, ask all: objects of VM", "s", found.queried, one_by_one, "one by one"),
    ]
    for share, unit in ((0.5, "ms p50"), (0.99, "ms p99")):
        rows.append(
            row(
                f"bus, {RATE} calls/s over all",
                unit,
                _at(found.called, share) * 1e3,
                _at(alone.called, share) * 1e3,
                one,
                f"{found.errors} errors of {len(found.called)}",
            )
        )
    for what, share in found.cores.items():
        rows.append(row(f"bus, {beats}", f"cores, {what}", share, 1.0, core))
    rows += [
        row("bus, memory", "MiB resident, broker", found.broker_memory, alone.broker_memory, one),
        row("bus, memory", "MiB resident, a host", found.host_memory, alone.host_memory, one),
    ]
    if found.lost:
        rows.append(
            row(
                f"bus, {found.lost} hosts die at once",
                "s until all are lost",
                found.lost_after,
                3 * HEARTBEAT,
                "three intervals",
            )
        )
    return rows


class _Figures:
    """The measurements of one cluster."""

    def __init__(self, broker: RabbitMQ, processes: list[_Process], hosts: int) -> None:
        self.broker = broker
        self.processes = processes
        self.hosts = hosts
        self.errors = 0
        self.called: list[float] = []
        self.cores: dict[str, float] = {}
        self.lost = 0
        self.lost_after = 0.0
        self._gone: list[float] = []

    def measure(self) -> None:
        """Everything, one after the other."""
        cluster = Cluster(self.broker.url, password=PASSWORD, on_change=self._changed)
        begun = time.monotonic()
        with cluster:
            cluster.wait_for(hosts=self.hosts, timeout=120.0)
            self.discovered = time.monotonic() - begun
            self._ask(cluster)
            self._call(cluster)
            self._listen()
            self.broker_memory = _memory(_session(self.broker))
            self.host_memory = _memory([one.pid for one in self.processes]) / self.hosts
            if len(self.processes) > 1:
                self._lose(cluster)

    def _ask(self, cluster: Cluster) -> None:
        begun = time.monotonic()
        results = cluster.call_all("Host.getVMList")
        self.asked = time.monotonic() - begun
        assert len(results) == self.hosts
        machines = {machine["vmId"] for result in results.values() for machine in result.get()}
        assert len(machines) == self.hosts, "each host has a hypervisor of its own"
        begun = time.monotonic()
        found = list(cluster.objects_many(cluster.living(), "VM"))
        self.queried = time.monotonic() - begun
        assert sum(len(result.get()) for result in found) == self.hosts

    def _call(self, cluster: Cluster) -> None:
        living, waiting = cluster.living(), threading.Semaphore(0)
        begun = time.monotonic()
        count = int(RATE * SECONDS)
        for number in range(count):
            time.sleep(max(0.0, begun + number / RATE - time.monotonic()))
            since = time.monotonic()
            future = cluster.submit(living[number % len(living)], "Host.getStats")

            def done(future: Any, since: float = since) -> None:
                self.called.append(time.monotonic() - since)
                self.errors += future.exception() is not None
                waiting.release()

            future.add_done_callback(done)
        for _ in range(count):
            assert waiting.acquire(timeout=60.0)
        self.called.sort()

    def _listen(self) -> None:
        groups = {"broker": _session(self.broker), "console": [os.getpid()]}
        groups["hosts"] = [one.pid for one in self.processes]
        before = {name: _seconds(pids) for name, pids in groups.items()}
        time.sleep(QUIET)
        self.cores = {name: (_seconds(pids) - before[name]) / QUIET for name, pids in groups.items()}

    def _lose(self, cluster: Cluster) -> None:
        victim = self.processes[-1]
        self.lost = victim.count
        begun = time.monotonic()
        victim.kill()
        until(lambda: len(self._gone) >= self.lost, 4 * HEARTBEAT, every=0.05)
        assert len(self._gone) == self.lost == self.hosts - len(cluster.living())
        self.lost_after = max(self._gone) - begun

    def _changed(self, change: HostChange) -> None:
        if change.what == "lost":
            self._gone.append(time.monotonic())


def _at(values: list[float], share: float) -> float:
    return values[min(len(values) - 1, int(len(values) * share))]


# -- the machine


def _session(broker: RabbitMQ) -> list[int]:
    """The processes of a broker."""
    leader = broker.process
    return [pid for pid in _pids() if _stat(pid)[3] == str(leader)]


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _stat(pid: int) -> list[str]:
    try:
        # What follows the name, which may have blanks: state, parent, group, session, ...
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ["", "", "", "", *["0"] * 20]


def _seconds(pids: list[int]) -> float:
    """Processor time that they have used."""
    return sum(int(_stat(pid)[11]) + int(_stat(pid)[12]) for pid in pids) / _TICK


def _memory(pids: list[int]) -> float:
    pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids)
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


# -- the hosts


class _Process:
    """A process with some hosts."""

    def __init__(self, url: str, first: int, count: int, folder: Path) -> None:
        context = multiprocessing.get_context("spawn")
        self._here, there = context.Pipe()
        self.count = count
        self._process = context.Process(target=_serve, args=(there, url, first, count, folder), daemon=True)
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def wait(self) -> None:
        """Until its hosts are started."""
        assert self._here.poll(600.0)
        assert self._here.recv() == "ready"

    def kill(self) -> None:
        """End it as a power cut does."""
        self._process.kill()
        self._process.join()


@contextmanager
def _hosts(broker: RabbitMQ, count: int, folder: Path) -> Iterator[list[_Process]]:
    processes = min(PROCESSES, count)
    shares = [count * number // processes for number in range(processes + 1)]
    started: list[_Process] = []
    try:
        for first, last in itertools.pairwise(shares):
            # One after the other: a real host does not start on the broker's processors.
            started.append(_Process(broker.url, first, last - first, folder))
            started[-1].wait()
        yield started
    finally:
        for process in started:
            process.kill()


def _serve(pipe: Connection, url: str, first: int, count: int, folder: Path) -> None:
    from vdsm_qmf import QmfBinding  # noqa: PLC0415 - only these processes need them
    from vdsm_virt import Virt  # noqa: PLC0415

    # Of some hundred threads that wait for Python's lock, each looks for it again after every interval.
    sys.setswitchinterval(0.05)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 8192)), hard))
    password = folder / f"password-{first}"
    password.write_text(PASSWORD)
    password.chmod(0o600)
    with ExitStack() as stack:
        for number in range(first, first + count):
            machine = folder / f"host-{number}.xml"
            machine.write_text(_MACHINE.format(uuid=uuid.UUID(int=number + 1)))
            config = {
                "limits": UNLIMITED,
                "daemon": {"log_level": "ERROR"},
                "hypervisor": {"uri": f"test://{machine}", "sample_interval": 15.0},
                "access": {"bus_users": {USER: "admin"}},
                "plugin": {
                    "qmf": {
                        "brokers": [url],
                        "password_file": str(password),
                        "instance": f"host-{number:04}",
                        "heartbeat": HEARTBEAT,
                        # A thousand hosts on the processors of one machine: all are slower than real hosts.
                        "idle_timeout": 60.0,
                    }
                },
            }
            stack.enter_context(TestHost(verbs={"virt": Virt}, bindings={"qmf": QmfBinding}, config=config))
        pipe.send("ready")
        pipe.recv()
