"""From the start of `vdsmd` to its first reply; memory and threads at 0 and 1,000 machines.

The yardstick of the start is a Python that only imports what the daemon imports.
"""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
import xmlrpc.client
from pathlib import Path

from bench.measure import Row

_IMPORTS = (
    "import vdsm_bridge.daemon.main, vdsm_bridge.base; from vdsm_core.plugins import discover, GROUPS; "
    "[discover(g) for g in GROUPS]"
)


def run(rounds: int = 3) -> list[Row]:
    """Start, memory, threads."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        starts, imports = [], []
        for _ in range(rounds):
            begin = time.perf_counter()
            subprocess.run([sys.executable, "-c", _IMPORTS], check=True)
            imports.append(time.perf_counter() - begin)
            with _Daemon(Path(folder)) as daemon:
                starts.append(daemon.started)
        rows.append(
            Row(
                bench="start",
                case="start to first reply",
                unit="s",
                value=min(starts),
                yardstick=min(imports),
                yardstick_name="importing the same modules",
            )
        )
        rows += _footprint(Path(folder))
    return rows


def _footprint(folder: Path) -> list[Row]:
    bare = _memory_of_python()
    with _Daemon(folder) as daemon:
        # Two rounds of the sampler, so that what it keeps is counted, too.
        time.sleep(5)
        rows = [_footprint_row("0 machines", daemon, bare)]
        host = xmlrpc.client.ServerProxy(f"http://127.0.0.1:{daemon.port}")
        for number in range(1000):
            host.create({"vmId": str(uuid.uuid4()), "vmName": f"m{number}", "memSize": 64})
        time.sleep(6)
        rows.append(_footprint_row("1,000 machines", daemon, bare))
    return rows


def _footprint_row(case: str, daemon: _Daemon, bare: float) -> Row:
    status = dict(
        line.split(":", 1) for line in Path(f"/proc/{daemon.process.pid}/status").read_text().splitlines()
    )
    return Row(
        bench="footprint",
        case=case,
        unit="MiB resident",
        value=int(status["VmRSS"].split()[0]) / 1024,
        yardstick=bare,
        yardstick_name="a bare Python",
        note=f"{status['Threads'].strip()} threads",
    )


def _memory_of_python() -> float:
    code = "print(next(l.split()[1] for l in open('/proc/self/status') if l.startswith('VmRSS')))"
    return int(subprocess.check_output([sys.executable, "-c", code])) / 1024


class _Daemon:
    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.config = folder / "vdsm.toml"
        self.config.write_text(
            f'[daemon]\nstate_dir = "{folder}/state"\nrun_dir = "{folder}"\nlog_level = "ERROR"\n'
            f'[hypervisor]\nuri = "test:///default"\n[access]\nloopback = "admin"\n'
            f"[plugin.xmlrpc]\nport = {self.port}\n"
            f'[plugin.rest]\nport = 0\nsocket = "{folder}/api.sock"\n'
        )

    def __enter__(self) -> _Daemon:
        begin = time.perf_counter()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "vdsm_bridge.daemon", "--config", str(self.config)]
        )
        while True:
            try:
                xmlrpc.client.ServerProxy(f"http://127.0.0.1:{self.port}").ping()
                break
            except ConnectionError:
                if self.process.poll() is not None:
                    raise
                time.sleep(0.005)
        self.started = time.perf_counter() - begin
        return self

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(20)
