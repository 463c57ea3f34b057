"""The daemon manages real QEMU guests over every binding, and across restarts of each process."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.functional.daemon import CONFIG, Daemon, Refused
from tests.functional.lab import BootFiles, LabHost
from tests.functional.site import Site
from vdsm_bridge.testing.polling import until

pytestmark = [pytest.mark.functional, pytest.mark.slow]


@pytest.fixture
def site(lab_host: LabHost, boot: BootFiles, tmp_path: Path) -> Iterator[Site]:
    """A daemon of the test's own."""
    config = CONFIG + '[plugin.virt]\nkept_custom = ["purpose"]\n'
    with Daemon(tmp_path, lab_host.uri, config) as daemon:
        site = Site(lab_host, boot, daemon)
        try:
            yield site
        finally:
            site.clean()


def at_work(now: dict[str, Any]) -> set[str]:
    """Which kinds of statistics show that a guest works: rates need two samples, so all come with time."""
    kinds = {
        "cpu": float(now.get("cpuUser", 0)) + float(now.get("cpuSys", 0)) > 0,
        "memory": float(now.get("memUsage", 0)) > 0,
        "disk": any(float(disk["readRate"]) > 0 < float(disk["writeRate"]) for disk in now["disks"].values()),
        "net": any(int(nic["rx"]) > 0 < int(nic["tx"]) for nic in now["network"].values()),
    }
    return {kind for kind, works in kinds.items() if works}


def not_responding(stats: dict[str, Any]) -> bool:
    """Whether a machine is shown as one that does not answer, with the reason."""
    return int(stats["monitorResponse"]) == -1 and bool(stats["notResponding"])


def test_a_life(site: Site) -> None:
    """Created over XML-RPC, watched over REST, paused, resumed, measured, shut down, ended with vdsmsh."""
    vm_id = site.create("life")
    assert vm_id in {vm["vmId"] for vm in site.daemon.rest("GET", "/api/vms")}
    site.wait_until_booted(vm_id)

    seen: set[str] = set()

    def everything_seen() -> bool:
        seen.update(at_work(site.stats(vm_id)))
        return seen == {"cpu", "memory", "disk", "net"}

    until(everything_seen, every=0.1, detail=lambda: (seen, site.stats(vm_id)))

    site.daemon.xmlrpc("pause", vm_id)
    assert site.status(vm_id) == "Paused"
    assert site.host.virsh("domstate", vm_id).strip() == "paused"
    site.daemon.xmlrpc("cont", vm_id)
    until(lambda: site.status(vm_id) in ("Up", "Powering up"), every=0.1)
    assert site.host.virsh("domstate", vm_id).strip() == "running"

    site.daemon.xmlrpc("shutdown", vm_id, "0", "the test is over")
    site.wait_for(vm_id, "Down")
    assert site.stats(vm_id)["exitCode"] == 0
    assert "life" in site.daemon.vdsmsh("vm", "list")

    site.daemon.vdsmsh("vm", "destroy", "life")
    with pytest.raises(Refused) as refused:
        site.stats(vm_id)
    assert refused.value.args[0] == 404
    assert vm_id not in site.host.virsh("list", "--all", "--uuid")


def test_the_daemon_is_killed(site: Site) -> None:
    """`kill -9` of the daemon leaves the guest running, and the next daemon finds it as it was."""
    vm_id = site.create("kept")
    site.wait_until_booted(vm_id)
    before = site.host.qemu_pid(vm_id)

    site.daemon.kill()
    assert site.host.virsh("domstate", vm_id).strip() == "running"
    site.daemon.start()

    (found,) = site.daemon.xmlrpc("list", True, [vm_id])["vmList"]
    assert (found["vmName"], found["memSize"], found["custom"]) == ("kept", 128, {"purpose": "lab"})
    site.wait_for(vm_id, "Up")
    site.daemon.xmlrpc("pause", vm_id)
    assert site.host.virsh("domstate", vm_id).strip() == "paused"
    assert site.host.qemu_pid(vm_id) == before
    site.daemon.xmlrpc("destroy", vm_id)
    assert vm_id not in site.host.virsh("list", "--all", "--uuid")


