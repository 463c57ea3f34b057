"""Disks, media and leases of one running guest: plugged in and out, changed and resized."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.functional.daemon import CONFIG, Daemon, Refused
from tests.functional.lab import BootFiles, GuestAgent, LabHost
from vdsm_bridge.testing.polling import until
from vdsm_bridge.testing.storage import MIB, FileStorage
from vdsm_core.volumes import VolumeId

pytestmark = [pytest.mark.functional, pytest.mark.slow]

#: Seconds that the guest has to release a disk: it does so at once, or never.
RELEASE = 5.0


def members(volume: VolumeId) -> dict[str, str]:
    """A volume as VDSM's clients name it."""
    return {
        "poolID": volume.pool_id,
        "domainID": volume.domain_id,
        "imageID": volume.image_id,
        "volumeID": volume.volume_id,
    }


def drive(volume: VolumeId, **more: Any) -> dict[str, Any]:
    """A disk of a hotplug in VDSM's older form."""
    return {
        "type": "disk",
        "device": "disk",
        "iface": "virtio",
        "format": "raw",
        "shared": "false",
        "propagateErrors": "off",
        **members(volume),
        **more,
    }


class Site:
    """A daemon with storage, and one guest with an agent."""

    def __init__(self, host: LabHost, daemon: Daemon, storage: FileStorage, boot: BootFiles) -> None:
        self.host = host
        self.daemon = daemon
        self.storage = storage
        self.vm_id = str(uuid.uuid4())
        self.agent = GuestAgent(host, self.vm_id)
        agent_boot = boot.with_agent()
        daemon.xmlrpc(
            "create",
            {
                "vmId": self.vm_id,
                "vmName": f"disks-{self.vm_id[:8]}",
                "memSize": 192,
                "kvmEnable": "false",
                "emulatedMachine": "pc",
                "kernel": str(agent_boot.kernel),
                "initrd": str(agent_boot.initrd),
                "kernelArgs": agent_boot.cmdline,
                "devices": [
                    {"type": "disk", "device": "cdrom", "iface": "scsi", "index": 1, "path": ""},
                    {"type": "disk", "device": "floppy", "path": ""},
                    {"type": "controller", "device": "scsi", "model": "virtio-scsi", "index": 0},
                ],
            },
        )
        self.agent.wait()

    def disks(self) -> dict[str, dict[str, Any]]:
        """The disks that the daemon shows, by name."""
        (found,) = self.daemon.xmlrpc("list", True, [self.vm_id])["vmList"]
        return {each["name"]: each for each in found["devices"] if each["type"] == "disk"}

    def in_guest(self) -> set[str]:
        """The disks that the guest sees, without floppies and CD-ROMs."""
        names = self.agent.shell("ls /sys/block").split()
        return {name for name in names if name.startswith(("vd", "sd"))}

    def plug(self, volume: VolumeId, **more: Any) -> dict[str, Any]:
        """Plug a volume in."""
        params = {"vmId": self.vm_id, "drive": drive(volume, **more)}
        return self.daemon.xmlrpc("hotplugDisk", params)["vmList"]

    def unplug(self, volume: VolumeId) -> None:
        """Plug a volume out."""
        self.daemon.xmlrpc("hotunplugDisk", {"vmId": self.vm_id, "drive": drive(volume)})


