"""Two small files beside the journal, which keep event numbers unique when the journal alone cannot.

`PATH-reserved` holds the end of the reserved block of numbers. It is written before a number of the block is
used, so that a new journal can continue after it when the old one is damaged or gone.

`PATH-boot` vouches that the journal holds every event that a subscriber may have seen. It contains the
kernel's boot id and is therefore void after a power cut. Removing it works on a full disk, too.
"""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path
from typing import Final

from vdsm_core.database import MEMORY

log = logging.getLogger(__name__)

#: JSON readers lose digits of larger numbers: such a number in a file is damage.
MAX_NUMBER: Final = 2**53 - 1
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


def boot_id() -> str:
    """Return the kernel's id of this run of the machine; empty where there is none."""
    try:
        return _BOOT_ID.read_text("ascii").strip()
    except OSError:
        return ""


class NumberFiles:
    """The files `PATH-reserved` and `PATH-boot`. A journal in memory has none.

    :param path: the journal
    :param boot: the boot id of this run of the machine; empty where it is unknown
    """

    def __init__(self, path: str, boot: str) -> None:
        self._path = path
        self._boot = boot
        self._reserved = Path(f"{path}-reserved")
        self._voucher = Path(f"{path}-boot")
        #: Whether the journal is vouched for now.
        self.vouched = False

    def read_reserved(self) -> int | None:
        """Return the end of the reserved block; None where it is unknown."""
        if self._path == MEMORY:
            return None
        try:
            reserved = int(self._reserved.read_text("ascii"))
        except (OSError, ValueError):
            return None
        return reserved if 0 <= reserved < MAX_NUMBER else None

    def write_reserved(self, reserved: int) -> None:
        """Write the end of the reserved block, and force it to the disk.

        :raises OSError: it cannot be written; the block must not be used
        """
        if self._path == MEMORY:
            return
        new = Path(f"{self._reserved}.new")
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, b"%d" % reserved)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        new.replace(self._reserved)

    def number_after_loss(self) -> int:
        """Return a number that no event of the lost journal can have had.

        Without the reservation, it is the milliseconds since 1970, which no host reaches by counting.
        """
        reserved = self.read_reserved()
        return int(time.time() * 1000) if reserved is None else reserved + 1

    def is_vouched(self) -> bool:
        """Return whether the voucher on disk is of this run of the machine."""
        if not self._boot or self._path == MEMORY:
            return False
        try:
            return self._voucher.read_text("ascii") == self._boot
        except (OSError, UnicodeDecodeError):
            return False

    def vouch(self) -> None:
        """Write the voucher. A failure is logged: it costs a block of numbers at the next start."""
        if self._path == MEMORY:
            return
        try:
            self._voucher.write_text(self._boot, "ascii")
            self._voucher.chmod(0o600)
            self.vouched = True
        except OSError as error:
            log.warning("Cannot write %s: %s. The next start skips a block of numbers", self._voucher, error)

    def withdraw(self) -> None:
        """Remove the voucher: an event that a subscriber may have seen is not in the journal."""
        if self._path != MEMORY:
            self._voucher.unlink(missing_ok=True)
        self.vouched = False
