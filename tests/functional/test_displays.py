"""Displays of real guests: no viewer gets in without a password."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.functional.daemon import CONFIG, Daemon
from tests.functional.lab import LabHost
from vdsm_bridge.testing.polling import until

pytestmark = [pytest.mark.functional, pytest.mark.slow]

VNC = Path(__file__).with_name("vnc.py")
Make = Callable[..., tuple[Daemon, str]]


@pytest.fixture
def make(lab_host: LabHost, tmp_path: Path) -> Iterator[Make]:
    """A function that starts a daemon and a paused machine with a display of VNC."""
    made: list[str] = []
    daemons: list[Daemon] = []

    def start(options: str = "") -> tuple[Daemon, str]:
        daemon = Daemon(tmp_path, lab_host.uri, f"{CONFIG}[plugin.virt]\n{options}\n")
        daemon.start()
        daemons.append(daemon)
        params = {
            "vmName": "shown",
            "memSize": 64,
            "kvmEnable": "false",
            "emulatedMachine": "q35",
            "launchPaused": "true",
            "display": "vnc",
        }
        vm_id = daemon.rest("POST", "/api/vms", params)["vmId"]
        made.append(vm_id)
        until(lambda: stats(daemon, vm_id)["status"] == "Paused", detail=lambda: stats(daemon, vm_id))
        until(lambda: port(daemon, vm_id) > 0)
        return daemon, vm_id

    yield start
    for vm_id in made:
        lab_host.virsh("destroy", vm_id)
        lab_host.virsh("undefine", vm_id)
    for daemon in daemons:
        daemon.stop()


def stats(daemon: Daemon, vm_id: str) -> dict[str, Any]:
    """A machine's statistics."""
    (found,) = daemon.rest("GET", f"/api/vms/{vm_id}/stats")
    return dict(found)


def port(daemon: Daemon, vm_id: str) -> int:
    """The port of a machine's display."""
    return int(stats(daemon, vm_id)["displayPort"])


def look(host: LabHost, number: int, password: str = "") -> dict[str, Any]:
    """What a viewer within the lab's network gets to see."""
    inside = ["nsenter", "--target", str(host.namespaces), "--net"]
    words = [sys.executable, str(VNC), "127.0.0.1", str(number), *([password] if password else [])]
    answer = subprocess.run([*inside, *words], capture_output=True, text=True, check=True, timeout=30)
    return dict(json.loads(answer.stdout))


def test_no_password_no_viewer(make: Make, lab_host: LabHost) -> None:
    """A viewer is asked for a password and refused, until `VM.setTicket` sets one, which expires again.

    Neither libvirt's document for readers, nor the log, nor a file of the daemon has it.
    """
    daemon, vm_id = make()
    number = port(daemon, vm_id)
    assert look(lab_host, number, "guessed") == {"offered": [2], "admitted": False}
    initial = lab_host.virsh("dumpxml", "--security-info", vm_id)
    first = initial.partition("passwd='")[2].partition("'")[0]
    assert len(first) == 8
    assert look(lab_host, number, first) == {"offered": [2], "admitted": False}

    daemon.xmlrpc("setVmTicket", vm_id, "tick8et", "60", "disconnect", {})
    assert look(lab_host, number, "tick8et") == {"offered": [2], "admitted": True}
    assert look(lab_host, number, "guessed") == {"offered": [2], "admitted": False}
    daemon.xmlrpc("setVmTicket", vm_id, "tick9et", "1", "disconnect", {})
    until(
        lambda: not look(lab_host, number, "tick9et")["admitted"],
        30.0,
        every=0.5,
        what="the end of the ticket",
    )

    for text in (lab_host.virsh("dumpxml", vm_id), daemon.log(), json.dumps(daemon.rest("GET", "/api/vms"))):
        assert first not in text
        assert "tick" not in text.replace("tickpolicy", "")
    secrets = [word.encode() for word in ("tick8et", "tick9et", first)]
    for path in daemon.folder.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        assert not [word for word in secrets if word in content], path
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has just ended
            assert not [word for word in secrets if word in entry.read_bytes()], entry


def test_refused_tickets(make: Make) -> None:
    """A password that VNC would cut off, an empty one and SASL are refused."""
    daemon, vm_id = make()
    for password, params in (("ninechars", {}), ("", {}), ("x", {"fips": "true"})):
        status = daemon.reply("setVmTicket", vm_id, password, "60", "disconnect", params)["status"]
        assert status["code"] != 0
        assert "ninechars" not in status["message"]


def test_open_displays(make: Make, lab_host: LabHost) -> None:
    """An engine that needs it gets displays that are open, by an option."""
    daemon, vm_id = make("open_displays = true")
    assert look(lab_host, port(daemon, vm_id)) == {"offered": [1]}
