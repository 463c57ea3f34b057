"""The audit log in files of bounded size."""

from __future__ import annotations

import logging
import os
import re
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from vdsm_core.audit.chain import Head, HeadFile, chained, digest, link_of, read_head
from vdsm_core.audit.log import LOGGER
from vdsm_core.audit.record import AuditRecord
from vdsm_core.config import Config
from vdsm_core.database import MEMORY
from vdsm_core.errors import ConfigError

log = logging.getLogger(__name__)
_heads = logging.getLogger(LOGGER)

#: Bytes at the end of a file that hold its last whole line: names and ids in a record are bounded.
_TAIL: Final = 65_536
_NUMBERED: Final = re.compile(r"\.(\d+)")


class AuditFiles:
    """Files of bounded size: `path` is written, `path.1` is the one before it, and so on.

    The lines are chained (see `vdsm_core.audit.chain`). A file that was moved or removed is made anew, and
    the chain goes on in it. A record that cannot be written is logged once, and the number of records lost
    once writing works again.

    :param max_bytes: size of one file
    :param files: number of files at most
    """

    def __init__(self, path: Path, *, max_bytes: int, files: int) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._files = files
        self._lock = threading.Lock()
        self._file = -1
        self._head = Head()
        self._head_file = HeadFile(path)
        self._reported = 0
        self._lost = 0

    def open(self) -> None:
        """Make the file where absent (mode 0600: it names callers), and find the head of the chain.

        :raises ConfigError: it cannot be written
        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._reopen()
            self._end_line()
            self._head = _find_head(self._path, self._files)
            self._remove_surplus()
            self._head_file.write(self._head)
        except OSError as error:
            raise ConfigError(
                file=str(self._path), key="audit.file", reason=error.strerror or str(error)
            ) from None
        # Heads are logged whatever the level of the other loggers is: they are what the chain is compared to.
        _heads.setLevel(logging.INFO)
        self.report_head()

    def write(self, record: AuditRecord) -> None:
        """Append a record, and begin a new file if this one is full."""
        body = msgspec.json.encode(record)
        with self._lock:
            try:
                self._append(body)
            except OSError as error:
                if not self._lost:
                    log.error("Cannot write the audit log %s: %s", self._path, error.strerror)  # noqa: TRY400
                self._lost += 1
                return
            if self._lost:
                log.error("The audit log can be written again; %d records are missing from it", self._lost)
                self._lost = 0

    def report_head(self) -> None:
        """Log the head, unless no record was written since the last time."""
        with self._lock:
            head, reported = self._head, self._reported
            self._reported = head.seq
        if head.seq != reported:
            _heads.info("%s", head.message())

    def close(self) -> None:
        """Log the head and close the files. A later record opens them again."""
        self.report_head()
        with self._lock:
            self._head_file.close()
            if self._file >= 0:
                os.close(self._file)
                self._file = -1

    def _append(self, body: bytes) -> None:
        if self._file < 0 or self._moved():
            self._reopen()
        line = chained(body, self._head)
        size = os.fstat(self._file).st_size
        if size and size + len(line) >= self._max_bytes:
            self._rotate()
            size = 0
        if os.write(self._file, line + b"\n") <= len(line):
            # A full disk takes a part: a line is whole, or not there.
            os.ftruncate(self._file, size)
            raise OSError(0, "No space left on device")
        self._head = Head(seq=self._head.seq + 1, hash=digest(line), first=self._head.first)
        self._head_file.write(self._head)

    def _end_line(self) -> None:
        """End the incomplete line that a power failure left, so that the next one is readable."""
        with self._path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read() != b"\n":
                    os.write(self._file, b"\n")

    def _remove_surplus(self) -> None:
        """Remove the files beyond the number that is kept, which was larger before."""
        surplus = [each for number, each in numbers(self._path).items() if number >= self._files]
        for each in surplus:
            log.info("Removing %s: [audit] files keeps %d files", each, self._files)
            each.unlink(missing_ok=True)
        if surplus:
            self._head = msgspec.structs.replace(self._head, first=_oldest(self._path, self._files))

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

    def _rotate(self) -> None:
        # Before the oldest file goes, so that a kill in between leaves too many records, never too few.
        self._head = msgspec.structs.replace(self._head, first=self._first_after_rotation())
        self._head_file.write(self._head)
        for number in range(self._files - 1, 0, -1):
            with suppress(FileNotFoundError):
                numbered(self._path, number - 1).rename(numbered(self._path, number))
        if self._files == 1:
            self._path.unlink(missing_ok=True)
        self._reopen()

    def _first_after_rotation(self) -> int:
        """Return the number of the oldest line that is left once the oldest file has gone."""
        if self._files == 1:
            return self._head.seq + 1
        if not numbered(self._path, self._files - 1).exists():
            return self._head.first
        return _first_seq(numbered(self._path, self._files - 2)) or self._head.first


def configured_path(config: Config) -> Path | None:
    """Return the audit log that a configuration names, or None: records do not go to a file."""
    options, folder = config.audit, config.daemon.state_dir
    if options.to != "file" or (folder == MEMORY and not options.file):
        return None
    return Path(options.file or Path(folder) / "audit.log")


def numbered(path: Path, number: int) -> Path:
    """Return the path of the file that `number` rotations have moved on."""
    return path.with_name(f"{path.name}.{number}") if number else path


def numbers(path: Path) -> dict[int, Path]:
    """Return the files of an audit log by their numbers, the newest (0) first.

    :raises OSError: the folder cannot be read
    """
    found = {}
    for each in path.parent.iterdir():
        if each.name == path.name:
            found[0] = each
        elif match := _NUMBERED.fullmatch(each.name.removeprefix(path.name)):
            found[int(match[1])] = each
    return dict(sorted(found.items()))


def _first_seq(path: Path) -> int:
    """Return the number of the first chained line of a file; 0: there is none."""
    with suppress(FileNotFoundError), path.open("rb") as file:
        for line in file:
            link = link_of(line)
            if link is not None and link.seq:
                return link.seq
    return 0


def _find_head(path: Path, files: int) -> Head:
    """Return where the chain goes on: after the last line, or after what the head file says was the last."""
    noted, last = read_head(path), _last_line(path, files)
    if noted is None:
        if last is None:
            return Head()
        log.warning("%s.head is missing: the chain of the audit log goes on after its last line", path)
        return msgspec.structs.replace(last, first=_oldest(path, files))
    if last is None or last.seq < noted.seq:
        missing = last.seq + 1 if last else noted.first
        log.error("The newest records of the audit log %s are missing: %d to %d", path, missing, noted.seq)
    elif last.seq > noted.seq:
        # Killed between the two writes, that of the line and that of the head.
        return msgspec.structs.replace(last, first=noted.first)
    elif last.hash != noted.hash:
        log.error("Record %d, the newest one of the audit log %s, was changed", last.seq, path)
    return noted


def _last_line(path: Path, files: int) -> Head | None:
    """Return the newest chained line of the newest file that has one."""
    for number in range(files):
        with suppress(FileNotFoundError), numbered(path, number).open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL))
            for line in reversed(file.read().split(b"\n")):
                link = link_of(line)
                if link is not None and link.seq:
                    return Head(seq=link.seq, hash=digest(line))
    return None


def _oldest(path: Path, files: int) -> int:
    firsts = (_first_seq(numbered(path, number)) for number in range(files))
    return min((first for first in firsts if first), default=1)
