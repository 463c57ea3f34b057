"""The engine with three daemons on one bus, each with an embedded hypervisor of its own."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import small_engine
from small_engine import Engine, EngineError, Machine
from small_engine.__main__ import main

from tests.settled import Held
from vdsm_bridge.testing.polling import until
from vdsm_qmf.console import Cluster
from vdsm_qmf.testing import PASSWORD, USER, RabbitMQ

BIN = Path(sys.executable).parent
NAMES = ("a", "b", "c")
CONFIG = """\
[daemon]
state_dir = "{folder}/state"
run_dir = "{folder}"
required = ["virt", "qmf"]
[hypervisor]
uri = "test:///default"
sample_interval = 0.5
[access]
bus_users = {{ {user} = "operator" }}
[plugin.virt]
kept_custom = ["purpose"]
operator_custom = ["purpose"]
[plugin.xmlrpc]
enabled = false
[plugin.rest]
enabled = false
[plugin.qmf]
brokers = ["{url}"]
password_file = "{folder}/password"
instance = "{name}"
heartbeat = 1.0
reconnect_most = 1.0
"""


class Host:
    """A daemon."""

    def __init__(self, name: str, url: str, folder: Path) -> None:
        self.name = name
        folder.mkdir()
        (folder / "password").write_text(PASSWORD)
        (folder / "password").chmod(0o600)
        self._config = folder / "vdsm.toml"
        self._config.write_text(CONFIG.format(folder=folder, url=url, name=name, user=USER))
        self._log = folder / "log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of its process; 0 if there is none."""
        return self._process.pid if self._process is not None else 0

    def start(self) -> None:
        """Start it."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [BIN / "vdsmd", "--config", self._config], stdout=log, stderr=log
            )

    def end(self, number: int = signal.SIGKILL) -> None:
        """End it; by default as a power cut does."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(number)
            process.wait(30.0)


@pytest.fixture(scope="module")
def broker() -> Iterator[RabbitMQ]:
    """A message bus."""
    with tempfile.TemporaryDirectory(prefix="vdsm-engine-") as folder, RabbitMQ(Path(folder)) as broker:
        yield broker


@pytest.fixture(scope="module")
def hosts(broker: RabbitMQ) -> Iterator[dict[str, Host]]:
    """Three daemons."""
    made = {name: Host(name, broker.url, broker.folder / name) for name in NAMES}
    try:
        for host in made.values():
            host.start()
        yield made
    finally:
        for host in made.values():
            host.end()


@pytest.fixture(autouse=True)
def settled(hosts: dict[str, Host]) -> Iterator[None]:
    """As everywhere, nothing is left behind; a daemon that a test has started again is the module's."""
    before = Held.now()
    yield
    restarted = {f"vdsmd ({host.pid})" for host in hosts.values()}
    before = replace(before, children=before.children | restarted)
    if left := before.left_since():
        pytest.fail(f"left behind: {left}")


@pytest.fixture
def cluster(broker: RabbitMQ, hosts: dict[str, Host]) -> Iterator[Cluster]:
    """The console, once all three are there."""
    with Cluster(broker.url, password=PASSWORD) as cluster:
        cluster.wait_for(*hosts, timeout=60.0)
        yield cluster


@pytest.fixture
def engine(cluster: Cluster, tmp_path: Path) -> Engine:
    return Engine(cluster, memory=tmp_path / "memory.json")


def small(name: str, **more: object) -> dict[str, object]:
    return {"vmName": name, "memSize": 64, **more}


def lost(cluster: Cluster, name: str) -> None:
    until(lambda: name not in cluster.living(), 30.0, what=f"{name} to be lost")


def test_inventory(engine: Engine) -> None:
    """Every host with its load, every machine with its host; the test driver brings a machine on each."""
    found = engine.inventory()
    assert [host.id for host in found.hosts] == list(NAMES)
    assert all(host.memory > 0 and 0 < host.load < 1 for host in found.hosts)
    assert sorted((one.host, one.name, one.status) for one in found.machines) == [
        (name, "test", "Up") for name in NAMES
    ]
    assert found.silent == {}
    # One id on three hosts is what the engine warns of; here it is the test driver's own machine.
    assert found.doubled == {found.machines[0].id}


def test_placing_spreads(engine: Engine) -> None:
    """Each new machine goes to the least loaded host; it is up when the engine reports it."""
    placed = []
    for number in range(4):
        least = min(engine.inventory().hosts, key=lambda host: (host.load, host.machines, host.id))
        placed.append(engine.place(small(f"p{number}", memSize=256)))
        assert placed[-1].host == least.id
    assert len({machine.host for machine in placed[:3]}) == 3
    assert {machine.status for machine in placed} == {"Up"}
    again = {one.id: one.host for one in engine.inventory().machines}
    assert all(again[machine.id] == machine.host for machine in placed)


def test_where_a_caller_is(engine: Engine, cluster: Cluster) -> None:
    """The address of a caller behind a broker is unknown: a reply address is not one."""
    machine = engine.place(small("where"))
    assert machine.definition.get("clientIp", "") == ""
    (stats,) = cluster.call(machine.host, "VM.getStats", {"vmID": machine.id})
    assert stats["clientIp"] == ""
    capabilities = cluster.call(machine.host, "Host.getCapabilities")
    assert (capabilities["lastClient"], capabilities["lastClientIface"]) == ("", "")


