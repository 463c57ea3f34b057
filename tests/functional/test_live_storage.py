"""Snapshots, merges, mirrors, backups and frozen guests on real QEMU guests."""

from __future__ import annotations

import io
import json
import pickle
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.functional.daemon import Refused
from tests.functional.lab import BootFiles, LabHost
from tests.functional.live import MIB, LiveSite, ids, live_site, make_ext4
from vdsm_bridge.testing.polling import until
from vdsm_core.volumes import VolumeId

pytestmark = [pytest.mark.functional, pytest.mark.slow]


@pytest.fixture(scope="module")
def site(lab_host: LabHost, boot: BootFiles, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveSite]:
    """A daemon that these tests share."""
    with live_site(lab_host, boot, tmp_path_factory.mktemp("live")) as site:
        yield site


class Guest:
    """The guest that these tests share: its disks, by the volume that each writes to now."""

    def __init__(self, site: LiveSite) -> None:
        self.files = site.storage.add(32 * MIB, "cow")
        make_ext4(site.storage.path(self.files))
        self.data = site.storage.add(16 * MIB, "cow")
        self.id = site.create("live", self.files, self.data, agent=True)
        self.agent = site.agent(self.id)


@pytest.fixture(scope="module")
def guest(site: LiveSite) -> Guest:
    """A guest with an agent, a file system on its first disk, and a second disk without one."""
    return Guest(site)


def write(guest: Guest, text: str, at: int = 0) -> None:
    """Have the guest write a text to its second disk, at a MiB."""
    guest.agent.shell(f"printf '%s' '{text}' | dd of=/dev/vdb bs=1M seek={at} conv=notrunc,fsync 2>/dev/null")


def read(guest: Guest, size: int, at: int = 0) -> str:
    """What the guest reads from its second disk, at a MiB."""
    return guest.agent.shell(f"dd if=/dev/vdb bs=1M skip={at} count=1 2>/dev/null | head -c {size}")


def frozen(guest: Guest) -> str:
    """The guest's own word for it."""
    return str(guest.agent.ask("guest-fsfreeze-status"))


def test_a_guest_is_frozen_and_thawed(site: LiveSite, guest: Guest) -> None:
    """The file system holds writes back until it is thawed; a second freeze is an error of the guest's."""
    site.call(guest.id, "freeze")
    assert frozen(guest) == "frozen"
    assert site.refused(guest.id, "freeze")["code"] == 76
    site.call(guest.id, "thaw")
    assert frozen(guest) == "thawed"
    site.call(guest.id, "thaw")


def test_an_agent_that_is_silent(site: LiveSite, guest: Guest) -> None:
    """Code 19, as VDSM has it."""
    guest.agent.fall_silent(6.5)
    assert site.refused(guest.id, "freeze")["code"] == 19
    guest.agent.wait()
    site.call(guest.id, "thaw")


def test_a_snapshot_of_disks(site: LiveSite, guest: Guest) -> None:
    """The guest is frozen while it goes on with a new volume; the old one keeps its contents."""
    write(guest, "before")
    before = guest.data
    after = site.storage.add(parent=before)
    drives = [{**ids(before), "baseVolumeID": before.volume_id, "volumeID": after.volume_id}]
    assert site.call(guest.id, "snapshot", snapDrives=drives) == {"quiesce": True}
    guest.data = after
    assert frozen(guest) == "thawed"
    assert site.chain(guest.id, "vdb") == [after.volume_id, before.volume_id]
    assert site.disk(guest.id, 1)["volumeID"] == after.volume_id
    write(guest, "behind")
    # The same again: it is there.
    assert site.call(guest.id, "snapshot", snapDrives=drives) == {"quiesce": False}
    assert site.chain(guest.id, "vdb") == [after.volume_id, before.volume_id]
    assert site.storage.prepared(guest.id) == {guest.files.volume_id, after.volume_id}


def test_a_snapshot_as_host_job(site: LiveSite, guest: Guest) -> None:
    """It is shown by its id, in progress and after its end; the id is taken."""
    job = str(uuid.uuid4())
    before = guest.data
    guest.data = site.snapshot(guest.id, before, jobUUID=job)

    def info() -> dict[str, object]:
        jobs = site.daemon.xmlrpc("getHostJobs", "virt", [job])["jobs"]
        assert set(jobs) == {job}
        found: dict[str, object] = jobs[job]
        return found

    until(lambda: info()["status"] == "done", every=0.05, detail=info)
    assert info()["description"] == "snapshot_vm"
    assert info()["job_type"] == "virt"
    assert site.chain(guest.id, "vdb")[0] == guest.data.volume_id
    after = site.storage.add(parent=guest.data)
    drives = [{**ids(guest.data), "baseVolumeID": guest.data.volume_id, "volumeID": after.volume_id}]
    assert site.refused(guest.id, "snapshot", snapDrives=drives, jobUUID=job)["code"] == 69
    assert site.refused(guest.id, "snapshot", snapDrives=drives, timeout=0)["code"] == 91
    strange = [{**drives[0], "baseVolumeID": str(uuid.uuid4())}]
    assert site.refused(guest.id, "snapshot", snapDrives=strange)["code"] == 48


