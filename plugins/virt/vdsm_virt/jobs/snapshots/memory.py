"""The volumes that the memory of a machine and its configuration are written to.

The configuration is what VDSM wrote, a dictionary of plain data as a pickle of protocol 2, so that hosts with
VDSM resume from it. Only writing uses pickle: what is read from storage is never executed.
"""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any, Final

import msgspec

from vdsm_core.volumes import DiskId

#: Bytes that the size of such volumes is a multiple of, for direct I/O on any storage.
BLOCK: Final = 4096
#: VDSM's protocol of pickles, which its Python 2 read as well.
_PROTOCOL: Final = 2


class MemoryDisks(msgspec.Struct, frozen=True):
    """The volume of the memory, and that of the configuration."""

    memory: DiskId
    configuration: DiskId


def parse_volumes(text: str) -> MemoryDisks | None:
    """Return the volumes from their six ids; see `MemoryVolumes`. None: the text is empty."""
    if not text.strip():
        return None
    domain, pool, image, volume, other_image, other_volume = (each.strip() for each in text.split(","))
    return MemoryDisks(
        DiskId(pool_id=pool, domain_id=domain, image_id=image, volume_id=volume),
        DiskId(pool_id=pool, domain_id=domain, image_id=other_image, volume_id=other_volume),
    )


def write_configuration(path: Path, parameters: dict[str, Any]) -> None:
    """Write what a machine is resumed with. A file is not cut off after it.

    :raises OSError: the volume cannot be written
    """
    content = pickle.dumps(parameters, _PROTOCOL)
    content += b"\0" * (-len(content) % BLOCK)
    with path.open("r+b") as volume:
        volume.write(content)
        volume.flush()
        os.fsync(volume.fileno())


def pad(path: Path) -> None:
    """Have the size of a file be a multiple of `BLOCK`; a device has a size of its own.

    :raises OSError: it cannot be changed
    """
    if not path.is_file():
        return
    size = path.stat().st_size
    if size % BLOCK:
        os.truncate(path, size + -size % BLOCK)
