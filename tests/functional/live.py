"""A daemon with storage in files on the lab's host, and guests whose disks are volumes of it."""

from __future__ import annotations

import contextlib
import re
import subprocess
import uuid
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.functional.daemon import CONFIG, Daemon, Refused
from tests.functional.lab import BootFiles, LabHost
from tests.functional.lab.agent import GuestAgent
from vdsm_bridge.testing.polling import until
from vdsm_bridge.testing.storage import FileStorage
from vdsm_core.volumes import VolumeId

MIB = 2**20
ROOT = Path(__file__).parents[2]
BOOT = 90.0  # seconds that a guest may take under TCG on a busy machine
VIRT = """\
[plugin.virt]
transient_folder = "{folder}/transient"
volume_chunk = 4
volume_free = 50
"""


class LiveSite:
    """The daemon, its storage, and machines on it."""

    def __init__(
        self, host: LabHost, boot: BootFiles, folder: Path, storage: FileStorage, virt: str, plugin: str
    ) -> None:
        self.host = host
        self.boot = boot
        self.storage = storage
        plugins = self.storage.install(folder / "plugins")
        if plugin:
            module = plugins / "lab_storage.py"
            module.write_text(
                f"import sys\nsys.path.append({str(ROOT)!r})\nfrom pathlib import Path\n{plugin}"
            )
        self.daemon = Daemon(folder, host.uri, CONFIG + virt, plugins)
        self._machines: list[str] = []

    def create(self, name: str, *volumes: VolumeId, agent: bool = False, **extra: Any) -> str:
        """Create a machine with these volumes as disks; its id once it runs."""
        vm_id = str(uuid.uuid4())
        self._machines.append(vm_id)
        boot = self.boot.with_agent() if agent else self.boot
        devices: list[dict[str, Any]] = [
            {"type": "disk", "device": "disk", "iface": "virtio", "format": "cow", **ids(volume)}
            for volume in volumes
        ]
        self.daemon.xmlrpc(
            "create",
            {
                "vmId": vm_id,
                "vmName": name,
                "memSize": 128,
                "kvmEnable": "false",
                "emulatedMachine": "q35",
                "kernel": str(boot.kernel),
                "initrd": str(boot.initrd),
                "kernelArgs": boot.cmdline,
                "devices": devices,
                **extra,
            },
        )
        self.wait(vm_id, "Up", "Powering up", "Paused")
        return vm_id

    def agent(self, vm_id: str) -> GuestAgent:
        """The guest's agent, once it answers."""
        agent = GuestAgent(self.host, vm_id)
        agent.wait(BOOT)
        return agent

    def wait(self, vm_id: str, *statuses: str, within: float = BOOT) -> None:
        """Wait until a machine has one of these statuses."""
        until(
            lambda: self.stats(vm_id)["status"] in statuses,
            within,
            every=0.1,
            detail=lambda: (self.stats(vm_id), self.daemon.log()),
        )

    def stats(self, vm_id: str) -> dict[str, Any]:
        """A machine's statistics over REST."""
        (stats,) = self.daemon.rest("GET", f"/api/vms/{vm_id}/stats")
        assert isinstance(stats, dict)
        return stats

    def call(self, vm_id: str, verb: str, **arguments: Any) -> Any:
        """Call an action of a machine over REST."""
        action = re.sub(r"(?<=[a-z])([A-Z])", r"-\1", verb).lower()
        return self.daemon.rest("POST", f"/api/vms/{vm_id}/{action}", arguments)

    def refused(self, vm_id: str, verb: str, **arguments: Any) -> dict[str, Any]:
        """Call an action that is refused; the problem document."""
        try:
            answer = self.call(vm_id, verb, **arguments)
        except Refused as refusal:
            document = refusal.args[1]
            assert isinstance(document, dict)
            return document
        raise AssertionError(f"{verb} is not refused: {answer}")

    def disk(self, vm_id: str, index: int = 0) -> dict[str, Any]:
        """A disk as `VM.getInfo` shows it."""
        devices = self.daemon.rest("GET", f"/api/vms/{vm_id}")["devices"]
        found: list[dict[str, Any]] = [each for each in devices if each["type"] == "disk"]
        return found[index]

    def chain(self, vm_id: str, target: str = "vda") -> list[str]:
        """The volumes that QEMU uses, the leaf first."""
        root = ET.fromstring(self.host.virsh("dumpxml", vm_id))
        holder = root.find(f"devices/disk/target[@dev='{target}']/..")
        names = []
        while holder is not None and (source := holder.find("source")) is not None:
            path = source.get("file") or source.get("dev") or ""
            names.append(Path(path).name)
            holder = holder.find("backingStore")
        return names

    def snapshot(self, vm_id: str, before: VolumeId, **arguments: Any) -> VolumeId:
        """Take a snapshot of a disk with a new volume; return that."""
        after = self.storage.add(parent=before)
        self.call(vm_id, "snapshot", snapDrives=[drive(before, after)], **arguments)
        return after

    def clean(self) -> None:
        """End what a test has left, past the daemon."""
        for vm_id in self._machines:
            with contextlib.suppress(subprocess.CalledProcessError):
                self.host.virsh("destroy", vm_id)
            with contextlib.suppress(subprocess.CalledProcessError):
                self.host.virsh("undefine", vm_id, "--checkpoints-metadata")
        self._machines = []


@contextlib.contextmanager
def live_site(
    host: LabHost,
    boot: BootFiles,
    folder: Path,
    *,
    storage: FileStorage | None = None,
    virt: str = VIRT,
    plugin: str = "",
) -> Iterator[LiveSite]:
    """A running daemon; its machines are ended afterwards.

    :param storage: by default one of files
    :param virt: the configuration of the plugin `virt`
    :param plugin: the storage as the daemon loads it, as Python text; by default that of files
    """
    site = LiveSite(host, boot, folder, storage or FileStorage(folder / "storage"), virt, plugin)
    with site.daemon:
        try:
            yield site
        finally:
            site.clean()


def ids(volume: VolumeId) -> dict[str, str]:
    """A volume as VDSM's clients name it."""
    return {
        "poolID": volume.pool_id,
        "domainID": volume.domain_id,
        "imageID": volume.image_id,
        "volumeID": volume.volume_id,
    }


def drive(before: VolumeId, after: VolumeId) -> dict[str, str]:
    """A disk of a snapshot as VDSM's clients name it."""
    return {
        "domainID": before.domain_id,
        "imageID": before.image_id,
        "baseVolumeID": before.volume_id,
        "volumeID": after.volume_id,
    }


def make_ext4(path: Path) -> None:
    """Put a file system into a qcow2 volume that no machine uses."""
    raw = path.with_suffix(".ext4")
    size = 32 * MIB
    with raw.open("wb") as image:
        image.truncate(size)
    for command in (
        ["mkfs.ext4", "-q", "-F", str(raw)],
        ["qemu-img", "convert", "-n", "-f", "raw", "-O", "qcow2", str(raw), str(path)],
    ):
        subprocess.run(command, check=True, capture_output=True)
    raw.unlink()
