"""The journal: events on disk, bounded by size and age, with numbers that never repeat.

It is a SQLite file of its own, in WAL mode with `synchronous=NORMAL`: a batch of events is one transaction,
written to the operating system when `append` returns, and forced to the disk by `sync`. A killed daemon
loses nothing that was appended; a power cut loses at most the events after the last `sync`. `sync` runs on a
thread of its own, so that a slow disk delays neither `append` nor `read`.

Numbers are reserved in blocks, and a reservation is forced to the disk before a number of the block is used.
After a power cut the numbers continue after the reservation, since a subscriber may have seen any before it.
A voucher beside the journal (see `numbers`) says that every event that a subscriber has seen is in the file;
it is withdrawn when an event could not be written. A daemon that was killed with a valid voucher skips no
numbers.

Numbers do not repeat when the file is damaged or gone, either: the end of the reserved block is also kept in
a file of its own. A damaged journal is set aside; a subscriber that resumes gets a gap for its events. A
journal of a newer release is refused.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from vdsm_core import database
from vdsm_core.database import MEMORY, Damaged
from vdsm_core.errors import ConfigError
from vdsm_core.events.numbers import MAX_NUMBER, NumberFiles, boot_id
from vdsm_core.events.vocabulary import Event

log = logging.getLogger(__name__)

#: Numbers reserved at a time: one forced write for as many events, and at most as many skipped.
BLOCK: Final = 10_000
#: Bytes of an event beside its parameters and its id: row header, number, time, page overhead.
_OVERHEAD: Final = 48
_TABLES: Final = """
CREATE TABLE IF NOT EXISTS events (
    seq INTEGER PRIMARY KEY, time REAL NOT NULL, id TEXT NOT NULL, params BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS numbers (
    one INTEGER PRIMARY KEY CHECK (one = 1), reserved INTEGER, last INTEGER
);
INSERT OR IGNORE INTO numbers (one, reserved, last) VALUES (1, 0, 0);
PRAGMA user_version = 1;
"""
_VERSIONS: Final = "SELECT 'events', user_version FROM pragma_user_version"
_COLUMNS: Final = {"events": "seq time id params", "numbers": "one reserved last"}
#: The fraction of the journal that is dropped at a time when it is full: 1 / `_PART`. Large enough to be
#: rare, small enough to be quick.
_PART: Final = 64
#: Events dropped for their age at a time; the rest is dropped at the next time.
_MAX_DROPPED: Final = 10_000
#: Bytes in SQLite's log from which on it is moved into the file.
_LOG_SIZE: Final = 4 * 2**20
#: Bytes that a transaction writes at least.
_PAGE: Final = 4096
#: Seconds between two searches for events that are too old, where nothing is written.
_LOOK: Final = 60.0
_SIZE: Final = f"length(params) + length(id) + {_OVERHEAD}"


class Journal:
    """The events of the past. One writer; any number of readers at the same time.

    :param path: the file, or `MEMORY` for a journal that ends with the process
    :param max_bytes: approximate limit of the size of the events
    :param keep: seconds that an event is kept
    :param boot: the boot id of this run of the machine
    """

    def __init__(self, path: str, *, max_bytes: int, keep: float, boot: str | None = None) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._keep = keep
        self._numbers = NumberFiles(path, boot_id() if boot is None else boot)
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        self._mover: sqlite3.Connection | None = None
        self._log_file = -1
        self._read_lock = threading.Lock()
        self._write_lock = threading.Lock()
        self._size_lock = threading.Lock()
        self._bytes = self._logged = 0
        self._looked = 0.0
        self._dirty = self._in_use = False
        self._identity: database.Identity | None = None
        self.first = self.next = 1
        self.reserved = 0
        #: How often the journal was begun anew.
        self.generation = 0

    def open(self) -> None:
        """Open the file, creating it (mode 0600) where absent, and determine the next number.

        A damaged file is set aside and replaced by a new one.

        :raises ConfigError: the file or its folder cannot be used, or a newer release wrote the file
        """
        database.refuse_newer(self._path, _VERSIONS, {"events": 1})
        try:
            try:
                self._open_file(resume=True)
            except (OSError, sqlite3.Error, Damaged, TypeError, ValueError) as error:
                if not _is_damage(error):
                    raise
                self.next = self._numbers.number_after_loss()
                self.reserved = self.next - 1
                self._begin_anew(error)
            self._in_use = True
        except (OSError, sqlite3.Error, Damaged) as error:
            self._close()
            raise ConfigError(file=self._path, key="daemon.state_dir", reason=str(error)) from None

    def _open_file(self, *, resume: bool) -> None:
        if self._path != MEMORY:
            database.make_private(self._path)
        # A journal in memory is private to its connection: writer and reader are the same one.
        self._writer = self._connect()
        self._writer.executescript(_TABLES)
        for table, columns in _COLUMNS.items():
            found = " ".join(row[1] for row in self._writer.execute(f"PRAGMA table_info({table})"))
            if found != columns:
                raise Damaged(f"its table '{table}' has other columns")
        self._reader = self._writer if self._path == MEMORY else self._connect()
        if resume:
            self._resume(self._writer)
        if self._path != MEMORY:
            # Moving the log waits for the disk: it has its own connection and runs on the thread of `sync`.
            self._writer.execute("PRAGMA wal_autocheckpoint=0")
            self._mover = self._connect()
            self._log_file = os.open(f"{self._path}-wal", os.O_RDONLY | os.O_CLOEXEC)
        self._identity = database.identity(self._path)

    def _begin_anew(self, error: BaseException) -> None:
        """Set the file aside and begin a new one that continues the numbers. The caller holds the locks."""
        self._close()
        self._numbers.withdraw()
        aside = database.set_aside(self._path) if os.path.lexists(self._path) else ""
        self._open_file(resume=False)
        self._numbers.write_reserved(self.reserved)
        self._writer_now().execute(
            "UPDATE numbers SET reserved = max(reserved, ?), last = ?", (self.reserved, self.next - 1)
        )
        self.first = self.next
        self._bytes = 0
        self.generation += 1
        log.error(
            "The event journal %s is damaged or gone (%s): %sbegun anew at number %d; older events are lost",
            self._path,
            error,
            f"set aside as {Path(aside).name}, " if aside else "",
            self.next,
        )

    def repair(self, error: BaseException, generation: int) -> bool:
        """Handle an error at run time: begin a new file if this one is damaged or gone.

        Numbers that were taken or reserved stay so: the new file continues after them.

        :param generation: its value before the failed operation; another thread may have repaired it
            meanwhile
        :returns: whether there is a new journal
        :raises sqlite3.Error: a new one cannot be begun; the next failing `sync` leads here again
        :raises OSError: as well
        """
        with self._write_lock, self._read_lock:
            if generation != self.generation:
                return True
            if self._path == MEMORY or not self._in_use:
                return False
            gone = self._writer is None or database.identity(self._path) != self._identity
            if not (gone or _is_damage(error)):
                return False
            self._begin_anew(error)
            return True

    def close(self) -> None:
        """Force everything to the disk and close. Closing twice is harmless."""
        with self._write_lock, self._read_lock:
            self._in_use = False
            if self._writer is None:
                return
            try:
                # Nothing is pending any more: return the rest of the block.
                sql = "UPDATE numbers SET last = max(last, ?), reserved = ?"
                self._force(self._writer, sql, self.next - 1, self.next - 1)
            finally:
                self._close()

    def take_numbers(self, count: int) -> int:
        """Take `count` numbers and return the first. They are never taken again, unless given back.

        :raises sqlite3.Error: the disk is full or broken, and none are left of the last block
        :raises OSError: as well
        """
        first = self.next
        if first + count - 1 > self.reserved:
            self._reserve(first + count - 1 + BLOCK)
        self.next = first + count
        return first

    def give_back(self, first: int) -> None:
        """Give back the numbers from `first` on, which no subscriber has seen."""
        self.next = first

    def append(self, events: Sequence[tuple[Event, bytes]]) -> None:
        """Write events, each with its parameters as JSON, in the order of their numbers, as one transaction.

        Without events: record that the numbers which were taken are used up.

        :raises sqlite3.Error: the disk is full or broken; the numbers are used up
        :raises OSError: the voucher could not be withdrawn either: the numbers could repeat after a restart
        """
        rows = [(event.seq, event.time, event.id, params) for event, params in events]
        try:
            with self._writing() as connection:
                connection.executemany("INSERT INTO events VALUES (?, ?, ?, ?)", rows)
                if not rows:
                    connection.execute("UPDATE numbers SET last = max(last, ?)", (self.next - 1,))
        except sqlite3.Error:
            self._numbers.withdraw()
            raise
        size = sum(len(row[3]) + len(row[2]) + _OVERHEAD for row in rows)
        self._grow(size)
        self._logged += size + _PAGE
        self._dirty = True
        if not self._numbers.vouched:
            self._numbers.vouch()
        if self._bytes > self._max_bytes:
            self._drop_oldest(self._bytes - self._max_bytes + self._max_bytes // _PART)

    def sync(self) -> None:
        """Force what was appended to the disk, and drop what is too old.

        :raises sqlite3.Error: the disk is full or broken
        :raises OSError: as well
        :raises Damaged: the file was removed or replaced: `repair` begins a new one
        """
        if self._path != MEMORY and database.identity(self._path) != self._identity:
            raise Damaged("it was removed or replaced while in use")
        now = time.monotonic()
        dirty, self._dirty = self._dirty, False
        if dirty:
            try:
                self._force_log()
            except BaseException:
                self._dirty = True
                raise
        if self._logged > _LOG_SIZE:
            self._move_log()
        if (dirty or now >= self._looked + _LOOK) and not self._drop_before(time.time() - self._keep):
            self._looked = now

    def read(self, after: int, limit: int) -> list[Event]:
        """Return at most `limit` events with numbers above `after`, in order."""
        sql = "SELECT seq, id, time, params FROM events WHERE seq > ? ORDER BY seq LIMIT ?"
        with self._read_lock:
            rows = self._open(self._reader).execute(sql, (after, limit)).fetchall()
        return [
            Event(seq=seq, id=name, time=at, params=msgspec.json.decode(params))
            for seq, name, at, params in rows
        ]

    @property
    def size(self) -> int:
        """Approximate size of the events, in bytes."""
        return self._bytes

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, check_same_thread=False, isolation_level=None)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute(f"PRAGMA journal_size_limit={_LOG_SIZE}")
        return connection

    def _resume(self, connection: sqlite3.Connection) -> None:
        self.reserved, last = connection.execute("SELECT reserved, last FROM numbers").fetchone()
        if not (0 <= self.reserved <= MAX_NUMBER and 0 <= last <= MAX_NUMBER):
            raise Damaged("its numbers are out of range")
        if not self.reserved and (barrier := self._numbers.read_reserved()) is not None:
            # The file was removed while no daemon ran.
            self.reserved = last = barrier
        first, newest, size = connection.execute(
            f"SELECT min(seq), max(seq), total({_SIZE}) FROM events"  # noqa: S608 - constants only
        ).fetchone()
        self._bytes = int(size)
        written = max(last, newest or 0)
        # Closed cleanly, or killed without a reboot since: every event that was seen is in the file.
        self.next = written + 1 if self._numbers.is_vouched() else max(written, self.reserved) + 1
        self.first = first if first is not None else self.next
        # Record the used numbers before vouching for this file again.
        connection.execute("UPDATE numbers SET last = ?", (self.next - 1,))
        if self.reserved:
            # A journal of a release that did not keep the reservation in a file of its own.
            self._numbers.write_reserved(max(self.reserved, self.next - 1))
        self._numbers.vouch()

    def _reserve(self, up_to: int) -> None:
        self._numbers.write_reserved(up_to)
        with self._alone() as connection:
            self._force(connection, "UPDATE numbers SET reserved = max(reserved, ?)", up_to)
        self.reserved = up_to

    def _force_log(self) -> None:
        """Force the log to the disk, and with it the next block of numbers before this one is used up.

        SQLite itself would force it within a transaction, blocking other writers meanwhile, and only while no
        reader uses an older state. (SQLite holds no lock on this file, so a second descriptor is harmless;
        see "How To Corrupt An SQLite Database File" on fcntl.)
        """
        if self._path == MEMORY:
            return
        up_to = self.reserved
        if up_to - self.next < BLOCK // 2:
            up_to += BLOCK
            self._numbers.write_reserved(up_to)
            with self._alone() as connection:
                connection.execute("UPDATE numbers SET reserved = max(reserved, ?)", (up_to,))
        os.fdatasync(self._log_file)
        self.reserved = max(self.reserved, up_to)

    def _grow(self, by: int) -> None:
        with self._size_lock:
            self._bytes += by

    def _move_log(self) -> None:
        """Move SQLite's log into the file, while others write; cut it if it has become very large."""
        self._logged = 0
        if self._mover is None:
            return
        self._mover.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        if os.fstat(self._log_file).st_size > 4 * _LOG_SIZE:
            # Overlapping readers may have kept SQLite from reusing the log from its start.
            with self._alone(), self._read_lock:
                self._mover.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()

    def _drop_oldest(self, min_bytes: int) -> None:
        freed = last = 0
        sql = f"SELECT seq, {_SIZE} FROM events ORDER BY seq"  # noqa: S608 - constants only
        with self._writing() as connection:
            for seq, size in connection.execute(sql):
                last, freed = seq, freed + size
                if freed >= min_bytes:
                    break
            self._drop(connection, last)
        self._grow(-freed)

    def _drop_before(self, moment: float) -> bool:
        """Drop events from before `moment`, up to a limit; return whether there are more."""
        freed = last = count = 0
        with self._writing() as connection:
            sql = f"SELECT seq, time, {_SIZE} FROM events ORDER BY seq LIMIT ?"  # noqa: S608 - as above
            for seq, at, size in connection.execute(sql, (_MAX_DROPPED,)):
                if at >= moment:
                    break
                last, freed, count = seq, freed + size, count + 1
            if last:
                self._drop(connection, last)
        self._grow(-freed)
        return count == _MAX_DROPPED

    def _drop(self, connection: sqlite3.Connection, last: int) -> None:
        connection.execute("DELETE FROM events WHERE seq <= ?", (last,))
        # Without its newest row, the table does not show the last number any more.
        connection.execute("UPDATE numbers SET last = max(last, ?)", (last,))
        self.first = last + 1

    @contextlib.contextmanager
    def _alone(self) -> Iterator[sqlite3.Connection]:
        """The writer's connection, for one thread at a time."""
        with self._write_lock, self._read_lock if self._writer is self._reader else contextlib.nullcontext():
            yield self._open(self._writer)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """The writer's connection, in a transaction."""
        with self._alone() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                # SQLite has often rolled back itself when the disk is full.
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    @staticmethod
    def _force(connection: sqlite3.Connection, sql: str, *values: int) -> None:
        """Run a transaction and force it, and with it all earlier ones, to the disk."""
        connection.execute("PRAGMA synchronous=FULL")
        try:
            connection.execute(sql, values)
        finally:
            connection.execute("PRAGMA synchronous=NORMAL")

    def _close(self) -> None:
        for connection in (self._mover, self._reader, self._writer):
            if connection is not None:
                connection.close()
        self._writer = self._reader = self._mover = None
        if self._log_file >= 0:
            os.close(self._log_file)
            self._log_file = -1

    def _writer_now(self) -> sqlite3.Connection:
        return self._open(self._writer)

    @staticmethod
    def _open(connection: sqlite3.Connection | None) -> sqlite3.Connection:
        if connection is None:
            raise sqlite3.OperationalError("the journal is not open")
        return connection


def _is_damage(error: BaseException) -> bool:
    """Return whether an error means that the file is damaged or is not a journal.

    The statements are constant: one that SQLite rejects was run on other tables.
    """
    if isinstance(error, OSError):
        return isinstance(error, IsADirectoryError)
    if isinstance(error, msgspec.DecodeError | TypeError | ValueError):
        return True
    code = getattr(error, "sqlite_errorcode", None)
    return database.is_damage(error) or code in (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_MISMATCH)
