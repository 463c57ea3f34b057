"""The audit log: who did what to which object, from where, and how it ended.

One JSON object a line, in files of bounded size beside the state store; or on the log of the daemon, which
the journal of the system keeps. Arguments and results are never in it, so that no secret can be.
"""

from __future__ import annotations

import logging
import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

import msgspec

from vdsm_core.errors import ConfigError

log = logging.getLogger(__name__)

#: Where the records go if they go to the daemon's log.
LOGGER: Final = "vdsm.audit"


class AuditRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line. What is empty is left out.

    An action leaves two lines with the same `call`: one before it is carried out (outcome `begun`), one with
    the outcome. A call that was refused at the door leaves only the second.
    """

    #: When it was written, in UTC: `2026-01-31T12:00:00.000Z`.
    time: str
    #: Ties the lines of one call together.
    call: str
    #: `begun`, `done`, `replayed` (answered by its request id, not carried out again) or an error's slug.
    outcome: str
    verb: str
    #: The id of the object that the verb acts on.
    object: str = ""
    who: str
    role: str
    #: The proof of identity: peer, token, bus, loopback, internal.
    how: str
    #: The local user behind the connection: of a unix socket, or the owner of a loopback TCP peer's socket.
    uid: int | msgspec.UnsetType = msgspec.UNSET
    binding: str
    address: str = ""
    flow_id: str = ""
    request_id: str = ""
    #: The task that the call started, or that ended.
    task: str = ""
    #: VDSM's number of the error.
    code: int = 0
    #: How long it took, the wait for the object included.
    seconds: float | msgspec.UnsetType = msgspec.UNSET


class AuditLog(Protocol):
    """Where records go."""

    def open(self) -> None:
        """Make ready to write.

        :raises ConfigError: it cannot be written
        """

    def write(self, record: AuditRecord) -> None:
        """Keep a record. Never raises: an action that was carried out is not undone by a full disk."""

    def close(self) -> None:
        """Free what is held."""


class NoAudit:
    """Keeps nothing."""

    def open(self) -> None:
        """Need nothing."""

    def write(self, record: AuditRecord) -> None:
        """Keep nothing."""

    def close(self) -> None:
        """Hold nothing."""


class AuditToLog:
    """Hands each record to the log of the daemon, as JSON."""

    def __init__(self) -> None:
        self._log = logging.getLogger(LOGGER)

    def open(self) -> None:
        """See that the records are logged, whatever else is."""
        self._log.setLevel(logging.INFO)

    def write(self, record: AuditRecord) -> None:
        """Log a record."""
        self._log.info("%s", msgspec.json.encode(record).decode())

    def close(self) -> None:
        """Hold nothing."""


class AuditFiles:
    """Files of bounded size: `path` is written, `path.1` is the one before it, and so on.

    A file that somebody moved away or removed is made anew. A record that cannot be written is told once to
    the log, with the number of those lost when it goes on.

    :param most_bytes: size of one file
    :param files: how many there are at the most
    """

    def __init__(self, path: Path, *, most_bytes: int, files: int) -> None:
        self._path = path
        self._most_bytes = most_bytes
        self._files = files
        self._lock = threading.Lock()
        self._file = -1
        self._lost = 0

    def open(self) -> None:
        """Make the file where absent (mode 0600: it names callers).

        :raises ConfigError: it cannot be written
        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._reopen()
            self._end_line()
        except OSError as error:
            raise ConfigError(
                file=str(self._path), key="audit.file", reason=error.strerror or str(error)
            ) from None

    def write(self, record: AuditRecord) -> None:
        """Append a record, and begin a new file if this one is full."""
        line = msgspec.json.encode(record) + b"\n"
        with self._lock:
            try:
                self._append(line)
            except OSError as error:
                if not self._lost:
                    log.error("The audit log cannot be written: %s: %s", self._path, error.strerror)  # noqa: TRY400
                self._lost += 1
                return
            if self._lost:
                log.error("The audit log is written again; it lacks %d records", self._lost)
                self._lost = 0

    def close(self) -> None:
        """Close the file. A record that comes later opens it again."""
        with self._lock:
            if self._file >= 0:
                os.close(self._file)
                self._file = -1

    def _append(self, line: bytes) -> None:
        if self._file < 0 or self._moved():
            self._reopen()
        size = os.fstat(self._file).st_size
        if size and size + len(line) > self._most_bytes:
            self._turn_over()
            size = 0
        if os.write(self._file, line) < len(line):
            # A disk that is full takes a part: a line is whole, or not there.
            os.ftruncate(self._file, size)
            raise OSError(0, "No space left on device")

    def _end_line(self) -> None:
        """What a power cut left of the last line must not take the next one with it."""
        with self._path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read() != b"\n":
                    os.write(self._file, b"\n")

    def _moved(self) -> bool:
        try:
            there, mine = self._path.stat(), os.fstat(self._file)
        except FileNotFoundError:
            return True
        return (there.st_dev, there.st_ino) != (mine.st_dev, mine.st_ino)

    def _reopen(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._file = os.open(self._path, flags, 0o600)

    def _turn_over(self) -> None:
        for number in range(self._files - 1, 0, -1):
            with suppress(FileNotFoundError):
                self._numbered(number - 1).rename(self._numbered(number))
        if self._files == 1:
            self._path.unlink(missing_ok=True)
        self._reopen()

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}") if number else self._path
