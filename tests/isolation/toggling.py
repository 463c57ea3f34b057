"""A daemon under load while a binding is switched off and on; `python -m tests.isolation.toggling 100`."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import xmlrpc.client
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vdsm_bridge.daemon import status_file
from vdsm_bridge.daemon.status_file import Outcome
from vdsm_bridge.testing.polling import until
from vdsm_bridge.testing.ports import free_ports

CONFIG = """
[daemon]
state_dir = "{folder}/state"
run_dir = "{folder}/run"
start_timeout = 5.0
grace = {grace}
log_level = "WARNING"
[access]
loopback = "admin"
[hypervisor]
uri = "test:///default"
[plugin.rest]
port = 0
socket = "{folder}/api.sock"
"""
#: A feature with a call that works all the time until its answer. Others wait for events, which ends at once.
SNAIL = """
import time
from vdsm_bridge import Feature, Namespace, query

class Snail(Namespace):
    'A slow one.'
    @query(since="1.0")
    def crawl(self, seconds: float) -> float:
        'Crawl.'
        time.sleep(seconds)
        return seconds

class Plugin(Feature):
    def namespaces(self):
        return [Snail()]
"""
CLIENTS = 64
LONG_CALLERS = 4
#: Seconds that each of their calls takes.
LONG = 0.1
#: Seconds between two calls of one client.
PACE = 0.2


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def connect(self) -> None:
        """To the path that stands for the host."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.host)


