"""What calls on real guests take while the QEMU of another one is stopped, against the same calls before."""

from __future__ import annotations

import os
import signal
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from xmlrpc.client import ServerProxy

from bench.measure import Row
from tests.functional.daemon import CONFIG, Daemon
from tests.functional.lab import LabHost, why_unusable
from vdsm_bridge.testing.polling import until

_MACHINES = 4
_CALLS = 300


def run(rounds: int = 3) -> list[Row]:
    """The slowest call but one in a hundred, over XML-RPC; the best of some rounds counts."""
    if why_unusable() is not None:
        return []
    best: dict[str, tuple[float, float]] = {}
    with (
        tempfile.TemporaryDirectory(prefix="vdsm-bench-") as folder,
        LabHost.open() as host,
        Daemon(Path(folder), host.uri, CONFIG) as daemon,
    ):
        ids = [_create(daemon) for _ in range(_MACHINES)]
        until(
            lambda: {vm["status"] for vm in daemon.xmlrpc("list")["vmList"]} == {"Paused"}, 120.0, every=0.2
        )
        pid = host.qemu_pid(ids[0])
        for _ in range(rounds):
            normal = _measure(daemon, ids[1])
            os.kill(pid, signal.SIGSTOP)
            until(lambda: _hangs(daemon, ids[0]), 60.0, every=0.1)
            frozen = _measure(daemon, ids[1])
            os.kill(pid, signal.SIGCONT)
            until(lambda: not _hangs(daemon, ids[0]), 60.0, every=0.1)
            for name, seconds in frozen.items():
                found = seconds, normal[name]
                best[name] = min(best.get(name, found), found, key=lambda pair: pair[0] / pair[1])
        for vm_id in ids:
            daemon.xmlrpc("destroy", vm_id)
    return [
        Row(
            bench="one QEMU is stopped",
            case=f"p99 of {name}",
            unit="ms",
            value=1000 * frozen_,
            yardstick=1000 * normal_,
            yardstick_name="none is",
        )
        for name, (frozen_, normal_) in best.items()
    ]


def _create(daemon: Daemon) -> str:
    vm_id = str(uuid.uuid4())
    parameters = {"vmId": vm_id, "vmName": f"bench-{vm_id[:8]}", "memSize": 32, "kvmEnable": "false"}
    daemon.xmlrpc("create", {**parameters, "launchPaused": "true"})
    return vm_id


def _hangs(daemon: Daemon, vm_id: str) -> bool:
    return int(daemon.xmlrpc("getVmStats", vm_id)["statsList"][0]["monitorResponse"]) == -1


def _measure(daemon: Daemon, vm_id: str) -> dict[str, float]:
    with ServerProxy(daemon.xmlrpc_url) as proxy:
        calls: dict[str, Callable[[], object]] = {
            "list": proxy.list,
            "getAllVmStats": proxy.getAllVmStats,
            "getVmStats": lambda: proxy.getVmStats(vm_id),
            "cont and pause": lambda: (proxy.cont(vm_id), proxy.pause(vm_id)),
        }
        return {name: _p99(call) for name, call in calls.items()}


def _p99(call: Callable[[], object]) -> float:
    times = []
    for _ in range(_CALLS):
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return sorted(times)[-1 - _CALLS // 100]