@pytest.mark.parametrize("abruptly", [False, True], ids=["stopped", "killed"])
def test_libvirtd_is_restarted(site: Site, abruptly: bool) -> None:
    """Without libvirtd the daemon still answers; with it again, the same daemon rules the same guest."""
    vm_id = site.create("through", launchPaused="true")
    site.wait_for(vm_id, "Paused")
    before = site.host.qemu_pid(vm_id)

    until(lambda: float(site.stats(vm_id)["statsAge"]) > 0, every=0.1, what="the first sample")

    site.host.stop(abruptly=abruptly)
    try:
        until(lambda: not_responding(site.stats(vm_id)), every=0.1, detail=lambda: site.stats(vm_id))
        assert vm_id in {vm["vmId"] for vm in site.daemon.rest("GET", "/api/vms")}
        age = float(site.stats(vm_id)["statsAge"])
        until(
            lambda: float(site.stats(vm_id)["statsAge"]) > age + 1,
            5.0,
            every=0.1,
            detail=lambda: site.stats(vm_id),
        )
        with pytest.raises(Refused) as refused:
            site.daemon.rest("POST", f"/api/vms/{vm_id}/cont", {})
        assert refused.value.args[0] == 503
    finally:
        site.host.start()

    def resumed() -> bool:
        try:
            site.daemon.rest("POST", f"/api/vms/{vm_id}/cont", {})
        except Refused as refused:
            if refused.args[0] != 503:  # libvirtd is not there yet
                raise
            return False
        return True

    until(resumed, every=0.1, detail=site.daemon.log)
    assert site.host.virsh("domstate", vm_id).strip() == "running"
    # Reported by an event from libvirt, not by a call.
    site.host.virsh("suspend", vm_id)
    site.wait_for(vm_id, "Paused")
    assert site.host.qemu_pid(vm_id) == before
    site.daemon.xmlrpc("destroy", vm_id)


def test_one_machine_is_stuck(site: Site) -> None:
    """A QEMU that hangs is shown as such; lists, statistics and verbs of the others go on at full speed."""
    stuck, *others = (site.create(name, launchPaused="true") for name in ("stuck", "free-1", "free-2"))
    for vm_id in (stuck, *others):
        site.wait_for(vm_id, "Paused")
    pid = site.host.qemu_pid(stuck)
    os.kill(pid, signal.SIGSTOP)
    try:
        until(lambda: not_responding(site.stats(stuck)), every=0.1, detail=lambda: site.stats(stuck))
        age = float(site.stats(stuck)["statsAge"])
        started = time.monotonic()
        for vm_id in others:
            site.daemon.xmlrpc("cont", vm_id)
            until(lambda vm_id=vm_id: site.status(vm_id) in ("Up", "Powering up"), every=0.1)
            site.daemon.xmlrpc("pause", vm_id)
            assert float(site.stats(vm_id)["statsAge"]) < 5
        assert len(site.daemon.xmlrpc("getAllVmStats")["statsList"]) == 3
        assert len(site.daemon.xmlrpc("list")["vmList"]) == 3
        # Two machines resumed, seen and paused, and all statistics: the stuck one's deadline is not in it.
        assert time.monotonic() - started < 5
        assert float(site.stats(stuck)["statsAge"]) > age
    finally:
        os.kill(pid, signal.SIGCONT)
    until(lambda: int(site.stats(stuck)["monitorResponse"]) == 0, every=0.1, detail=lambda: site.stats(stuck))
    for vm_id in (stuck, *others):
        site.daemon.xmlrpc("destroy", vm_id)
    assert site.daemon.rest("GET", "/api/vms") == []
