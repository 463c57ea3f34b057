"""A QEMU that is stopped, and one whose reads hang: the rest of the host goes on; both can be destroyed."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.functional.daemon import CONFIG, Daemon
from tests.functional.lab import BootFiles, LabHost
from tests.functional.site import Site
from tests.functional.subscribers import RestStream
from vdsm_bridge.testing.polling import until

pytestmark = [pytest.mark.functional, pytest.mark.slow]

#: Seconds of each call to libvirt, so that one that hangs is not waited for long.
DEADLINE = 3.0


@pytest.fixture(scope="module")
def site(lab: None, boot: BootFiles, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A daemon on a libvirtd of this module's own: what hangs there would hold up others."""
    config = CONFIG.replace("sample_interval", f"call_deadline = {DEADLINE}\nsample_interval")
    folder = tmp_path_factory.mktemp("frozen")
    with LabHost.open() as host, Daemon(folder, host.uri, config) as daemon:
        site = Site(host, boot, daemon)
        try:
            yield site
        finally:
            site.clean()


@pytest.fixture(scope="module")
def free(site: Site) -> str:
    """A machine that nothing is the matter with."""
    vm_id = site.create("free", launchPaused="true")
    site.wait_for(vm_id, "Paused", within=60)
    return vm_id


def listed(site: Site) -> set[str]:
    """The machines that the daemon lists."""
    return {vm["vmId"] for vm in site.daemon.xmlrpc("list")["vmList"]}


def check_the_rest(site: Site, free: str, stuck: str, stream: RestStream) -> None:
    """Lists, statistics, events, and verbs on another machine: none waits for the one that hangs."""

    def published(begin: int) -> set[str]:
        events = [event for event in stream.seen[begin:] if event["id"] == f"|virt|VM_status|{free}"]
        return {event["params"]["status"] for event in events}

    for verb, statuses in (("cont", {"Up", "Powering up"}), ("pause", {"Paused"})):
        begin = len(stream.seen)
        site.daemon.xmlrpc(verb, free)
        assert site.status(free) in statuses
        until(partial(lambda begin, wanted: published(begin) & wanted, begin, statuses), every=0.05)
    rows: list[dict[str, Any]] = site.daemon.xmlrpc("getAllVmStats")["statsList"]
    assert listed(site) == {row["vmId"] for row in rows} == {free, stuck}
    assert float(site.stats(free)["statsAge"]) < float(site.stats(stuck)["statsAge"])


@pytest.fixture
def stream(site: Site) -> Iterator[RestStream]:
    """The events of the daemon, from now on."""
    stream = RestStream(site.daemon)
    stream.start()
    yield stream
    stream.stop()


def has_hung(site: Site, vm_id: str) -> Callable[[], bool]:
    """A function that returns whether a machine is shown as one that does not respond."""
    return lambda: int(site.stats(vm_id)["monitorResponse"]) == -1


def test_a_frozen_qemu(site: Site, free: str, stream: RestStream) -> None:
    """It is destroyed while it is stopped: libvirt kills it, after some seconds of patience."""
    frozen = site.create("frozen", launchPaused="true")
    site.wait_for(frozen, "Paused", within=60)
    pid = site.host.qemu_pid(frozen)
    os.kill(pid, signal.SIGSTOP)
    until(has_hung(site, frozen), every=0.1, detail=lambda: site.stats(frozen))
    check_the_rest(site, free, frozen, stream)
    # Its calls have less time here than libvirt's patience.
    assert site.daemon.reply("destroy", frozen)["status"]["code"] in (0, 42)
    until(lambda: listed(site) == {free}, 60, every=0.2, detail=site.daemon.log)
    assert frozen not in site.host.virsh("list", "--all", "--uuid")
    assert not Path(f"/proc/{pid}").exists()


def test_reads_that_hang(site: Site, free: str, stream: RestStream) -> None:
    """QEMU cannot be killed before its storage answers. The call fails; later the machine ends by itself."""
    with site.host.hanging_disk("hangs") as disk:
        drive = {"type": "disk", "device": "disk", "iface": "virtio", "format": "raw", "path": str(disk.path)}
        stuck = site.create("stuck", devices=[drive])
        site.wait_until_booted(stuck)
        pid = site.host.qemu_pid(stuck)
        disk.hold.touch()
        # The guest writes all the time.
        until(lambda: "request_wait_answer" in waits(pid), every=0.1, detail=lambda: waits(pid))
        check_the_rest(site, free, stuck, stream)
        for _ in range(2):
            failed = site.daemon.reply("destroy", stuck)["status"]
            assert (failed["code"], failed["slug"]) == (42, "vm-not-ended"), failed
            assert "it is removed once it has" in failed["message"]
        check_the_rest(site, free, stuck, stream)
        assert Path(f"/proc/{pid}").exists()
        disk.hold.unlink()
        until(lambda: listed(site) == {free}, 90, every=0.2, detail=site.daemon.log)
        until(lambda: stuck not in site.host.virsh("list", "--all", "--uuid"), 90, every=0.2)
        assert not Path(f"/proc/{pid}").exists()


def waits(pid: int) -> set[str]:
    """Where in the kernel the threads of a process wait."""
    return {path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/wchan")}