def test_no_host_has_room(engine: Engine) -> None:
    """What fits nowhere is refused before any host is asked; what every host refuses, with their words."""
    with pytest.raises(EngineError, match="no host takes 'giant': none has room"):
        engine.place(small("giant", memSize=10**9))
    with pytest.raises(EngineError, match=r"no host takes 'odd': .: .*; .: .*; .: "):
        engine.place(small("odd", devices=[{"type": "hostdev", "device": "hostdev"}]))


def test_migration_that_the_hypervisor_cannot_do(engine: Engine) -> None:
    """libvirt's test driver moves no machine: it runs on where it was, and no place is kept for it."""
    machine = engine.place(small("mover"))
    target = next(name for name in NAMES if name != machine.host)
    with pytest.raises(EngineError, match=f"'mover' stays on {machine.host}: "):
        engine.migrate("mover", target)
    assert [(one.host, one.status) for one in engine.inventory().find("mover")] == [(machine.host, "Up")]


def test_machines_of_a_dead_host(engine: Engine, cluster: Cluster, hosts: dict[str, Host]) -> None:
    """They are started elsewhere once the host is confirmed dead; later it may return."""
    placed = {one.name: one for one in (engine.place(small(f"m{number}")) for number in range(3))}
    victim = placed["m0"].host
    mine = {one.name for one in engine.inventory().machines if one.host == victim} - {"test"}
    with pytest.raises(EngineError, match=f"{victim} is running: its heartbeats arrive"):
        engine.restart_from(victim, dead=True)
    engine.inventory()
    hosts[victim].end()
    lost(cluster, victim)
    received = engine.inventory()
    assert received.silent == {victim: "it is lost"}
    assert {one.name for one in received.machines if one.status == "unknown"} == mine | {"test"}
    with pytest.raises(EngineError, match=f"make sure that {victim} is off, and confirm it"):
        engine.restart_from(victim)
    ended = engine.restart_from(victim, dead=True)
    # The test driver's own machine has the same id everywhere: it runs there already.
    assert isinstance(ended.pop("test"), EngineError)
    assert ended.keys() == mine
    for name, machine in ended.items():
        assert isinstance(machine, Machine)
        assert machine.status == "Up"
        assert machine.host != victim
        assert name not in placed or machine.id == placed[name].id
    assert engine.restart_from(victim, dead=True).keys() == {"test"}
    hosts[victim].start()
    cluster.wait_for(victim, timeout=60.0)
    assert all(len(engine.inventory().find(name)) == 1 for name in placed)


def test_memory_outlives_the_engine(
    engine: Engine, cluster: Cluster, hosts: dict[str, Host], tmp_path: Path
) -> None:
    """An engine that is started while a host is dead knows that host's machines from the file."""
    machine = engine.place(small("kept", custom={"purpose": "test"}))
    engine.inventory()
    hosts[machine.host].end()
    lost(cluster, machine.host)
    other = Engine(cluster, memory=tmp_path / "memory.json")
    restarted = other.restart_from(machine.host, dead=True)["kept"]
    hosts[machine.host].start()
    cluster.wait_for(machine.host, timeout=60.0)
    assert isinstance(restarted, Machine)
    assert restarted.definition["custom"] == {"purpose": "test"}


def test_command_line(
    cluster: Cluster,
    broker: RabbitMQ,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The same from a shell; what cannot be done is said in one line, and the exit code is 1."""
    monkeypatch.setitem(os.environ, "VDSM_BUS_PASSWORD", PASSWORD)
    common = [broker.url, "--hosts", "3", "--memory", str(tmp_path / "memory")]
    assert main([*common, "place", "shelly", "--mib", "64"]) == 0
    assert " is Up on " in capsys.readouterr().out
    assert main([*common, "inventory"]) == 0
    received = capsys.readouterr().out
    assert received.count("\nhost ") == 2
    assert " shelly Up on " in received
    assert main([*common, "restart", "a"]) == 1
    assert capsys.readouterr().err == (
        "small-engine: an unreachable host may still run: make sure that a is off, and confirm it\n"
    )


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("broker", "Cannot use the broker broker: the URL must begin with amqp:// or amqps://"),
        ("amqp://e@127.0.0.1:1", "cannot reach the message bus: amqp://e@127.0.0.1:1: "),
    ],
)
def test_a_broker_that_cannot_be_used(url: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It is one line on standard error."""
    assert main(["--patience", "0.5", url, "inventory"]) == 1
    received = capsys.readouterr().err
    assert received.startswith(f"small-engine: {message}")
    assert received.count("\n") == 1


def test_it_knows_hosts_by_the_console_only() -> None:
    """Of vdsm it imports `vdsm_qmf.console` and nothing else: what it does, any engine can."""
    folder = Path(small_engine.__file__).parent
    imported = {
        node.module
        for file in folder.glob("*.py")
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module
    }
    assert {name for name in imported if name.startswith("vdsm")} == {"vdsm_qmf.console"}
