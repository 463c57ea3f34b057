"""The lock on the state directory: one daemon at a time writes tasks, request ids and event numbers there."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from vdsm_core.errors import ConfigError
from vdsm_core.filelock import lock_exclusively

LOCK_FILE: Final = "lock"


class StateLock:
    """A lock held for the life of a process. The kernel releases it with the process; a left-over file is
    harmless.

    :param folder: the state directory
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = -1

    def acquire(self) -> None:
        """Lock the directory for this process, creating it where absent.

        :raises ConfigError: another process holds it, or it cannot be written to
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            file = os.open(self._folder / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise self._refusal(error.strerror or str(error)) from None
        try:
            if not lock_exclusively(file):
                holder = os.pread(file, 32, 0).decode("ascii", "replace").strip() or "unknown"
                raise self._refusal(f"another daemon (pid {holder}) uses it")
            os.ftruncate(file, 0)
            os.write(file, f"{os.getpid()}\n".encode())
        except OSError as error:
            os.close(file)
            raise self._refusal(error.strerror or str(error)) from None
        except ConfigError:
            os.close(file)
            raise
        self._file = file

    def release(self) -> None:
        """Unlock the directory. Releasing twice is harmless."""
        if self._file >= 0:
            with suppress(OSError):
                os.ftruncate(self._file, 0)
            os.close(self._file)
            self._file = -1

    def _refusal(self, reason: str) -> ConfigError:
        return ConfigError(file=str(self._folder), key="daemon.state_dir", reason=reason)
