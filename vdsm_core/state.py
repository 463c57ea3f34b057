"""The state store: one SQLite file for the state that outlives the daemon.

Each part of the daemon owns its tables and their migrations. Writes are durable when the transaction ends
(WAL with `synchronous=FULL`): a task that was announced, or a request id that was answered, is still known
after a power cut.

Management must start and stay available even if the file is lost. A damaged file is set aside under a dated
name and replaced by a new one: earlier tasks and request ids are forgotten, machines are not touched. A file
that was removed or replaced while the daemon runs is detected before the next write, and written anew from
the open one. A full, read-only or broken disk raises `StateUnavailable`, and the change is not made.

A file that a newer release wrote is the exception: the meaning of its tables is unknown, and replacing it
would forget tasks that the newer release can continue. It is refused at the start, unchanged.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Final, TypeVar

from vdsm_core import database
from vdsm_core.database import Damaged
from vdsm_core.errors import ConfigError, StateUnavailable

log = logging.getLogger(__name__)

MEMORY: Final = database.MEMORY
_T = TypeVar("_T")
_SCHEMA: Final = "SELECT type, name, sql FROM sqlite_master"
_VERSIONS: Final = "SELECT part, done FROM migrations"
_MIGRATIONS: Final = "CREATE TABLE IF NOT EXISTS migrations (part TEXT PRIMARY KEY, done INTEGER)"


class StateStore:
    """A SQLite database shared by all threads of the daemon. One statement or transaction at a time.

    :param path: the file, or `MEMORY` for a store that ends with the process
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._identity: database.Identity | None = None
        self._parts: dict[str, list[str]] = {}

    def declare(self, part: str, steps: Sequence[str]) -> None:
        """Announce, before `open`, the steps of a later `migrate`, so that a newer file is refused as a
        whole.

        A part's version is the number of its steps. A change that an older release would misread needs one.
        """
        self._parts[part] = list(steps)

    def open(self) -> None:
        """Open the file, creating it (mode 0600) and its folder (mode 0700) where absent: it names callers.

        A damaged file is set aside, and a new one begun.

        :raises ConfigError: the folder or file cannot be used, or a newer release wrote a declared part
        """
        known = {part: len(steps) for part, steps in self._parts.items()}
        database.refuse_newer(self._path, _VERSIONS, known)
        try:
            try:
                self._connect()
            except (sqlite3.Error, Damaged, IsADirectoryError) as error:
                if not (database.is_damage(error) or isinstance(error, IsADirectoryError)):
                    raise
                self._begin_anew(error)
        except (OSError, sqlite3.Error, Damaged) as error:
            raise ConfigError(file=self._path, key="daemon.state_dir", reason=str(error)) from None

    def close(self) -> None:
        """Close the file. Closing twice is harmless."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def migrate(self, part: str, steps: Sequence[str]) -> None:
        """Bring the tables of one part up to date: run those of its steps that this file has not seen.

        A file whose tables are not those that the steps create is set aside as damaged.

        :raises ConfigError: a newer release has run more steps; nothing has changed
        :raises StateUnavailable: the disk refuses
        """
        expected = _schema_after(steps)
        self._parts[part] = list(steps)

        def run() -> None:
            self._migrate(part, steps, expected)

        with self._lock:
            self._guarded(run, again=True)

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Return all rows of one query.

        :raises StateUnavailable: the file cannot be read
        """
        with self._lock:
            return self._guarded(lambda: self._open().execute(sql, values).fetchall())

    def write(self, sql: str, *values: Any) -> int:
        """Run one changing statement, durably; return the number of rows it changed.

        :raises StateUnavailable: the disk refuses; nothing has changed
        """
        with self._lock:
            return self._guarded(lambda: self._open().execute(sql, values).rowcount, changing=True)

    def write_soon(self, sql: str, *values: Any) -> None:
        """Run one changing statement without waiting for the disk. A failure is logged, not raised.

        It is kept if the daemon is killed; if the power fails, only once something durable follows.
        """
        with self._lock:
            try:
                # In WAL mode NORMAL leaves it to the next durable write, or checkpoint, to force the disk.
                self._open().execute("PRAGMA synchronous=NORMAL")
                self.write(sql, *values)
            except (sqlite3.Error, StateUnavailable) as error:
                log.warning("Cannot write a change to the state store: %s", error)
            finally:
                with suppress(sqlite3.Error):
                    self._open().execute("PRAGMA synchronous=FULL")

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        """Several statements, all or none: yields a function `run(sql, *values) -> cursor`.

        :raises StateUnavailable: the disk refuses; nothing has changed
        """
        with self._lock:
            self._guarded(lambda: self._open().execute("BEGIN IMMEDIATE"), changing=True)
            connection = self._open()
            try:
                yield lambda sql, *values: connection.execute(sql, values)
                connection.execute("COMMIT")
            except BaseException as error:
                # SQLite has often rolled back itself when the disk is full.
                with suppress(sqlite3.Error):
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
                if isinstance(error, sqlite3.Error):
                    self._failed(error)
                raise

    def _connect(self) -> None:
        """Open the file and check its integrity.

        :raises sqlite3.Error: it cannot be used, or it is damaged
        :raises Damaged: SQLite's check finds a fault
        """
        if self._path != MEMORY:
            database.make_private(self._path)
        connection = sqlite3.connect(self._path, check_same_thread=False, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            _check_whole(connection)
            connection.execute(_MIGRATIONS)
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        self._identity = database.identity(self._path)

    def _begin_anew(self, error: BaseException) -> None:
        self.close()
        aside = database.set_aside(self._path)
        log.error(
            "%s is damaged (%s): it was set aside as %s and replaced by a new file. "
            "Earlier tasks and request ids are forgotten",
            self._path,
            error,
            Path(aside).name,
        )
        self._connect()
        for part, steps in self._parts.items():
            self._migrate(part, steps, _schema_after(steps))

    def _migrate(self, part: str, steps: Sequence[str], expected: set[tuple[str, str, str]]) -> None:
        connection = self._open()
        connection.execute("BEGIN IMMEDIATE")
        try:
            _check_schema(connection, "migrations", _schema_after([_MIGRATIONS]))
            row = connection.execute("SELECT done FROM migrations WHERE part = ?", (part,)).fetchone()
            done = row[0] if row else 0
            database.check_version(self._path, part, done, len(steps))
            _run_steps(connection, part, steps, done)
            _check_schema(connection, part, expected)
            connection.execute("INSERT OR REPLACE INTO migrations VALUES (?, ?)", (part, len(steps)))
            connection.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
            raise

    def _guarded(self, work: Callable[[], _T], *, changing: bool = False, again: bool = False) -> _T:
        """Run one piece of work; convert errors of the disk to `StateUnavailable`.

        :param again: run it once more in the new file, if this one turns out to be damaged
        """
        if changing:
            self._check_in_place()
        try:
            return work()
        except (sqlite3.Error, Damaged) as error:
            if again and database.is_damage(error):
                self._replace(error)
                return work()
            self._failed(error)
            raise

    def _failed(self, error: BaseException) -> None:
        """Handle a failed statement.

        :raises StateUnavailable: unless the statement itself is at fault
        """
        if database.is_damage(error):
            self._replace(error)
            raise StateUnavailable(
                file=self._path, reason=f"it was damaged ({error}), and replaced by a new file"
            ) from None
        if database.is_refusal(error):
            raise StateUnavailable(file=self._path, reason=str(error)) from None

    def _replace(self, error: BaseException) -> None:
        try:
            self._begin_anew(error)
        except (OSError, sqlite3.Error, Damaged) as second:
            raise StateUnavailable(file=self._path, reason=f"{error}; then: {second}") from None

    def _check_in_place(self) -> None:
        """Detect that the file was removed or replaced, and write it anew from the open one.

        :raises StateUnavailable: that cannot be done
        """
        connection = self._open() if self._connection is not None or self._path == MEMORY else None
        if self._path == MEMORY:
            return
        if connection is not None and database.identity(self._path) == self._identity:
            return
        try:
            aside = database.set_aside(self._path) if os.path.lexists(self._path) else ""
            database.make_private(self._path)
            if connection is not None:
                with closing(sqlite3.connect(self._path)) as copy:
                    connection.backup(copy)
                self.close()
            self._connect()
        except (OSError, sqlite3.Error, Damaged) as error:
            # The next start would take an empty or half-written file for the state.
            with suppress(OSError):
                Path(self._path).unlink(missing_ok=True)
            raise StateUnavailable(
                file=self._path, reason=f"it was removed or replaced, and cannot be written anew: {error}"
            ) from None
        log.error(
            "%s was removed or replaced while in use: written anew, nothing is lost%s",
            self._path,
            f"; the other file of its name is now {Path(aside).name}" if aside else "",
        )

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            raise RuntimeError("the state store is not open")
        return self._connection


def _run_steps(connection: sqlite3.Connection, part: str, steps: Sequence[str], done: int) -> None:
    if not isinstance(done, int):
        raise Damaged(f"its table of migrations has no number for '{part}'")
    try:
        for step in steps[done:]:
            connection.execute(step)
    except sqlite3.OperationalError as error:
        if database.is_refusal(error):
            raise
        raise Damaged(f"the tables of '{part}' are not as they should be: {error}") from None


def _check_schema(connection: sqlite3.Connection, part: str, expected: set[tuple[str, str, str]]) -> None:
    if not expected <= set(connection.execute(_SCHEMA)):
        raise Damaged(f"the tables of '{part}' are not as they should be")


def _check_whole(connection: sqlite3.Connection) -> None:
    (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise Damaged(str(found).replace("\n", " "))


def _schema_after(steps: Sequence[str]) -> set[tuple[str, str, str]]:
    """Return the tables that the steps of a migration create; they are run in memory for that.

    :raises sqlite3.Error: a step is at fault
    """
    with closing(sqlite3.connect(MEMORY)) as connection:
        for step in steps:
            connection.execute(step)
        return set(connection.execute(_SCHEMA))