@pytest.fixture(scope="module")
def site(lab_host: LabHost, boot: BootFiles, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One guest for all tests of this module."""
    folder = tmp_path_factory.mktemp("disks")
    storage = FileStorage(lab_host.root / "disks" / f"storage-{uuid.uuid4().hex[:8]}")
    config = CONFIG + f"[plugin.virt]\nrelease_timeout = {RELEASE}\n"
    with Daemon(folder, lab_host.uri, config, storage.install(folder / "plugins")) as daemon:
        site = Site(lab_host, daemon, storage, boot)
        try:
            yield site
        finally:
            lab_host.virsh("destroy", site.vm_id)
            lab_host.virsh("undefine", site.vm_id)


def test_a_disk_is_plugged_in_and_out(site: Site) -> None:
    """The guest sees it and writes to it; unplugged, its image is released and has what was written."""
    volume = site.storage.add(8 * MIB)
    device_id = str(uuid.uuid4())
    site.plug(volume, deviceId=device_id)
    shown = site.disks()["vda"]
    assert {name: shown[name] for name in members(volume)} == members(volume)
    assert shown["deviceId"] == device_id
    assert shown["alias"]
    until(lambda: "vda" in site.in_guest(), every=0.1)
    site.agent.shell("echo hello | dd of=/dev/vda conv=fsync 2>/dev/null")
    assert site.storage.prepared(site.vm_id) == {volume.volume_id}
    site.unplug(volume)
    assert "vda" not in site.disks()
    assert site.in_guest() == set()
    assert site.storage.prepared(site.vm_id) == set()
    assert site.storage.path(volume).read_bytes().startswith(b"hello")


def test_an_engine_sends_xml(site: Site) -> None:
    """The form of engines since 4.2: libvirt's element, ids in oVirt's metadata; out again by its alias."""
    volume = site.storage.add(8 * MIB, "cow")
    ids = "".join(f"<ovirt-vm:{name}>{value}</ovirt-vm:{name}>" for name, value in members(volume).items())
    xml = f"""<hotplug><devices><disk type='file' device='disk' snapshot='no'>
      <driver name='qemu' type='raw' cache='none' io='threads' error_policy='stop'/>
      <source file=''><seclabel model='dac' type='none' relabel='no'/></source>
      <target dev='sda' bus='scsi'/><alias name='ua-{volume.image_id}'/>
      </disk></devices><metadata xmlns:ovirt-vm='http://ovirt.org/vm/1.0'><ovirt-vm:vm>
      <ovirt-vm:device devtype='disk' name='sda'>{ids}</ovirt-vm:device></ovirt-vm:vm></metadata></hotplug>"""
    site.daemon.xmlrpc("hotplugDisk", {"vmId": site.vm_id, "xml": xml})
    shown = site.disks()["sda"]
    assert (shown["alias"], shown["format"], shown["imageID"]) == (
        f"ua-{volume.image_id}",
        "cow",
        volume.image_id,
    )
    until(lambda: "sda" in site.in_guest(), every=0.1)
    out = f"<hotunplug><devices><disk><alias name='ua-{volume.image_id}'/></disk></devices></hotunplug>"
    site.daemon.xmlrpc("hotunplugDisk", {"vmId": site.vm_id, "xml": out})
    assert "sda" not in site.disks()
    assert site.storage.prepared(site.vm_id) == set()


def test_what_fails_leaves_nothing(site: Site) -> None:
    """An image that storage refuses, one that QEMU refuses, one that is there already, one that is not."""
    volume, before = site.storage.add(), site.disks()
    with site.storage.refusing("prepare", "no such luck"):
        reply = site.daemon.reply("hotplugDisk", {"vmId": site.vm_id, "drive": drive(volume)})
    assert reply["status"]["code"] == 45
    assert "no such luck" in reply["status"]["message"]
    site.storage.path(volume).unlink()
    reply = site.daemon.reply("hotplugDisk", {"vmId": site.vm_id, "drive": drive(volume)})
    assert reply["status"]["code"] == 45
    assert site.storage.prepared(site.vm_id) == set()
    assert site.disks() == before
    reply = site.daemon.reply("hotunplugDisk", {"vmId": site.vm_id, "drive": drive(volume)})
    assert reply["status"]["code"] == 46
    exclusive = drive(site.storage.add(), shared="exclusive")
    assert site.daemon.reply("hotplugDisk", {"vmId": site.vm_id, "drive": exclusive})["status"]["code"] == 44


def test_a_guest_keeps_its_disk(site: Site) -> None:
    """The call fails in time, and the disk stays shown; released later, it is taken away."""
    volume = site.storage.add()
    site.plug(volume)
    until(lambda: "vda" in site.in_guest(), every=0.1)
    # Paused, no guest can release a device.
    site.daemon.xmlrpc("pause", site.vm_id)
    reply = site.daemon.reply("hotunplugDisk", {"vmId": site.vm_id, "drive": drive(volume)})
    assert reply["status"]["code"] == 46
    assert "within 5 s" in reply["status"]["message"]
    assert "vda" in site.disks()
    assert site.storage.prepared(site.vm_id) == {volume.volume_id}
    site.daemon.xmlrpc("cont", site.vm_id)
    until(lambda: site.storage.prepared(site.vm_id) == set(), every=0.1, detail=site.daemon.log)
    until(lambda: "vda" not in site.disks(), every=0.1)


def test_media_are_changed(site: Site) -> None:
    """By path, by ids and as files; each read by the guest; released when the next one is loaded."""
    first = site.storage.add(1 * MIB)
    site.storage.path(first).write_bytes(b"first".ljust(MIB, b"\0"))
    plain = site.host.root / "disks" / "plain.iso"
    plain.write_bytes(b"plain".ljust(MIB, b"\0"))

    def read() -> str:
        return site.agent.shell("dd if=/dev/sr0 bs=2048 count=1 2>/dev/null | head -c 5")

    spec = {"iface": "scsi", "index": "1"}
    site.daemon.xmlrpc("changeCD", site.vm_id, {**spec, "drive_spec": members(first)})
    assert site.disks()["sdb"]["imageID"] == first.image_id
    assert site.storage.prepared(site.vm_id) == {first.volume_id}
    assert read() == "first"
    site.daemon.xmlrpc("changeCD", site.vm_id, str(plain))
    shown = site.disks()["sdb"]
    assert (shown["path"], shown.get("imageID")) == (str(plain), None)
    assert site.storage.prepared(site.vm_id) == set()
    assert read() == "plain"
    site.daemon.xmlrpc("changeCD", site.vm_id, {**spec, "path": ""})
    assert site.disks()["sdb"]["path"] == ""
    for medium, code in (
        ("/absent.iso", 13),
        ({**spec, "drive_spec": {**members(first), "volumeID": str(uuid.uuid4())}}, 1630),
    ):
        assert site.daemon.reply("changeCD", site.vm_id, medium)["status"]["code"] == code
    assert (
        site.daemon.reply("changeCD", site.vm_id, {"iface": "sata", "index": "7", "path": ""})["status"][
            "code"
        ]
        == 41
    )
    floppy = site.host.disk("floppy", 1)
    site.daemon.xmlrpc("changeFloppy", site.vm_id, str(floppy))
    assert site.disks()["fda"]["path"] == str(floppy)
    site.daemon.xmlrpc("changeFloppy", site.vm_id, "")
    assert site.disks()["fda"]["path"] == ""


@pytest.mark.parametrize("volume_format", ["raw", "cow"])
def test_a_disk_grows(site: Site, volume_format: Any) -> None:
    """The guest sees the new size; a smaller one is refused, and so is a raw volume that is too small."""
    volume = site.storage.add(8 * MIB, volume_format)
    site.plug(volume, format=volume_format)
    if volume_format == "raw":
        reply = site.daemon.reply("diskSizeExtend", site.vm_id, members(volume), str(16 * MIB))
        assert reply["status"]["code"] == 58
        site.storage.vdsm_set_volume_capacity(volume, 16 * MIB)
    reply = site.daemon.xmlrpc("diskSizeExtend", site.vm_id, members(volume), str(16 * MIB))
    assert reply["size"] == str(16 * MIB)
    (name,) = until(site.in_guest, every=0.1)
    size = f"cat /sys/block/{name}/size"
    until(lambda: site.agent.shell(size).strip() == str(16 * MIB // 512), every=0.1)
    info = site.storage.vdsm_get_volume(volume)
    assert info is not None
    assert info.capacity == 16 * MIB
    for size, code in (("1048576", 58), ("much", 58)):
        reply = site.daemon.reply("diskSizeExtend", site.vm_id, members(volume), size)
        assert reply["status"]["code"] == code
    sizes = site.daemon.rest("POST", f"/api/vms/{site.vm_id}/refresh_disk", {"drive": members(volume)})
    assert sizes["apparentsize"] >= 1
    site.unplug(volume)
    reply = site.daemon.reply("diskSizeExtend", site.vm_id, members(volume), str(32 * MIB))
    assert reply["status"]["code"] == 13


def test_a_lease(site: Site) -> None:
    """Its place is storage's; without a lock manager of libvirt, the hypervisor only notes it."""
    lease = site.storage.add_lease()
    body = {"lease": {"type": "lease", "sd_id": lease.sd_id, "lease_id": lease.lease_id}}
    path = f"/api/vms/{site.vm_id}"
    site.daemon.rest("POST", f"{path}/hotplug-lease", body)
    document = site.host.virsh("dumpxml", site.vm_id)
    assert f"<key>{lease.lease_id}</key>" in document
    assert f"offset='{3 * MIB}'" in document
    with pytest.raises(Refused):
        site.daemon.rest("POST", f"{path}/hotplug-lease", body)
    site.daemon.rest("POST", f"{path}/hotunplug-lease", body)
    assert lease.lease_id not in site.host.virsh("dumpxml", site.vm_id)
    with pytest.raises(Refused):
        site.daemon.rest("POST", f"{path}/hotunplug-lease", body)