class Daemon:
    """A daemon that is configured by a folder."""

    def __init__(self, folder: Path, grace: float = 4.0) -> None:
        self.folder = folder
        self.late = folder / "late"
        for each in (folder / "conf.d", self.late):
            each.mkdir(parents=True)
        (folder / "vdsm.toml").write_text(CONFIG.format(folder=folder, grace=grace))
        self.configure("xmlrpc", f"port = {free_ports(1)[0]}")
        self.install("snail", "vdsm.verbs", SNAIL)

    def start(self) -> None:
        """Start it."""
        with (self.folder / "log").open("wb") as log:
            command = [sys.executable, "-m", "vdsm_bridge.daemon", "--config", str(self.folder)]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=self._environment())

    def wait_until_reported(self) -> None:
        """Wait until it is up."""
        self.wait_for(lambda: status_file.last_outcome(self.run_dir) is not None)

    def wait_for(self, reached: Callable[[], bool]) -> None:
        """Wait until something has come about."""

        def held() -> bool:
            assert self.process.poll() is None, self.log
            return reached()

        until(held, 90.0, every=0.02, detail=lambda: self.log)

    def install(self, name: str, group: str, code: str, *, version: str = "1.0") -> None:
        """Put a distribution where it looks, as an installer would."""
        info = self.late / f"{name}-{version}.dist-info"
        (self.late / f"{name}.py").write_text(code)
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[{group}]\n{name} = {name}:Plugin\n")

    def uninstall(self, name: str, *, version: str = "1.0") -> None:
        """Take it away."""
        shutil.rmtree(self.late / f"{name}-{version}.dist-info")

    @property
    def run_dir(self) -> str:
        """Where it is found."""
        return str(self.folder / "run")

    @property
    def log(self) -> str:
        """Return its log."""
        return (self.folder / "log").read_text(errors="replace")

    def configure(self, name: str, table: str, *, file: str = "50") -> None:
        """Write a plugin's table."""
        text = f"[plugin.{name}]\n{table}\n"
        (self.folder / "conf.d" / f"{file}-{name}.toml").write_text(text)

    def reload(self) -> Outcome:
        """Apply the configuration."""
        return status_file.reload(self.run_dir, 90)

    def switch(self, name: str, *, on: bool) -> Outcome:
        """Switch a plugin, and apply it."""
        self.configure(name, f"enabled = {str(on).lower()}", file="60")
        return self.reload()

    def tool(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `vdsm-tool`, which sees what the daemon sees."""
        command = [sys.executable, "-m", "vdsm_bridge.tool", *arguments, "--config", str(self.folder)]
        return subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=120, env=self._environment()
        )

    def _environment(self) -> dict[str, str]:
        path = os.pathsep.join(filter(None, [str(self.late), os.environ.get("PYTHONPATH", "")]))
        return {**os.environ, "PYTHONPATH": path}

    def rest(self, path: str) -> Any:
        """The decoded body of one GET request."""
        connection = UnixConnection(str(self.folder / "api.sock"), timeout=30)
        try:
            connection.request("GET", path, headers={"Host": "localhost"})
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    def plugins(self) -> dict[str, dict[str, Any]]:
        """Return the plugins of `Host.getPlugins` by name."""
        return {plugin["name"]: plugin for plugin in self.rest("/api/host/plugins")}

    def xmlrpc(self) -> str:
        """Where XML-RPC listens, or nothing."""
        address = self.plugins()["xmlrpc"]["address"]
        return str(address[0]) if address else ""

    def held(self) -> tuple[int, int]:
        """How many file descriptors and threads it holds."""
        proc = Path("/proc", str(self.process.pid))
        return len(list((proc / "fd").iterdir())), len(list((proc / "task").iterdir()))

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@contextmanager
def daemon(folder: Path, grace: float = 4.0) -> Iterator[Daemon]:
    """A daemon that is ready."""
    made = Daemon(folder, grace)
    made.start()
    try:
        made.wait_until_reported()
        yield made
    finally:
        made.stop()


@dataclass
class Seen:
    """What the clients have seen."""

    #: Seconds that each REST call took.
    rest: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    #: XML-RPC calls that were answered in full, and those that were cut after the connection was made.
    xmlrpc: int = 0
    cut: list[str] = field(default_factory=list)
    refused: int = 0

    def summary(self) -> str:
        """In one line."""
        times = ", ".join(f"p{part} {quantile(self.rest, part / 100):.1f}" for part in (50, 99, 99.9, 100))
        return (
            f"{len(self.rest)} REST calls, {len(self.failed)} failed; ms: {times}; XML-RPC: "
            f"{self.xmlrpc} answered, {len(self.cut)} cut {self.cut[:3]}, {self.refused} refused"
        )


class Load:
    """REST clients at a pace, and some that make long XML-RPC calls whenever they can connect."""

    def __init__(self, daemon: Daemon, clients: int = CLIENTS, path: str = "/api/host/plugins") -> None:
        self.seen = Seen()
        self._path = path
        self._daemon = daemon
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._rest, args=(n,)) for n in range(clients)]
        url = daemon.xmlrpc()
        for _ in range(LONG_CALLERS // 2):
            with xmlrpc.client.ServerProxy(url) as proxy:
                reply: Any = getattr(proxy, "Events.subscribe")("|nothing|*")
            subscription = reply["result"]["subscriptionID"]
            for call in (("Events.next", subscription, LONG), ("Snail.crawl", LONG)):
                self._threads.append(threading.Thread(target=self._xmlrpc, args=(url, *call)))

    def __enter__(self) -> Seen:
        for thread in self._threads:
            thread.start()
        return self.seen

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _rest(self, number: int) -> None:
        connection = UnixConnection(str(self._daemon.folder / "api.sock"), timeout=30)
        self._over.wait(PACE * number / CLIENTS)
        while not self._over.wait(PACE):
            began = time.perf_counter()
            try:
                connection.request("GET", self._path, headers={"Host": "localhost"})
                answer = connection.getresponse()
                answer.read()
                if answer.status != 200:
                    self.seen.failed.append(f"HTTP {answer.status}")
            except (OSError, http.client.HTTPException) as error:
                self.seen.failed.append(repr(error))
                connection.close()
            self.seen.rest.append(time.perf_counter() - began)
        connection.close()

    def _xmlrpc(self, url: str, method: str, *arguments: Any) -> None:
        host, port = url.removeprefix("http://").partition("/")[0].split(":")
        while not self._over.is_set():
            began = time.perf_counter()
            try:
                connected = socket.create_connection((host, int(port)), 5)
            except ConnectionRefusedError:
                self.seen.refused += 1
                self._over.wait(0.005)
                continue
            except OSError as error:
                self.seen.cut.append(f"{error!r} while it connected")
                continue
            try:
                _long_call(connected, method, arguments)
                self.seen.xmlrpc += 1
            except (OSError, http.client.HTTPException) as error:
                self.seen.cut.append(f"{error!r} after {time.perf_counter() - began:.3f} s")
            finally:
                connected.close()


def _long_call(connected: socket.socket, method: str, arguments: tuple[Any, ...]) -> None:
    """One request, answered at its end."""
    connection = http.client.HTTPConnection("localhost", timeout=30)
    connection.sock = connected
    body = xmlrpc.client.dumps(arguments, method)
    connection.request("POST", "/RPC2", body, {"Content-Type": "text/xml"})
    answer = connection.getresponse()
    ((reply,), _) = xmlrpc.client.loads(answer.read())
    if answer.status != 200 or reply["status"]["code"] != 0:  # type: ignore[index,call-overload]
        raise http.client.HTTPException(f"HTTP {answer.status}, {reply}")


def quantile(values: list[float], part: float) -> float:
    """A quantile, in milliseconds."""
    return 1000 * sorted(values)[min(len(values) - 1, int(part * len(values)))]


def main(toggles: int) -> None:
    """Toggle so many times, and print the figures."""
    with tempfile.TemporaryDirectory() as folder, daemon(Path(folder) / "etc") as running:
        with Load(running) as quiet:
            time.sleep(10)
        with Load(running) as busy:
            began = time.monotonic()
            for _ in range(toggles):
                assert running.switch("xmlrpc", on=False).applied
                assert running.switch("xmlrpc", on=True).applied
            took = time.monotonic() - began
        time.sleep(2)
        before = running.held()  # REST keeps the threads that the load has called for
        for on in (False, True) * toggles:
            running.switch("xmlrpc", on=on)
        time.sleep(1)
        after = running.held()
        for name, seen in (("quiet", quiet), ("toggled", busy)):
            sys.stdout.write(f"{name}: {seen.summary()}\n")
        sys.stdout.write(f"{toggles} times off and on in {took:.1f} s; ")
        sys.stdout.write(f"descriptors, threads: {before}, after as many without load {after}\n")


if __name__ == "__main__":
    main(int(sys.argv[1]))
