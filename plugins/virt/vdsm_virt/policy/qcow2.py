"""The files that a qcow2 image refers to, by its header.

A guest can write a header of its choice to a raw disk. Opened as qcow2 later, the disk would refer to any
file of the host. The layout is that of QEMU's specification of qcow2.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import BinaryIO, Final

_MAGIC: Final = b"QFI\xfb"
#: The bytes of the header up to and with `header_length`.
_HEADER: Final = 104
_MAX_NAME: Final = 1023
#: The first cluster holds the header and its extensions; clusters have at most 2 MiB.
_MAX_CLUSTER: Final = 2**21
_EXTERNAL_DATA: Final = 1 << 2
_BACKING_FORMAT: Final = 0xE2792ACA
_END: Final = 0
#: Formats of backing images whose own references can be read here, or that have none.
_FORMATS: Final = ("raw", "qcow2")


class UnsafeImage(Exception):
    """The references of an image cannot be determined. The text is one clause."""


def references(path: str) -> list[str]:
    """Return the files that an image refers to: absolute paths, or paths relative to its folder.

    An image that is not qcow2 has none: QEMU opens it as raw, or refuses it.

    :raises OSError: it cannot be read
    :raises UnsafeImage: it refers to something that is no plain path of a known format
    """
    with Path(path).open("rb") as image:
        header = image.read(_HEADER)
        if header[:4] != _MAGIC:
            return []
        if len(header) < 72:
            raise UnsafeImage("its header is cut off")
        version, offset, size, cluster_bits = struct.unpack(">IQII", header[4:24])
        if version >= 3:
            if len(header) < _HEADER:
                raise UnsafeImage("its header is cut off")
            (features,) = struct.unpack(">Q", header[72:80])
            if features & _EXTERNAL_DATA:
                raise UnsafeImage("its data is in another file")
        if not offset:
            return []
        name = _name(image, offset, size)
        length = struct.unpack(">I", header[100:104])[0] if version >= 3 else 72
        if _backing_format(image, length, cluster_bits, offset) not in _FORMATS:
            raise UnsafeImage("it does not say that its backing image is raw or qcow2")
    return [name]


def _name(image: BinaryIO, offset: int, size: int) -> str:
    if size > _MAX_NAME or offset > _MAX_CLUSTER:
        raise UnsafeImage("its header is damaged")
    image.seek(offset)
    name = image.read(size)
    if len(name) < size or b"\0" in name:
        raise UnsafeImage("its header is damaged")
    text = os.fsdecode(name)
    # QEMU takes a colon before the first slash as the end of a protocol's name, as in json: or nbd:.
    if not text or ":" in text.partition("/")[0]:
        raise UnsafeImage("its backing image is no plain path")
    return text


def _backing_format(image: BinaryIO, start: int, cluster_bits: int, name_offset: int) -> str:
    end = min(1 << min(cluster_bits, 21), name_offset)
    found = ""
    while start + 8 <= end:
        image.seek(start)
        extension = image.read(8)
        if len(extension) < 8:
            break
        kind, length = struct.unpack(">II", extension)
        if kind == _END:
            break
        if kind == _BACKING_FORMAT:
            found = image.read(min(length, 64)).decode("ascii", "replace")
        start += 8 + (length + 7) // 8 * 8
    return found
