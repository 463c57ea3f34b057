"""The journal: events on disk, bounded by size and age, with numbers that never repeat.

It is a SQLite file of its own, in WAL mode with `synchronous=NORMAL`: a batch of events is one transaction,
written to the operating system when `append` returns, and forced to the disk by `sync`. So a killed daemon
loses nothing that was appended; a power cut loses at most what came after the last `sync`. A slow disk holds
up nobody who appends or reads: `sync` is for a thread of its own.

Numbers are reserved in blocks, and a reservation is forced to the disk before a number of the block is used.
After a power cut the numbers go on behind the reservation, since a subscriber may have seen any before it.
A small file beside the journal vouches that whatever subscribers have seen is in it: it holds the kernel's
boot id, so that it counts for nothing after a power cut, and is removed, which works on a full disk, too,
as soon as an event could not be written. A daemon that was killed otherwise has lost and skips nothing.

Numbers never repeat either when the file is damaged or gone. The end of the reserved block also stands in a
file of its own (`events.sqlite-reserved`), written before a number of the block is used; a new journal goes
on behind it. Where that is missing, too, numbers jump to the milliseconds since 1970, which no host reaches
by counting. A damaged journal is set aside; its events are a gap to whoever resumes. A newer one is refused.
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
from vdsm_core.events.vocabulary import Event

log = logging.getLogger(__name__)

#: Numbers reserved at a time: one forced write for as many events, and at most as many skipped.
BLOCK: Final = 10_000
#: Bytes that an event costs beside its parameters and its id: row header, number, time, page overhead.
_OVERHEAD: Final = 48
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
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
#: Beyond that, JSON readers lose digits: such a number in a file is damage.
_MAX_NUMBER: Final = 2**53 - 1
#: The part of the journal that is dropped at a time when it is full: enough to be rare, and to be quick.
_PART: Final = 64
#: Events dropped for their age at a time; those that are left wait for the next time.
_MOST_DROPPED: Final = 10_000
#: Bytes in SQLite's log from which on it is moved into the file.
_LOG_SIZE: Final = 4 * 2**20
#: The least that a transaction writes.
_PAGE: Final = 4096
#: Seconds between two looks for events that are too old, where nothing is written.
_LOOK: Final = 60.0
_SIZE: Final = f"length(params) + length(id) + {_OVERHEAD}"


def boot_id() -> str:
    """Return the kernel's id of this run of the machine; empty where there is none."""
    try:
        return _BOOT_ID.read_text("ascii").strip()
    except OSError:
        return ""


