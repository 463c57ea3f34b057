"""Machines, as an administrator of one host handles them."""

from __future__ import annotations

import json
from pathlib import Path

from vdsm_bridge.testing import TestHost
from vdsm_bridge.testing.polling import until

from .conftest import Run


def wait_until_up(run: Run, name: str) -> None:
    """A machine is launched in the background."""

    def status() -> str:
        return run("vm", "stats", name, "-f", "value", "-c", "status").out.strip()

    until(lambda: status() == "Up", every=0.05, what=f"{name} to be up", detail=status)


def test_life_of_a_machine(machines: TestHost, run: Run) -> None:
    """Created by name and memory, listed, paused, resumed and destroyed by its name."""
    made = json.loads(
        run("vm", "create", "--name", "web", "--memory", "64", "--vcpus", "2", "-f", "json").out
    )
    assert made["memSize"] == 64
    wait_until_up(run, "web")
    head, *rows = run("vm", "list").out.splitlines()
    assert head.split()[:2] == ["NAME", "STATUS"]
    assert ["web", "Up"] in [row.split()[:2] for row in rows]
    for verb, status in (("pause", "Paused"), ("cont", "Up")):
        assert run("vm", verb, "web").code == 0
        assert run("vm", "stats", made["vmId"], "-f", "value", "-c", "status").out.strip() == status
    assert run("vm", "destroy", "web").code == 0
    assert "web" not in run("vm", "list", "-f", "value", "-c", "vmName").out.split()


def test_create_by_file(machines: TestHost, run: Run, home: Path) -> None:
    """A file has VDSM's parameters; its devices may be added to by options."""
    file = home / "vm.json"
    file.write_text(json.dumps({"vmName": "db", "memSize": 32, "custom": {"a": "1"}}))
    words = ["--file", str(file), "--devices", "type=graphics,device=vnc", "--custom", "b=2", "-f", "json"]
    made = json.loads(run("vm", "create", *words).out)
    wait_until_up(run, "db")
    assert made["custom"] == {"a": "1", "b": "2"}
    assert "graphics" in [device["type"] for device in made["devices"]]
    assert run("vm", "destroy", "db").code == 0


def test_capabilities(machines: TestHost, run: Run) -> None:
    """What the host can do, one property of it bare."""
    assert int(run("host", "capabilities", "-f", "value", "-c", "cpuCores").out) > 0
