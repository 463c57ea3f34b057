"""The daemon is killed amid work on disks: the work goes on, is rolled back, or says what was left."""

from __future__ import annotations

import os
import signal
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.functional.lab import BootFiles, LabHost
from tests.functional.live import MIB, LiveSite, drive, ids, live_site
from vdsm_bridge.testing.polling import until
from vdsm_bridge.testing.storage import Operation
from vdsm_core.volumes import VolumeId

pytestmark = [pytest.mark.functional, pytest.mark.slow]


@pytest.fixture
def site(lab_host: LabHost, boot: BootFiles, tmp_path: Path) -> Iterator[LiveSite]:
    """A daemon that the test kills and starts again."""
    with live_site(lab_host, boot, tmp_path) as site:
        yield site


class Chain:
    """A machine that does not run on, with a disk of two volumes; the upper one has 12 MiB of its own."""

    def __init__(self, site: LiveSite, name: str) -> None:
        self.site = site
        self.base = site.storage.add(16 * MIB, "cow")
        self.leaf = site.storage.add(parent=self.base)
        subprocess.run(
            ["qemu-io", "-f", "qcow2", "-c", "write -P 7 0 12M", str(site.storage.path(self.leaf))],
            check=True,
            capture_output=True,
        )
        disk = {"type": "disk", "device": "disk", "iface": "virtio", "format": "cow", **ids(self.leaf)}
        drive = {"type": "disk", "device": "cdrom", "iface": "sata", "path": ""}
        self.id = site.create(name, launchPaused="true", devices=[disk, drive])

    def restart(self) -> None:
        """Kill the daemon and start it again."""
        self.site.daemon.kill()
        self.site.daemon.start()
        self.site.wait(self.id, "Paused")

    def settled(self) -> bool:
        """Whether no work holds the machine."""
        queues = self.site.daemon.rest("GET", "/api/host/queues")
        return all(self.id not in call["lane"] for call in queues)

    def wait(self) -> None:
        """Wait until no work holds the machine."""
        until(self.settled, 60.0, every=0.1, detail=self.site.daemon.log)


@pytest.fixture
def chain(site: LiveSite, request: pytest.FixtureRequest) -> Iterator[Chain]:
    """A machine of the test's own; destroying it works in the end."""
    chain = Chain(site, request.node.name.replace("[", "-").rstrip("]"))
    yield chain
    site.daemon.xmlrpc("destroy", chain.id)
    assert chain.id not in site.host.virsh("list", "--all", "--uuid")


def call_and_kill(chain: Chain, held: Operation, method: str, *arguments: Any) -> None:
    """Call a verb, kill the daemon while storage is busy for it, and start it again."""
    site = chain.site
    before = len(site.storage.calls(held))
    with site.storage.holding(held):
        caller = subprocess.Popen(
            ["python3", "-c", CALL, site.daemon.xmlrpc_url, method, repr(arguments)],
            stderr=subprocess.DEVNULL,
        )
        until(lambda: len(site.storage.calls(held)) > before, 60.0, every=0.05, detail=site.daemon.log)
        site.daemon.kill()
        caller.wait(30)
    site.daemon.start()
    site.wait(chain.id, "Paused")


CALL = """\
import ast, sys
from xmlrpc.client import ServerProxy
url, method, arguments = sys.argv[1:]
getattr(ServerProxy(url), method)(*ast.literal_eval(arguments))
"""


def test_a_snapshot_that_is_prepared(site: LiveSite, chain: Chain) -> None:
    """Is rolled back: libvirt had not begun. The same request succeeds afterwards."""
    after = site.storage.add(parent=chain.leaf)
    request = [drive(chain.leaf, after)]
    call_and_kill(chain, "prepare", "snapshot", chain.id, request)
    chain.wait()
    assert site.chain(chain.id) == [chain.leaf.volume_id, chain.base.volume_id]
    assert site.storage.prepared(chain.id) == {chain.leaf.volume_id}
    site.daemon.xmlrpc("snapshot", chain.id, request)
    assert site.chain(chain.id)[0] == after.volume_id
    assert site.storage.prepared(chain.id) == {after.volume_id}


