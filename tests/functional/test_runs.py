"""What belongs to a run of a real guest: its end and its pauses, with their reasons, and its time."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.functional.daemon import CONFIG, Daemon
from tests.functional.lab import BootFiles, GuestAgent, LabHost
from tests.functional.site import BOOT, Site
from vdsm_bridge.testing.polling import until

pytestmark = [pytest.mark.functional, pytest.mark.slow]

RUN = "urn:vdsm:run:1"


@pytest.fixture(scope="module")
def host(lab: None) -> Iterator[LabHost]:
    """A libvirtd of this module's own, which is killed in it."""
    with LabHost.open() as host:
        yield host


@pytest.fixture
def site(host: LabHost, boot: BootFiles, tmp_path: Path) -> Iterator[Site]:
    """A daemon on it."""
    with Daemon(tmp_path, host.uri, CONFIG) as daemon:
        site = Site(host, boot, daemon)
        try:
            yield site
        finally:
            site.clean()


def with_agent(site: Site, boot: BootFiles, name: str) -> tuple[str, GuestAgent]:
    """A machine whose guest has an agent that is connected."""
    vm_id = site.create(name, boot.with_agent())
    site.wait_for(vm_id, "Up", "Powering up", within=BOOT)
    agent = GuestAgent(site.host, vm_id)
    agent.wait()
    return vm_id, agent


def paused(site: Site, name: str, **extra: Any) -> str:
    """A machine whose guest never runs: it complies with nothing."""
    vm_id = site.create(name, launchPaused="true", **extra)
    site.wait_for(vm_id, "Paused")
    return vm_id


def mark(site: Site, vm_id: str, *flags: str) -> str:
    """The mark of a machine's run; empty if it has none."""
    return (
        site.host.virsh("metadata", vm_id, RUN, *flags)
        if vm_id in site.host.virsh("list", "--all", "--uuid")
        else ""
    )


def ended(site: Site, vm_id: str) -> tuple[int, int]:
    """How a machine ended, once it is down: exit code and reason."""
    site.wait_for(vm_id, "Down", within=40)
    stats = site.stats(vm_id)
    return int(stats["exitCode"]), int(stats["exitReason"])


def test_qemu_ends_by_a_signal(site: Site) -> None:
    """SIGTERM is no shutdown of the guest's own; after SIGKILL the connection to QEMU is lost."""
    for name, number, expected in (("termed", signal.SIGTERM, (1, 11)), ("killed", signal.SIGKILL, (1, 2))):
        vm_id = paused(site, name)
        pid = site.host.qemu_pid(vm_id)
        # The statistics learn it a moment after the event of the start.
        until(lambda vm_id=vm_id, pid=pid: int(site.stats(vm_id)["pid"]) == pid, every=0.1)  # type: ignore[misc]
        os.kill(pid, number)
        assert ended(site, vm_id) == expected, site.stats(vm_id)
        site.daemon.xmlrpc("destroy", vm_id)


def test_an_end_that_no_daemon_saw(site: Site) -> None:
    """It has the same reason as one that was seen; one that libvirt has forgotten is no start that failed."""
    gone, shut, cut = (paused(site, name) for name in ("gone", "shut", "cut"))
    until(lambda: all('"live":true' in mark(site, vm_id) for vm_id in (gone, shut, cut)), every=0.1)
    pids = [site.host.qemu_pid(vm_id) for vm_id in (gone, cut)]
    site.daemon.kill()
    os.kill(pids[0], signal.SIGKILL)
    site.host.virsh("destroy", shut)
    until(lambda: gone not in site.host.virsh("list", "--uuid"), every=0.1)
    # A power failure: QEMU and libvirt end at once, and the boot after it has another id.
    written = mark(site, cut, "--config")
    document = re.sub(r'"boot_id":"[^"]*"', '"boot_id":"an earlier one"', re.search(r">(.*)<", written)[1])  # type: ignore[index]
    site.host.virsh("metadata", cut, RUN, "--config", "--key", "vdsmrun", "--set", f"<run>{document}</run>")
    site.host.stop(abruptly=True)
    os.kill(pids[1], signal.SIGKILL)
    for path in (site.host.root / "run/qemu").glob("*.xml"):
        path.unlink()
    site.host.start()
    site.daemon.start()
    # The next libvirtd remembers nothing of the three.
    assert [ended(site, vm_id) for vm_id in (gone, shut, cut)] == [(1, 2), (1, 2), (1, 11)]
    for vm_id in (gone, shut, cut):
        site.daemon.xmlrpc("destroy", vm_id)