class Journal:
    """The events of the past. One writer; any number of readers at the same time.

    :param path: the file, or `MEMORY` for a journal that dies with the process
    :param most_bytes: size that the events may have, about
    :param keep: seconds that an event is kept
    :param boot: the boot id of this run of the machine
    """

    def __init__(self, path: str, *, most_bytes: int, keep: float, boot: str | None = None) -> None:
        self._path = path
        self._most_bytes = most_bytes
        self._keep = keep
        self._boot = boot_id() if boot is None else boot
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        self._mover: sqlite3.Connection | None = None
        self._log_file = -1
        self._read_lock = threading.Lock()
        self._write_lock = threading.Lock()
        self._size_lock = threading.Lock()
        self._bytes = self._logged = 0
        self._looked = 0.0
        self._dirty = self._vouched = self._in_use = False
        self._identity: database.Identity | None = None
        self.first = self.next = 1
        self.reserved = 0
        #: How often the journal was begun anew.
        self.generation = 0

    def open(self) -> None:
        """Open the file, creating it (mode 0600) where absent, and see where the numbers go on.

        A damaged file is set aside, and a new one begun.

        :raises ConfigError: the file or its folder cannot be used, or a newer release wrote the file
        """
        database.refuse_newer(self._path, _VERSIONS, {"events": 1})
        try:
            try:
                self._open_file(resume=True)
            except (OSError, sqlite3.Error, Damaged, TypeError, ValueError) as error:
                if not _is_damage(error):
                    raise
                self.next = self._number_after_loss()
                self.reserved = self.next - 1
                self._begin_anew(error)
            self._in_use = True
        except (OSError, sqlite3.Error, Damaged) as error:
            self._close()
            raise ConfigError(file=self._path, key="daemon.state_dir", reason=str(error)) from None

    def _open_file(self, *, resume: bool) -> None:
        if self._path != MEMORY:
            database.make_private(self._path)
        # In memory there is nothing to share: both names are one connection.
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
            # Moving the log waits for the disk: it has a connection, and a thread, of its own.
            self._writer.execute("PRAGMA wal_autocheckpoint=0")
            self._mover = self._connect()
            self._log_file = os.open(f"{self._path}-wal", os.O_RDONLY | os.O_CLOEXEC)
        self._identity = database.identity(self._path)

    def _begin_anew(self, error: BaseException) -> None:
        """Set the file aside and begin a new one, whose numbers go on; the caller holds the locks."""
        self._close()
        self._voucher().unlink(missing_ok=True)
        aside = database.set_aside(self._path) if os.path.lexists(self._path) else ""
        self._open_file(resume=False)
        self._write_mark(self.reserved)
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

    def _number_after_loss(self) -> int:
        """Return a number that no event of the lost journal can have had."""
        mark = self._read_mark()
        return int(time.time() * 1000) if mark is None else mark + 1

    def _read_mark(self) -> int | None:
        if self._path == MEMORY:
            return None
        try:
            mark = int(self._mark().read_text("ascii"))
        except (OSError, ValueError):
            return None
        return mark if 0 <= mark < _MAX_NUMBER else None

    def _mark(self) -> Path:
        return Path(f"{self._path}-reserved")

    def _write_mark(self, reserved: int) -> None:
        """Write the end of the reserved block beside the journal; without it the block must not be used."""
        if self._path == MEMORY:
            return
        new = Path(f"{self._path}-reserved.new")
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, b"%d" % reserved)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        new.replace(self._mark())

    def repair(self, error: BaseException, generation: int) -> bool:
        """Deal with an error met while running: begin anew if the file is damaged or gone.

        Numbers that were taken or reserved stay so: the new file goes on behind them.

        :param generation: as it was before what has failed; another thread may have met the same damage
        :returns: whether there is a new journal
        :raises sqlite3.Error: a new one cannot be begun; `sync` asks for it again
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
                # Nothing is pending any more: the rest of the block is given back.
                sql = "UPDATE numbers SET last = max(last, ?), reserved = ?"
                self._force(self._writer, sql, self.next - 1, self.next - 1)
            finally:
                self._close()

    def take_numbers(self, count: int) -> int:
        """Take `count` numbers; the first of them. They are never taken again, unless given back.

        :raises sqlite3.Error: the disk is full or broken, and none are left of the last block
        :raises OSError: as well
        """
        first = self.next
        if first + count - 1 > self.reserved:
            self._reserve(first + count - 1 + BLOCK)
        self.next = first + count
        return first

    def give_back(self, first: int) -> None:
        """Give back the numbers from `first` on: nobody has seen them."""
        self.next = first

    def append(self, events: Sequence[tuple[Event, bytes]]) -> None:
        """Write events, each with its parameters as JSON, in the order of their numbers, as one transaction.

        Without events: note that the numbers which were taken are gone.

        :raises sqlite3.Error: the disk is full or broken; their numbers will not come again
        :raises OSError: not even that could be made sure of
        """
        rows = [(event.seq, event.time, event.id, params) for event, params in events]
        try:
            with self._writing() as connection:
                connection.executemany("INSERT INTO events VALUES (?, ?, ?, ?)", rows)
                if not rows:
                    connection.execute("UPDATE numbers SET last = max(last, ?)", (self.next - 1,))
        except sqlite3.Error:
            self._unvouch()
            raise
        size = sum(len(row[3]) + len(row[2]) + _OVERHEAD for row in rows)
        self._grow(size)
        self._logged += size + _PAGE
        self._dirty = True
        if not self._vouched:
            self._vouch()
        if self._bytes > self._most_bytes:
            self._drop_oldest(self._bytes - self._most_bytes + self._most_bytes // _PART)

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

    def read(self, after: int, most: int) -> list[Event]:
        """At most `most` events with numbers above `after`, in order."""
        sql = "SELECT seq, id, time, params FROM events WHERE seq > ? ORDER BY seq LIMIT ?"
        with self._read_lock:
            rows = self._open(self._reader).execute(sql, (after, most)).fetchall()
        return [
            Event(seq=seq, id=name, time=at, params=msgspec.json.decode(params))
            for seq, name, at, params in rows
        ]

    @property
    def size(self) -> int:
        """Bytes that the events have, about."""
        return self._bytes

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, check_same_thread=False, isolation_level=None)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute(f"PRAGMA journal_size_limit={_LOG_SIZE}")
        return connection

    def _resume(self, connection: sqlite3.Connection) -> None:
        self.reserved, last = connection.execute("SELECT reserved, last FROM numbers").fetchone()
        if not (0 <= self.reserved <= _MAX_NUMBER and 0 <= last <= _MAX_NUMBER):
            raise Damaged("its numbers are out of range")
        if not self.reserved and (mark := self._read_mark()) is not None:
            # The file was removed while no daemon ran.
            self.reserved = last = mark
        first, newest, size = connection.execute(
            f"SELECT min(seq), max(seq), total({_SIZE}) FROM events"  # noqa: S608 - constants only
        ).fetchone()
        self._bytes = int(size)
        written = max(last, newest or 0)
        # Closed in order, or killed on a machine that has run on since: all that was seen is in the file.
        self.next = written + 1 if self._is_vouched() else max(written, self.reserved) + 1
        self.first = first if first is not None else self.next
        # Before anybody vouches for this file again, it must know which numbers are gone.
        connection.execute("UPDATE numbers SET last = ?", (self.next - 1,))
        if self.reserved:
            # A journal of a release that did not keep the mark.
            self._write_mark(max(self.reserved, self.next - 1))
        self._vouch()

    def _voucher(self) -> Path:
        return Path(f"{self._path}-boot")

    def _is_vouched(self) -> bool:
        if not self._boot or self._path == MEMORY:
            return False
        try:
            return self._voucher().read_text("ascii") == self._boot
        except (OSError, UnicodeDecodeError):
            return False

    def _vouch(self) -> None:
        if self._path == MEMORY:
            return
        try:
            self._voucher().write_text(self._boot, "ascii")
            self._voucher().chmod(0o600)
            self._vouched = True
        except OSError as error:
            log.warning("%s cannot be written (costs a block of numbers): %s", self._voucher(), error)

    def _unvouch(self) -> None:
        if self._path != MEMORY:
            self._voucher().unlink(missing_ok=True)
        self._vouched = False

    def _reserve(self, up_to: int) -> None:
        self._write_mark(up_to)
        with self._alone() as connection:
            self._force(connection, "UPDATE numbers SET reserved = max(reserved, ?)", up_to)
        self.reserved = up_to

    def _force_log(self) -> None:
        """Force the log to the disk, and with it the next block of numbers before this one is used up.

        SQLite itself would do it within a transaction, and let nobody else write meanwhile; and it leaves the
        log alone as long as somebody reads an older state. (No lock of SQLite's is on this file, so that a
        descriptor of our own does no harm; see "How To Corrupt An SQLite Database File" on fcntl.)
        """
        if self._path == MEMORY:
            return
        up_to = self.reserved
        if up_to - self.next < BLOCK // 2:
            up_to += BLOCK
            self._write_mark(up_to)
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
            # Readers that come one after the other may have kept it from being used from its start again.
            with self._alone(), self._read_lock:
                self._mover.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()

    def _drop_oldest(self, at_least: int) -> None:
        freed = last = 0
        sql = f"SELECT seq, {_SIZE} FROM events ORDER BY seq"  # noqa: S608 - constants only
        with self._writing() as connection:
            for seq, size in connection.execute(sql):
                last, freed = seq, freed + size
                if freed >= at_least:
                    break
            self._drop(connection, last)
        self._grow(-freed)

    def _drop_before(self, moment: float) -> bool:
        """Drop a part of what is older; whether there is more."""
        freed = last = count = 0
        with self._writing() as connection:
            sql = f"SELECT seq, time, {_SIZE} FROM events ORDER BY seq LIMIT ?"  # noqa: S608 - as above
            for seq, at, size in connection.execute(sql, (_MOST_DROPPED,)):
                if at >= moment:
                    break
                last, freed, count = seq, freed + size, count + 1
            if last:
                self._drop(connection, last)
        self._grow(-freed)
        return count == _MOST_DROPPED

    def _drop(self, connection: sqlite3.Connection, last: int) -> None:
        connection.execute("DELETE FROM events WHERE seq <= ?", (last,))
        # Without its newest row the table no longer says how far the numbers got.
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
        """A transaction that is on the disk when this returns, and with it all those before."""
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
    """Return whether an error says that the journal is damaged, or another thing than a journal.

    The statements are constant: one that SQLite does not understand met other tables.
    """
    if isinstance(error, OSError):
        return isinstance(error, IsADirectoryError)
    if isinstance(error, msgspec.DecodeError | TypeError | ValueError):
        return True
    code = getattr(error, "sqlite_errorcode", None)
    return database.is_damage(error) or code in (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_MISMATCH)
