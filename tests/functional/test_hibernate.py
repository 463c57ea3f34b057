"""A real guest is saved to volumes and goes on where it was, through kills and failures."""

from __future__ import annotations

import pickle
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.functional.daemon import CONFIG, Daemon
from tests.functional.lab import BootFiles, LabHost
from tests.functional.site import Site
from vdsm_bridge.testing.polling import until
from vdsm_bridge.testing.storage import MIB, FileStorage
from vdsm_core.volumes import VolumeId

pytestmark = [pytest.mark.functional, pytest.mark.slow]

#: Where the guest's counter is on its disk (init.sh).
COUNTER = 64 * 4096


@pytest.fixture
def storage(tmp_path: Path) -> FileStorage:
    """Volumes in files."""
    return FileStorage(tmp_path / "storage")


@pytest.fixture
def site(lab_host: LabHost, boot: BootFiles, storage: FileStorage, tmp_path: Path) -> Iterator[Site]:
    """A daemon with that storage."""
    plugins = storage.install(tmp_path / "plugins")
    with Daemon(tmp_path, lab_host.uri, CONFIG, plugins=plugins) as daemon:
        site = Site(lab_host, boot, daemon)
        try:
            yield site
        finally:
            site.clean()


def ids(volume: VolumeId) -> dict[str, str]:
    """A volume as clients name it."""
    return {
        "poolID": volume.pool_id,
        "domainID": volume.domain_id,
        "imageID": volume.image_id,
        "volumeID": volume.volume_id,
    }


def handle(memory: VolumeId, parameters: VolumeId) -> str:
    """The six ids of a hibernation."""
    of_memory = f"{memory.domain_id},{memory.pool_id},{memory.image_id},{memory.volume_id}"
    return f"{of_memory},{parameters.image_id},{parameters.volume_id}"


def create(site: Site, name: str, disk: VolumeId, **extra: Any) -> str:
    """A machine with a disk of the storage."""
    drive = {"type": "disk", "device": "disk", "iface": "virtio", "format": "raw", **ids(disk)}
    return site.create(name, devices=[drive], **extra)


def test_a_guest_goes_on(site: Site, storage: FileStorage) -> None:
    """Its counter continues; the daemon is killed while it is saved, and the time of the run goes on."""
    disk, memory, parameters = storage.add(), storage.add(512 * MIB), storage.add(1 * MIB)

    def counter() -> int:
        with storage.path(disk).open("rb") as file:
            file.seek(COUNTER)
            return int(file.read(16).strip(b"\0\n") or 0)

    vm_id = create(site, "sleeper", disk)
    until(lambda: counter() > 8, 90, every=0.1, detail=site.daemon.log)
    elapsed = int(site.stats(vm_id)["elapsedTime"])
    site.daemon.xmlrpc("hibernate", vm_id, handle(memory, parameters))
    site.daemon.kill()
    site.daemon.start()
    site.wait_for(vm_id, "Down", within=60)
    stats = site.stats(vm_id)
    assert (int(stats["exitCode"]), int(stats["exitReason"])) == (0, 5), stats
    until(lambda: memory.volume_id not in storage.prepared(vm_id), every=0.1)
    saved = counter()
    # As VDSM's own reader finds it.
    written = pickle.loads(storage.path(parameters).read_bytes())
    assert written["vmId"] == vm_id
    assert "<domain" in written["_srcDomXML"]

    site.daemon.xmlrpc("destroy", vm_id)
    started = time.monotonic()
    site.daemon.xmlrpc(
        "create", {"vmId": vm_id, "vmName": "sleeper", "hiberVolHandle": handle(memory, parameters)}
    )
    site.wait_for(vm_id, "Up", within=60)
    until(lambda: counter() > saved, every=0.01)
    assert counter() <= saved + 3 + 4 * (time.monotonic() - started), "it has not begun anew"
    assert int(site.stats(vm_id)["elapsedTime"]) >= elapsed > 0
    (shown,) = site.daemon.xmlrpc("list", True, [vm_id])["vmList"]
    assert shown["devices"][0]["imageID"] == disk.image_id
    until(lambda: storage.prepared(vm_id) == {disk.volume_id}, every=0.1)
    site.daemon.xmlrpc("destroy", vm_id)


def test_what_cannot_be_saved_runs_on(site: Site, storage: FileStorage) -> None:
    """No volume, or no room for the memory: the machine is as before, and says nothing of an end."""
    disk, memory, parameters = storage.add(), storage.add(64 * MIB), storage.add(1 * MIB)
    vm_id = create(site, "awake", disk)
    site.wait_for(vm_id, "Up")
    refused = site.daemon.reply("hibernate", vm_id, "1,2,3")["status"]
    assert refused["code"] != 0
    with storage.refusing("prepare"):
        site.daemon.xmlrpc("hibernate", vm_id, handle(memory, parameters))
        until(lambda: "is not saved" in site.daemon.log(), every=0.05, detail=site.daemon.log)
    site.wait_for(vm_id, "Up")
    # libvirt finds a folder where it has to write.
    storage.path(memory).unlink()
    storage.path(memory).mkdir()
    site.daemon.xmlrpc("hibernate", vm_id, handle(memory, parameters))
    until(lambda: site.daemon.log().count("is not saved") == 2, every=0.05, detail=site.daemon.log)
    site.wait_for(vm_id, "Up")
    assert site.host.virsh("domstate", vm_id).strip() == "running"
    storage.path(memory).rmdir()
    site.daemon.xmlrpc("destroy", vm_id)


def test_a_volume_that_is_no_saved_machine(site: Site, storage: FileStorage) -> None:
    """Neither code nor garbage on it is run: the request is refused, with the reason."""
    memory, parameters = storage.add(1 * MIB), storage.add(1 * MIB)
    evil = storage.root / "evil"
    storage.path(parameters).write_bytes(b"cos\nsystem\n(S'touch " + str(evil).encode() + b"'\ntR.")
    vm_id = "0a0a0a0a-0000-4000-8000-000000000001"
    request = {"vmId": vm_id, "vmName": "evil", "hiberVolHandle": handle(memory, parameters)}
    status = site.daemon.reply("create", request)["status"]
    assert status["code"] != 0
    assert "opcode" in status["message"]
    assert not evil.exists()
    for name in ("restoreState", "_srcDomXML"):
        status = site.daemon.reply("create", {"vmId": vm_id, "vmName": "x", "memSize": 64, name: "/x"})[
            "status"
        ]
        assert name in status["message"]
    assert site.daemon.xmlrpc("list")["vmList"] == []