def test_a_full_disk(site: Site) -> None:
    """ENOSPC stays ENOSPC through kills of the daemon and of libvirtd, and the time of the run goes on."""
    disk = site.host.cramped_disk("full")
    drive = {
        "type": "disk",
        "device": "disk",
        "iface": "virtio",
        "format": "raw",
        "path": str(disk),
        "propagateErrors": "off",
    }
    small = {**drive, "path": str(site.host.disk("full-a"))}
    boot = site.boot_with("lab.play")
    vm_id = site.create("full", boot, devices=[small, drive])
    site.wait_for(vm_id, "Paused", within=BOOT)
    until(lambda: site.stats(vm_id)["pauseCode"] == "ENOSPC", every=0.1, detail=lambda: site.stats(vm_id))
    until(lambda: "ENOSPC" in mark(site, vm_id), every=0.1)
    elapsed = int(site.stats(vm_id)["elapsedTime"])
    site.daemon.kill()
    site.daemon.start()
    until(lambda: site.stats(vm_id)["pauseCode"] == "ENOSPC", every=0.1, detail=lambda: site.stats(vm_id))
    assert int(site.stats(vm_id)["elapsedTime"]) >= elapsed
    # Without a mark the disks are asked.
    site.daemon.kill()
    site.host.virsh("metadata", vm_id, RUN, "--live", "--remove")
    site.host.stop(abruptly=True)
    site.host.start()
    site.daemon.start()
    until(lambda: site.stats(vm_id)["pauseCode"] == "ENOSPC", every=0.1, detail=lambda: site.stats(vm_id))
    assert int(site.stats(vm_id)["elapsedTime"]) >= elapsed, "as old as its process"
    site.daemon.xmlrpc("destroy", vm_id)


def test_a_forced_shutdown_after_a_polite_one(site: Site) -> None:
    """The guest complies with neither; the second request ends it, and a polite third one keeps that."""
    # Its firmware finds nothing to boot.
    vm_id = site.create("forced", kernel=None, initrd=None, kernelArgs=None)
    site.wait_for(vm_id, "Up")
    site.daemon.xmlrpc("shutdown", vm_id, "0", "politely")
    site.daemon.xmlrpc("shutdown", vm_id, "0", "by force", False, "2", True)
    site.daemon.xmlrpc("shutdown", vm_id, "0", "politely", False, "60", False)
    assert ended(site, vm_id) == (0, 6)
    site.daemon.xmlrpc("destroy", vm_id)


def test_nothing_can_carry_out_a_shutdown(site: Site) -> None:
    """Without agent and ACPI: VDSM's code 4; by force the machine ends."""
    vm_id = paused(site, "deaf", acpiEnable="false")
    refused = site.daemon.reply("shutdown", vm_id, "0", "politely")["status"]
    assert refused["code"] == 4, refused
    assert "neither" in refused["message"] or "no agent" in refused["message"]
    site.daemon.xmlrpc("shutdown", vm_id, "0", "by force", False, "1", True)
    assert ended(site, vm_id) == (0, 6)
    site.daemon.xmlrpc("destroy", vm_id)


def test_an_agent_is_silent(site: Site, boot: BootFiles) -> None:
    """The way of the agent fails, ACPI is the next one; the guest shut down on request."""
    vm_id, agent = with_agent(site, boot, "silent")
    agent.fall_silent(30)
    site.daemon.xmlrpc("shutdown", vm_id, "0", "politely", False, "60", False)
    assert ended(site, vm_id) == (0, 6)
    site.daemon.xmlrpc("destroy", vm_id)


def test_reboots(site: Site, boot: BootFiles) -> None:
    """The time of the run begins anew; after `setDestroyOnReboot`, which outlasts a kill, the run ends."""
    vm_id, agent = with_agent(site, boot, "reboots")
    until(lambda: int(site.stats(vm_id)["elapsedTime"]) > 2, every=0.2)
    before = int(site.stats(vm_id)["elapsedTime"])
    site.daemon.xmlrpc("shutdown", vm_id, "0", "again", True)
    until(lambda: int(site.stats(vm_id)["elapsedTime"]) < before, BOOT, every=0.1)
    site.wait_for(vm_id, "Up")
    agent.wait()
    site.daemon.rest("POST", "/api/verbs/VM.setDestroyOnReboot", {"vmID": vm_id})
    until(lambda: '"destroy_on_reboot":true' in mark(site, vm_id), every=0.1)
    site.daemon.kill()
    site.daemon.start()
    site.wait_for(vm_id, "Up")
    agent.start("/bin/busybox", "sh", "-c", "sleep 1; reboot -f")
    assert ended(site, vm_id) == (0, 13)
    site.daemon.xmlrpc("destroy", vm_id)
