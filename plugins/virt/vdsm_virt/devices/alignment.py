"""Where the partitions of an unused disk begin: by its MBR or GPT.

The layouts are those of the UEFI specification (chapter 5) and of its description of the legacy MBR.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from vdsm_core.errors import OperationFailed, VdsmError
from vdsm_core.types import BLANK_UUID as BLANK_VM
from vdsm_core.volumes import DiskId, PreparedDisk
from vdsm_virt.devices.images import Images
from vdsm_virt.errors import CannotPrepareImage, ImageFileNotFound, reason_of

#: Bytes of a sector; partition tables count in these.
SECTOR: Final = 512
#: Bytes to which a partition has to be aligned: storage that stripes or deduplicates in blocks of this size,
#: and all smaller powers of two, is served well.
ALIGNED: Final = 65_536
_MBR_ENTRIES: Final = 446
_MBR_MAGIC: Final = b"\x55\xaa"
_GPT_MAGIC: Final = b"EFI PART"
_PROTECTIVE: Final = 0xEE
_EXTENDED: Final = frozenset({0x05, 0x0F, 0x85})
#: Entries of a GPT and logical partitions of an MBR that are read.
_MAX_PARTITIONS: Final = 256
_TIMEOUT: Final = 30.0

#: Returns a number of sectors from a sector on; shorter at the end of the disk.
Reader = Callable[[int, int], bytes]


class Alignment:
    """Carries out `VM.getDiskAlignment`."""

    def __init__(self, images: Images) -> None:
        self._images = images

    def measure(self, disk: DiskId) -> dict[str, bool]:
        """Return whether each partition of a disk that no machine uses is aligned, by its name.

        :raises ImageFileNotFound: the ids name no disk
        :raises CannotPrepareImage: storage cannot prepare it
        :raises OperationFailed: it cannot be read
        """
        if not disk:
            raise ImageFileNotFound(vm_id=BLANK_VM, reason="the ids of a disk are missing")
        try:
            prepared = self._images.prepare(BLANK_VM, disk)
        except VdsmError as error:
            self._images.release(BLANK_VM, disk)
            raise CannotPrepareImage(vm_id=BLANK_VM, reason=reason_of(error)) from error
        try:
            starts = list(partitions(image_reader(prepared)))
        finally:
            self._images.release(BLANK_VM, disk)
        return {f"/dev/sda{number}": start * SECTOR % ALIGNED == 0 for number, start in starts}


def partitions(read: Reader) -> Iterator[tuple[int, int]]:
    """Yield number and first sector of each partition of a disk. A disk without a table has none."""
    first = read(0, 2)
    if len(first) < SECTOR or first[510:512] != _MBR_MAGIC:
        return
    entries = list(_mbr_entries(first))
    if any(kind == _PROTECTIVE for _number, kind, _start in entries):
        if first[SECTOR : SECTOR + 8] == _GPT_MAGIC:
            yield from _gpt(first[SECTOR:], read)
        return
    for number, kind, start in entries:
        if kind in _EXTENDED:
            yield from _logical(start, read)
        else:
            yield number, start


def image_reader(prepared: PreparedDisk) -> Reader:
    """Return a reader of an image, by its layout as storage knows it: its header is not asked.

    :raises OperationFailed: by the reader: the image cannot be read
    """
    layout = "qcow2" if prepared.format == "cow" else "raw"
    program = shutil.which("qemu-img")
    if program is None:
        raise OperationFailed(reason="qemu-img is not installed")

    def read(start: int, count: int) -> bytes:
        with tempfile.TemporaryDirectory(prefix="vdsm-alignment-") as folder:
            out = Path(folder, "sectors")
            command = [program, "dd", "-f", layout, "-O", "raw", f"bs={SECTOR}", f"skip={start}"]
            # `count` is counted from the begin of the disk.
            command += [f"count={start + count}", f"if={prepared.path}", f"of={out}"]
            try:
                done = subprocess.run(  # noqa: S603 - a fixed program on a path of storage's
                    command, capture_output=True, timeout=_TIMEOUT, check=False, text=True
                )
            except subprocess.TimeoutExpired:
                raise OperationFailed(reason=f"the disk cannot be read within {_TIMEOUT:g} s") from None
            if done.returncode:
                raise OperationFailed(reason=f"the disk cannot be read: {done.stderr.strip()[-200:]}")
            return out.read_bytes()[: count * SECTOR]

    return read


def _mbr_entries(sector: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield number, type and first sector of the entries in use."""
    for number in range(4):
        entry = sector[_MBR_ENTRIES + 16 * number : _MBR_ENTRIES + 16 * (number + 1)]
        kind, start, count = entry[4], *struct.unpack("<II", entry[8:16])
        if kind and count:
            yield number + 1, kind, start


def _logical(extended: int, read: Reader) -> Iterator[tuple[int, int]]:
    """Yield the logical partitions, which are a chain of tables of two entries each."""
    table, seen = extended, set()
    for number in range(5, 5 + _MAX_PARTITIONS):
        if table in seen:
            return
        seen.add(table)
        sector = read(table, 1)
        if len(sector) < SECTOR or sector[510:512] != _MBR_MAGIC:
            return
        following = 0
        for _number, kind, start in _mbr_entries(sector):
            if kind in _EXTENDED:
                following = extended + start
            else:
                yield number, table + start
        if not following:
            return
        table = following


def _gpt(header: bytes, read: Reader) -> Iterator[tuple[int, int]]:
    first, count, size = struct.unpack("<QII", header[72:88])
    if not 128 <= size <= 4096 or not 0 < first < 2**32:
        return
    count = min(count, _MAX_PARTITIONS)
    table = read(first, (count * size + SECTOR - 1) // SECTOR)
    for number in range(count):
        entry = table[number * size : (number + 1) * size]
        if len(entry) >= 48 and any(entry[:16]):
            (start,) = struct.unpack("<Q", entry[32:40])
            yield number + 1, start