def test_a_snapshot_with_memory(site: LiveSite, chain: Chain) -> None:
    """Is completed if libvirt had begun, with storage and metadata, and is rolled back if it had not."""
    after = site.storage.add(parent=chain.leaf)
    memory, configuration = site.storage.add(MIB), site.storage.add(MIB)
    handle = ",".join(
        [
            *(memory.domain_id, memory.pool_id, memory.image_id, memory.volume_id),
            *(configuration.image_id, configuration.volume_id),
        ]
    )
    job = str(uuid.uuid4())
    pid = site.host.qemu_pid(chain.id)
    os.kill(pid, signal.SIGSTOP)
    try:
        site.call(
            chain.id,
            "snapshot",
            snapDrives=[drive(chain.leaf, after)],
            snapMemory=handle,
            jobUUID=job,
        )
        # Written in the last step before libvirt gets the snapshot: from then on it may have begun, or not.
        prepared = site.storage.path(configuration)
        until(lambda: prepared.read_bytes()[:1] == b"\x80", 60.0, every=0.02, detail=site.daemon.log)
        site.daemon.kill()
    finally:
        os.kill(pid, signal.SIGCONT)
    site.daemon.start()

    def status() -> Any:
        jobs: dict[str, Any] = site.daemon.xmlrpc("getHostJobs", "virt", [job])["jobs"]
        return jobs[job]["status"]

    until(lambda: status() in ("done", "failed"), 60.0, every=0.1, detail=site.daemon.log)
    old = [chain.leaf.volume_id, chain.base.volume_id]
    done = status() == "done"
    assert site.chain(chain.id) == ([after.volume_id, *old] if done else old)
    top = site.chain(chain.id)[0]
    # Statistics show it from the next sample on.
    until(lambda: site.disk(chain.id)["volumeID"] == top, every=0.1, detail=site.daemon.log)
    assert site.storage.prepared(chain.id) == {site.chain(chain.id)[0]}
    assert not done or site.storage.path(memory).read_bytes()[:15] == b"LibvirtQemudSav"