def merge(site: LiveSite, guest: Guest, base: VolumeId, top: VolumeId) -> str:
    """Begin a merge of the second disk; its id."""
    job = str(uuid.uuid4())
    drive = ids(guest.data)
    site.daemon.xmlrpc("merge", guest.id, drive, base.volume_id, top.volume_id, "0", job)
    return job


def merged(site: LiveSite, guest: Guest, job: str) -> bool:
    """Whether a merge is not in the statistics any more."""
    return job not in site.stats(guest.id)["vmJobs"]


def test_volumes_are_merged(site: LiveSite, guest: Guest) -> None:
    """First one in the middle of the chain, then the one that the guest writes to: nothing is lost."""
    base = guest.data
    middle = guest.data = site.snapshot(guest.id, base)
    write(guest, "middle", at=1)
    leaf = guest.data = site.snapshot(guest.id, middle)
    write(guest, "leaf", at=2)
    chain = site.chain(guest.id, "vdb")
    assert chain[:3] == [leaf.volume_id, middle.volume_id, base.volume_id]

    job = merge(site, guest, base, middle)
    until(lambda: merged(site, guest, job), every=0.05, detail=site.daemon.log)
    assert site.chain(guest.id, "vdb") == [leaf.volume_id, *chain[2:]]
    assert site.disk(guest.id, 1)["volumeID"] == leaf.volume_id
    info = site.storage.vdsm_get_volume(leaf)
    assert info is not None
    assert info.parent == base.volume_id

    job = merge(site, guest, base, leaf)
    until(lambda: merged(site, guest, job), every=0.05, detail=site.daemon.log)
    assert site.chain(guest.id, "vdb") == chain[2:]
    assert site.disk(guest.id, 1)["volumeID"] == base.volume_id
    guest.data = base
    assert site.storage.prepared(guest.id) == {guest.files.volume_id, base.volume_id}
    assert (read(guest, 6, at=1), read(guest, 4, at=2)) == ("middle", "leaf")
    gone = site.storage.vdsm_get_volume(leaf)
    assert gone is not None
    assert gone.legality == "ILLEGAL"

    def ended() -> dict[str, str]:
        (status,) = site.daemon.xmlrpc("mergeStatus", guest.id)["mergeStatus"]
        return dict(status)

    until(lambda: ended()["status"] == "Completed", every=0.05, detail=ended)
    assert (ended()["disk"], ended()["baseVolumeID"], ended()["volumeID"]) == (
        "vdb",
        base.volume_id,
        leaf.volume_id,
    )


def test_merges_that_are_refused(site: LiveSite, guest: Guest) -> None:
    """A disk that the machine does not have, volumes that are not in the chain, or in the wrong order."""
    base = guest.data
    leaf = guest.data = site.snapshot(guest.id, base)
    other = {**ids(leaf), "volumeID": str(uuid.uuid4())}
    assert (
        site.refused(guest.id, "merge", drive=other, baseVolUUID=base.volume_id, topVolUUID=leaf.volume_id)[
            "code"
        ]
        == 13
    )
    for below, above in ((leaf, base), (base, base), (guest.files, leaf)):
        assert (
            site.refused(
                guest.id, "merge", drive=ids(leaf), baseVolUUID=below.volume_id, topVolUUID=above.volume_id
            )["code"]
            == 52
        )
    job = merge(site, guest, base, leaf)
    until(lambda: merged(site, guest, job), every=0.05)
    guest.data = base


def copy_of_chain(site: LiveSite, guest: Guest) -> VolumeId:
    """A new image whose base has the contents of what is below the second disk's volume, and its leaf."""
    base = site.storage.add(16 * MIB, "cow")
    below = site.storage.path(guest.data).with_name(site.chain(guest.id, "vdb")[1])
    image("convert", "-U", "-n", "-O", "qcow2", str(below), str(site.storage.path(base)))
    return site.storage.add(parent=base)


