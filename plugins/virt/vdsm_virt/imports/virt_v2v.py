"""Run virt-v2v, which copies the disks of a machine and makes them boot on KVM."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from vdsm_core.errors import OperationFailed
from vdsm_core.secret import Secret
from vdsm_virt.guestfs.guest_tools import GuestTools

PROGRAM: Final = "virt-v2v"
#: "Copying disk 1/2", as virt-v2v announces it, and the percent that its copy reports.
_DISK: Final = re.compile(r"Copying disk (\d+)/(\d+)")
_PERCENT: Final = re.compile(r"(\d+)% \[")


class V2VDisk(msgspec.Struct, frozen=True, kw_only=True):
    """A disk to write.

    :ivar image_id: its image
    :ivar volume_id: its volume
    :ivar path: where the volume is
    """

    image_id: str
    volume_id: str
    path: str


class V2VOrder(msgspec.Struct, frozen=True, kw_only=True):
    """One conversion.

    :ivar source: arguments that name the machine to convert
    :ivar name: its name there; empty if the source has one machine only
    :ivar vm_id: the id that the OVF document gives it
    :ivar domain_id: the storage domain of the disks
    :ivar disks: where its disks go, in their order
    :ivar layout: format of the volumes, "raw" or "qcow2"
    :ivar sparse: whether holes stay holes
    :ivar compat: version of qcow2; empty for its default
    :ivar drivers: ISO image with drivers for Windows; empty for none
    """

    source: tuple[str, ...]
    name: str
    vm_id: str
    domain_id: str
    disks: tuple[V2VDisk, ...]
    layout: str
    sparse: bool
    compat: str = ""
    drivers: str = ""


class VirtV2V:
    """Runs conversions."""

    def __init__(self, tools: GuestTools) -> None:
        self._tools = tools

    def convert(
        self,
        job_id: str,
        order: V2VOrder,
        password: Secret | None,
        report: Callable[[int, str], None],
        stopping: Callable[[], bool],
    ) -> str:
        """Convert a machine; return its OVF document.

        :param report: given percent and what is being done
        :param stopping: whether to stop; the volumes then hold what was copied
        :raises OperationFailed: virt-v2v is not installed, or failed
        """
        variables = {"VIRTIO_WIN": order.drivers} if order.drivers else {}
        with self._tools.working(job_id, PROGRAM) as folder:
            command = _command(folder, order, password)
            self._tools.run(folder, command, _Copy(report).read, stopping, variables)
            return _ovf(folder, order)

    def clean(self, job_id: str) -> None:
        """Remove what a conversion has left; the volumes stay."""
        self._tools.clean(job_id)


def _command(folder: Path, order: V2VOrder, password: Secret | None) -> list[str]:
    storage = folder / order.domain_id
    command = [PROGRAM, *order.source]
    if password:
        file = folder / "password"
        file.touch(mode=0o600)
        file.write_text(password.reveal())
        command += ["-ip", str(file)]
    command += ["-o", "vdsm", "-os", str(storage), "-of", order.layout]
    command += ["-oa", "sparse" if order.sparse else "preallocated"]
    for disk in order.disks:
        # What virt-v2v writes beside a volume is storage's own matter: it stays in this folder.
        image = storage / "images" / disk.image_id
        image.mkdir(parents=True, exist_ok=True)
        (image / disk.volume_id).symlink_to(disk.path)
        command += ["-oo", f"vdsm-image-uuid={disk.image_id}", "-oo", f"vdsm-vol-uuid={disk.volume_id}"]
    command += ["-oo", f"vdsm-vm-uuid={order.vm_id}", "-oo", f"vdsm-ovf-output={folder}"]
    if order.compat:
        command += ["-oo", f"vdsm-compat={order.compat}"]
    command.append("--machine-readable")
    return [*command, "--", order.name] if order.name else command


def _ovf(folder: Path, order: V2VOrder) -> str:
    try:
        return (folder / f"{order.vm_id}.ovf").read_text("utf-8")
    except (OSError, UnicodeError) as error:
        raise OperationFailed(reason=f"{PROGRAM} has written no OVF document: {error}") from None


class _Copy:
    """How far the copy of all disks is, by virt-v2v's messages."""

    def __init__(self, report: Callable[[int, str], None]) -> None:
        self._report = report
        self._disk = 0
        self._disks = 1
        self._message = ""

    def read(self, line: str) -> None:
        """Report what a line says, if it says anything of it."""
        percent = 0
        if found := _PERCENT.search(line):
            percent = min(100, int(found.group(1)))
        elif found := _DISK.search(line):
            self._disk, self._disks = int(found.group(1)), max(1, int(found.group(2)))
            self._message = found.group(0)
        elif not (message := _message(line)):
            return
        elif not self._disk:
            self._message = message
        done = max(0, self._disk - 1) * 100 + percent
        self._report(min(99, done // self._disks), self._message)


def _message(line: str) -> str:
    """Return the message of a line in JSON; empty of any other."""
    if line.startswith("{"):
        with contextlib.suppress(ValueError):
            entry = json.loads(line)
            if entry.get("type") == "message":
                return str(entry.get("message"))[:200]
    return ""
