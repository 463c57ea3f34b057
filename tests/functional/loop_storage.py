"""Storage whose thin volumes are block devices of a fixed size, which grow on request: loop devices."""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path

import msgspec

from vdsm_bridge.testing.polling import until
from vdsm_bridge.testing.storage import FileStorage
from vdsm_core.errors import OperationFailed, VdsmError
from vdsm_core.hooks import hookimpl
from vdsm_core.volumes import DiskId, Extension, PreparedDisk, VolumeId, VolumeInfo


class LoopStorage(FileStorage):
    """Volumes with qcow2 on a loop device. Devices are attached by `attach`, and detached by `close`."""

    def attach(self, capacity: int, size: int) -> VolumeId:
        """Add a thin volume.

        :param capacity: bytes that the guest sees
        :param size: bytes of the device
        """
        volume = self.add(capacity, "cow", thin=True)
        path = self.path(volume)
        path.unlink()
        path.touch()
        os.truncate(path, size)
        device = _run("losetup", "--find", "--show", str(path)).strip()
        self._device(volume).write_text(device)
        _run("qemu-img", "create", "-q", "-f", "qcow2", device, str(capacity))
        return volume

    def close(self) -> None:
        """Detach all devices."""
        for path in self.root.glob("*/images/*/*.loop"):
            subprocess.run(["losetup", "--detach", path.read_text()], check=False)

    @hookimpl
    def vdsm_prepare_disk(self, vm_id: str, disk: DiskId) -> PreparedDisk | None:
        """Prepare a volume, and name its device."""
        prepared = super().vdsm_prepare_disk(vm_id, disk)
        volume = disk.volume()
        if prepared is None or volume is None or not self._device(volume).exists():
            return prepared
        return msgspec.structs.replace(prepared, path=self._device(volume).read_text(), kind="block")

    @hookimpl
    def vdsm_get_volume(self, volume: VolumeId) -> VolumeInfo | None:
        """Read a volume, with the size of its device."""
        return self._as_device(super().vdsm_get_volume(volume))

    @hookimpl
    def vdsm_refresh_volume(self, volume: VolumeId) -> VolumeInfo | None:
        """Read a volume, with the size of its device."""
        return self._as_device(super().vdsm_refresh_volume(volume))

    @hookimpl
    def vdsm_extend_volume(self, extension: Extension) -> bool | None:
        """Request a larger device of the test, and answer once it is there: the daemon may not resize one."""

        def grown(answer: VolumeInfo | VdsmError) -> None:
            if isinstance(answer, VdsmError):
                extension.failed(answer)
                return
            device = Path(self._device(extension.volume).read_text())
            sectors = Path("/sys/class/block") / device.name / "size"
            self.path(extension.volume).with_suffix(".want").write_text(str(extension.size))
            try:
                until(lambda: int(sectors.read_text()) * 512 >= extension.size, 60.0, every=0.01)
            except AssertionError as error:
                extension.failed(OperationFailed(reason=str(error)))
            else:
                extension.done(self._as_device(answer) or answer)

        return super().vdsm_extend_volume(Extension(extension.volume, extension.size, grown))

    def serve(self, stop: threading.Event) -> None:
        """Resize the devices as the daemon requests, until `stop` is set."""
        while not stop.wait(0.01):
            for wanted in self.root.glob("*/images/*/*.want"):
                size = int(wanted.read_text() or 0)
                path = wanted.with_suffix("")
                if size > path.stat().st_size:
                    os.truncate(path, size)
                    _run("losetup", "--set-capacity", path.with_suffix(".loop").read_text())

    def _as_device(self, info: VolumeInfo | None) -> VolumeInfo | None:
        if info is None or not self._device(info.id).exists():
            return info
        device, size = self._device(info.id).read_text(), self.path(info.id).stat().st_size
        return msgspec.structs.replace(info, path=device, kind="block", apparent_size=size)

    def _device(self, volume: VolumeId) -> Path:
        return self.path(volume).with_suffix(".loop")


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