def image(*arguments: str) -> str:
    """What qemu-img prints."""
    done = subprocess.run(["qemu-img", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, (arguments, done.stdout, done.stderr)
    return done.stdout


def test_a_disk_is_mirrored(site: LiveSite, guest: Guest) -> None:
    """The guest goes on with the destination, which has everything; or it stays with its volume."""
    write(guest, "mirrored", at=3)
    source = guest.data
    target = copy_of_chain(site, guest)
    start = {"srcDisk": ids(source), "dstDisk": ids(target)}
    finish = "diskReplicateFinish"
    assert site.refused(guest.id, finish, **start)["code"] == 88
    site.daemon.xmlrpc("diskReplicateStart", guest.id, start["srcDisk"], start["dstDisk"])
    assert site.refused(guest.id, "diskReplicateStart", **start)["code"] == 55
    stays = {"srcDisk": ids(source), "dstDisk": ids(source)}
    site.call(guest.id, finish, **stays)
    assert site.chain(guest.id, "vdb")[0] == source.volume_id
    assert target.volume_id not in site.storage.prepared(guest.id)

    site.call(guest.id, "diskReplicateStart", **start)
    assert "migrate" in site.refused(guest.id, "migrate", params={"dst": "192.0.2.7"})["detail"]

    def finished() -> bool:
        reply = site.daemon.reply(finish, guest.id, start["srcDisk"], start["dstDisk"])
        assert reply["status"]["code"] in (0, 40), reply
        return bool(reply["status"]["code"] == 0)

    until(finished, every=0.1, detail=site.daemon.log)
    guest.data = target
    assert site.chain(guest.id, "vdb")[0] == target.volume_id
    assert site.disk(guest.id, 1)["imageID"] == target.image_id
    assert site.storage.prepared(guest.id) == {guest.files.volume_id, target.volume_id}
    assert read(guest, 8, at=3) == "mirrored"


def start_backup(site: LiveSite, guest: Guest, **config: object) -> dict[str, Any]:
    """Begin a backup of the second disk; what the verb returns, and the id of the backup."""
    backup_id = str(uuid.uuid4())
    disk = {key: value for key, value in ids(guest.data).items() if key != "poolID"}
    disks = [{**disk, "checkpoint": True, **config.pop("disk", {})}]
    info = site.call(guest.id, "start_backup", config={"backup_id": backup_id, "disks": disks, **config})
    assert set(info["disks"]) == {guest.data.image_id}
    return {**info, "id": backup_id, "export": info["disks"][guest.data.image_id]}


def dirty(export: str) -> list[tuple[int, int]]:
    """Begin and length of the parts that an incremental backup has."""
    socket, name = export.removeprefix("nbd:unix:").split(":exportname=")
    options = (
        f"driver=nbd,server.type=unix,server.path={socket},export={name},"
        f"x-dirty-bitmap=qemu:dirty-bitmap:backup-{name}"
    )
    parts = json.loads(image("map", "--output=json", "--image-opts", options))
    # With this bitmap, QEMU shows what is dirty as a part without data.
    return [(part["start"], part["length"]) for part in parts if not part["data"]]


def test_backups_are_restored_bit_by_bit(site: LiveSite, guest: Guest, tmp_path: Path) -> None:
    """A full one, and what changed since: together they are the disk, as it was when each began."""
    path = site.storage.path(guest.data)
    write(guest, "full", at=4)
    first, second = str(uuid.uuid4()), str(uuid.uuid4())
    full = start_backup(site, guest, to_checkpoint_id=first, require_consistency=True)
    assert first in full["checkpoint"]
    assert frozen(guest) == "thawed"
    # The export keeps what the guest overwrites.
    write(guest, "late", at=4)
    restored = tmp_path / "restored.raw"
    image("convert", "-O", "raw", full["export"], str(restored))
    assert restored.read_bytes()[4 * MIB :][:4] == b"full"
    info = site.daemon.rest("GET", f"/api/vms/{guest.id}/backup_info?backup_id={full['id']}")
    assert info == {"disks": full["disks"], "checkpoint": full["checkpoint"]}
    assert "migrate" in site.refused(guest.id, "migrate", params={"dst": "192.0.2.7"})["detail"]
    other = {"backup_id": str(uuid.uuid4()), "disks": [ids(guest.data)]}
    assert site.refused(guest.id, "start_backup", config=other)["code"] == 1600
    site.call(guest.id, "stop_backup", backup_id=full["id"])
    site.call(guest.id, "stop_backup", backup_id=full["id"])
    socket = Path(full["export"].split(":")[2])
    assert not socket.exists()
    assert not list((site.daemon.folder / "transient").rglob("*.*"))

    write(guest, "more", at=7)
    since = start_backup(
        site, guest, from_checkpoint_id=first, to_checkpoint_id=second, disk={"backup_mode": "incremental"}
    )
    changed = tmp_path / "changed.raw"
    image("convert", "-O", "raw", since["export"], str(changed))
    parts = dirty(since["export"])
    assert {begin // MIB for begin, _ in parts} == {4, 7}
    assert sum(length for _, length in parts) < 2 * MIB
    with restored.open("r+b") as copy, changed.open("rb") as news:
        for begin, length in parts:
            copy.seek(begin)
            news.seek(begin)
            copy.write(news.read(length))
    site.call(guest.id, "stop_backup", backup_id=since["id"])
    assert "identical" in image("compare", "-U", "-f", "raw", "-F", "qcow2", str(restored), str(path))

    listed = site.daemon.rest("GET", f"/api/vms/{guest.id}/list_checkpoints")
    assert listed == [first, second]
    assert site.call(guest.id, "delete_checkpoints", checkpoint_ids=[first, str(uuid.uuid4())])
    dumped = site.daemon.rest("GET", f"/api/vms/{guest.id}/dump_checkpoint?checkpoint_id={second}")
    assert second in dumped["checkpoint"]
    again = [{"id": second, "xml": dumped["checkpoint"]}]
    site.host.virsh("checkpoint-delete", guest.id, second, "--metadata")
    assert site.call(guest.id, "redefine_checkpoints", checkpoints=again) == {"checkpoint_ids": [second]}
    site.call(guest.id, "delete_checkpoints", checkpoint_ids=[second])
    missing = [
        {"id": second, "config": {"backup_id": second, "disks": [{**ids(guest.data), "checkpoint": True}]}}
    ]
    failed = site.call(guest.id, "redefine_checkpoints", checkpoints=missing)
    assert failed["checkpoint_ids"] == []
    assert failed["error"]["code"] > 0


def test_backups_that_are_refused(site: LiveSite, guest: Guest) -> None:
    """With VDSM's codes; nothing of them is left."""
    disk = ids(guest.data)

    def refused(**config: object) -> int:
        backup = {"backup_id": str(uuid.uuid4()), "disks": [disk], **config}
        return int(site.refused(guest.id, "start_backup", config=backup)["code"])

    assert refused(disks=[]) == 1600
    assert refused(disks=[{**disk, "backup_mode": "incremental"}]) == 1600
    assert refused(disks=[{**disk, "volumeID": str(uuid.uuid4())}]) == 13
    assert refused(from_checkpoint_id=str(uuid.uuid4())) in (1600, 1611)
    assert not list((site.daemon.folder / "transient").rglob("*.*"))
    with pytest.raises(Refused) as unknown:
        site.daemon.rest("GET", f"/api/vms/{guest.id}/backup_info?backup_id={uuid.uuid4()}")
    assert unknown.value.args[1]["code"] == 1601
    with pytest.raises(Refused) as unknown:
        site.daemon.rest("GET", f"/api/vms/{guest.id}/dump_checkpoint?checkpoint_id={uuid.uuid4()}")
    assert unknown.value.args[1]["code"] == 1611


def test_a_snapshot_with_memory(site: LiveSite, guest: Guest) -> None:
    """The memory and what the machine is resumed with are in their volumes; the guest goes on."""
    memory, configuration = site.storage.add(1 * MIB), site.storage.add(1 * MIB)
    handle = ",".join(
        [
            *(memory.domain_id, memory.pool_id, memory.image_id, memory.volume_id),
            *(configuration.image_id, configuration.volume_id),
        ]
    )
    before = guest.data
    guest.data = site.snapshot(guest.id, before, snapMemory=handle)
    assert site.chain(guest.id, "vdb")[0] == guest.data.volume_id
    assert site.storage.path(memory).read_bytes()[:15] == b"LibvirtQemudSav"
    assert site.storage.path(memory).stat().st_size % 4096 == 0
    found = plain_pickle(site.storage.path(configuration).read_bytes())
    assert found["restoreFromSnapshot"] is True
    assert guest.id in found["_srcDomXML"]
    site.wait(guest.id, "Up", "Powering up")
    assert guest.agent.shell("echo alive").strip() == "alive"
    assert site.storage.prepared(guest.id) == {guest.files.volume_id, guest.data.volume_id}


def plain_pickle(content: bytes) -> dict[str, Any]:
    """The dictionary in a pickle that has no classes."""

    class Plain(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            raise AssertionError((module, name))

    found: dict[str, Any] = Plain(io.BytesIO(content)).load()
    return found
