"""Changes while the connection to libvirt is down are published within two seconds after it is back."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import soak
from tests.functional.daemon import Daemon
from tests.functional.lab import LabHost
from tests.functional.subscribers import GAP, RestStream
from vdsm_bridge.testing.polling import until

pytestmark = [pytest.mark.functional, pytest.mark.slow]

MACHINES = 5
#: Seconds after the event that the hypervisor is back.
WITHIN = 2.0
XML = """\
<domain type='qemu'><name>{name}</name><uuid>{id}</uuid><memory unit='MiB'>32</memory>
<os><type arch='x86_64' machine='q35'>hvm</type></os><devices/></domain>"""
#: What virsh calls the statuses that these machines can have.
STATUSES = {"running": "Up", "paused": "Paused", "shut off": "Down"}


class RecordedStream(RestStream):
    """A subscriber who keeps a picture of the machines, from nothing but events."""

    def __init__(self, daemon: Daemon) -> None:
        super().__init__(daemon)
        #: When each event came.
        self.arrived: list[float] = []

    def listen(self, after: int) -> Iterator[list[dict[str, Any]]]:
        """As any other; looks at the clock."""
        for part in super().listen(after):
            self.arrived += [time.monotonic()] * len(part)
            yield part

    def picture(self, events: int | None = None) -> dict[str, str]:
        """Statuses by id, after so many events; after all of them."""
        machines: dict[str, str] = {}
        for event in self.seen[:events]:
            params = event["params"]
            if event["id"].startswith("|virt|VM_status|"):
                machines[params["vmId"]] = params["status"]
            elif event["id"].startswith("|virt|VM_gone|"):
                machines.pop(params["vmId"], None)
        return machines

    def having(self, name: str, **params: Any) -> list[dict[str, Any]]:
        """The events of an id, with at least these parameters."""
        return [e for e in list(self.seen) if e["id"] == name and params.items() <= e["params"].items()]


@pytest.fixture
def machines(lab_host: LabHost) -> Iterator[list[str]]:
    """Paused machines of another client of libvirt."""
    ids = [str(uuid.uuid4()) for _ in range(MACHINES)]
    for number, vm_id in enumerate(ids):
        file = lab_host.root / f"{vm_id}.xml"
        file.write_text(XML.format(name=f"burst-{number}", id=vm_id))
        lab_host.virsh("define", str(file))
        lab_host.virsh("start", "--paused", vm_id)
    yield ids
    for vm_id in ids:
        for command in ("destroy", "undefine"):
            with contextlib.suppress(subprocess.CalledProcessError):
                lab_host.virsh(command, vm_id)


def truth(host: LabHost) -> dict[str, str]:
    """Statuses by id, as virsh has them."""
    ids = host.virsh("list", "--all", "--uuid").split()
    return {vm_id: STATUSES[host.virsh("domstate", vm_id).strip()] for vm_id in ids}


@contextlib.contextmanager
def burst(host: LabHost, machines: list[str]) -> Iterator[None]:
    """A thread that resumes and suspends the machines as fast as libvirt allows."""
    commands = "".join(f"resume {vm_id}\nsuspend {vm_id}\n" for _ in range(200) for vm_id in machines)
    with subprocess.Popen(
        ["virsh", "--quiet", "--connect", host.uri], stdin=subprocess.PIPE, text=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as virsh:  # fmt: skip
        assert virsh.stdin is not None
        try:
            virsh.stdin.write(commands)
            virsh.stdin.flush()
            yield
        finally:
            virsh.kill()


@pytest.mark.parametrize("abruptly", [False, True], ids=["stopped", "killed"])
def test_libvirtd_restarts_in_a_burst(
    lab_host: LabHost,
    machines: list[str],
    tmp_path: Path,
    abruptly: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A picture made of events alone equals `virsh list` soon after libvirt is back."""
    chance = soak.chance(f"libvirtd restarts {abruptly}")
    with Daemon(tmp_path, lab_host.uri) as daemon:
        stream = RecordedStream(daemon)
        stream.start()
        until(lambda: set(machines) <= set(stream.picture()), every=0.1, detail=daemon.log)
        with burst(lab_host, machines):
            before = len(stream.seen)
            until(lambda: len(stream.seen) > before + 20, every=0.1, detail=daemon.log)
            time.sleep(chance.uniform(0.0, 0.5))
            lab_host.stop(abruptly=abruptly)
        # A machine ends while the connection is down.
        os.kill(lab_host.qemu_pid(machines[0]), signal.SIGKILL)
        until(lambda: stream.having("|host|hypervisor|no_id", state="lost"), every=0.1, detail=daemon.log)
        lab_host.start()
        lab_host.virsh("undefine", machines[0])
        # Nothing changes any more.
        at_last = truth(lab_host)
        until(lambda: stream.having("|host|hypervisor|no_id", state="back"), 30, every=0.1, detail=daemon.log)
        until(
            lambda: stream.picture() == at_last,
            every=0.1,
            detail=lambda: (stream.picture(), at_last, daemon.log()),
        )
        (back,) = stream.having("|host|hypervisor|no_id", state="back")
        first = stream.seen.index(back)
        right = next(n for n in range(first + 1, len(stream.seen) + 1) if stream.picture(n) == at_last)
        took = stream.arrived[right - 1] - stream.arrived[first]
        (reconciled,) = stream.having("|virt|reconciled|no_id")
        stream.stop()
    assert took < WITHIN
    with capsys.disabled():
        sys.stdout.write(f"\nthe picture was right {took:.3f} s after the hypervisor was back\n")
    # Gone, if the daemon came after it was undefined.
    assert machines[0] in {*reconciled["params"]["gone"], *reconciled["params"]["changed"]}
    assert reconciled["params"]["added"] == []
    assert GAP not in {event["id"] for event in stream.seen}
    numbers = [event["seq"] for event in stream.seen]
    assert numbers == list(range(1, len(numbers) + 1))