def merged(chain: Chain, leaf: VolumeId) -> None:
    """Wait for the end of a merge, and look at everything that follows from it."""
    site = chain.site
    chain.wait()
    assert site.stats(chain.id)["vmJobs"] == {}
    assert site.chain(chain.id) == [chain.base.volume_id]
    until(lambda: site.disk(chain.id)["volumeID"] == chain.base.volume_id, every=0.1, detail=site.daemon.log)
    assert site.storage.prepared(chain.id) == {chain.base.volume_id}
    info = site.storage.vdsm_get_volume(leaf)
    assert info is not None
    assert info.legality == "ILLEGAL"
    image = site.storage.path(chain.base)
    compared = subprocess.run(
        ["qemu-io", "-U", "-r", "-f", "qcow2", "-c", "read -P 7 0 12M", str(image)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "verification failed" not in compared.stdout


@pytest.mark.parametrize("held", ["prepare", "release"])
def test_a_medium_that_is_changed(site: LiveSite, chain: Chain, held: Operation) -> None:
    """The drive has the old medium, the new one or none, and storage has no other one prepared."""
    media = [site.storage.add(MIB) for _ in range(2)]
    requests = [{"iface": "sata", "drive_spec": ids(medium)} for medium in media]
    site.daemon.xmlrpc("changeCD", chain.id, requests[0])
    call_and_kill(chain, held, "changeCD", chain.id, requests[1])
    # A later daemon has the name of the drive from the machine.
    until(
        lambda: site.storage.prepared(chain.id) == {chain.leaf.volume_id, *site.chain(chain.id, "sda")},
        60.0,
        every=0.1,
        detail=lambda: (site.storage.prepared(chain.id), site.daemon.log()),
    )
    chain.wait()


def test_a_machine_that_is_destroyed(site: LiveSite) -> None:
    """Its images are released before it is forgotten: the next daemon ends what this one had begun."""
    chain = Chain(site, "destroyed")
    with site.storage.holding("release"):
        caller = subprocess.Popen(
            ["python3", "-c", CALL, site.daemon.xmlrpc_url, "destroy", repr((chain.id,))],
            stderr=subprocess.DEVNULL,
        )
        until(lambda: site.storage.calls("release"), 60.0, every=0.05, detail=site.daemon.log)
        site.daemon.kill()
        caller.wait(30)
    site.daemon.start()
    until(lambda: not site.storage.prepared(chain.id), 60.0, every=0.1, detail=site.daemon.log)
    if site.daemon.xmlrpc("list", True, [chain.id])["vmList"]:
        site.daemon.xmlrpc("destroy", chain.id)
    assert chain.id not in site.host.virsh("list", "--all", "--uuid")


def test_a_merge_in_progress(site: LiveSite, chain: Chain) -> None:
    """Goes on: the later daemon has it in the statistics, and completes it."""
    job = str(uuid.uuid4())
    arguments = (ids(chain.leaf), chain.base.volume_id, chain.leaf.volume_id, 4, job)
    site.daemon.xmlrpc("merge", chain.id, *arguments)
    until(lambda: job in site.stats(chain.id)["vmJobs"], every=0.05)
    chain.restart()
    merged(chain, chain.leaf)


@pytest.mark.parametrize("held", ["set_legality", "sync_chain"])
def test_a_merge_that_ends(site: LiveSite, chain: Chain, held: Operation) -> None:
    """Before the guest goes on with the base, and after it: it is completed."""
    before = len(site.storage.calls(held))
    with site.storage.holding(held):
        job = str(uuid.uuid4())
        site.daemon.xmlrpc(
            "merge", chain.id, ids(chain.leaf), chain.base.volume_id, chain.leaf.volume_id, 0, job
        )
        until(lambda: len(site.storage.calls(held)) > before, 60.0, every=0.05, detail=site.daemon.log)
        site.daemon.kill()
    site.daemon.start()
    site.wait(chain.id, "Paused")
    merged(chain, chain.leaf)


def test_a_mirror(site: LiveSite, chain: Chain) -> None:
    """Goes on, and is ended by the later daemon."""
    base = site.storage.add(16 * MIB, "cow")
    target = site.storage.add(parent=base)
    site.daemon.xmlrpc("diskReplicateStart", chain.id, ids(chain.leaf), ids(target))
    chain.restart()

    def finished() -> bool:
        code = site.daemon.reply("diskReplicateFinish", chain.id, ids(chain.leaf), ids(target))["status"][
            "code"
        ]
        assert code in (0, 40)
        return bool(code == 0)

    until(finished, 60.0, every=0.1, detail=site.daemon.log)
    assert site.chain(chain.id)[0] == target.volume_id
    assert site.disk(chain.id)["imageID"] == target.image_id
    assert site.storage.prepared(chain.id) == {target.volume_id}


def test_a_backup(site: LiveSite, chain: Chain, tmp_path: Path) -> None:
    """Goes on: it is read and ended through the later daemon, and nothing of it is left."""
    backup_id = str(uuid.uuid4())
    config = {"backup_id": backup_id, "disks": [ids(chain.leaf)]}
    started = site.call(chain.id, "start_backup", config=config)
    chain.restart()
    found = site.daemon.rest("GET", f"/api/vms/{chain.id}/backup_info?backup_id={backup_id}")
    assert found == started
    restored = tmp_path / "restored.raw"
    for command in (
        ["convert", "-O", "raw", *found["disks"].values(), str(restored)],
        ["compare", "-U", "-f", "raw", "-F", "qcow2", str(restored), str(site.storage.path(chain.leaf))],
    ):
        subprocess.run(["qemu-img", *command], check=True, capture_output=True)
    site.call(chain.id, "stop_backup", backup_id=backup_id)
    chain.wait()
    assert not list((site.daemon.folder / "transient").rglob("*.*"))
    assert not list((site.daemon.folder / "backup").iterdir())
