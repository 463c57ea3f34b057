"""The state store: one SQLite file for what must outlive the daemon.

Each part of the daemon owns its tables and their migrations. Writes are durable when the transaction ends
(WAL with `synchronous=FULL`): a task that was announced, or a request id that was answered, is still known
after a power cut.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from vdsm_core.errors import ConfigError

log = logging.getLogger(__name__)

MEMORY: Final = ":memory:"


class StateStore:
    """A SQLite database shared by all threads of the daemon. One statement or transaction at a time.

    :param path: the file, or `MEMORY` for a store that dies with the process
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None

    def open(self) -> None:
        """Open the file, making it and its folder where absent (mode 0700: it names callers).

        :raises ConfigError: the folder or file cannot be used
        """
        try:
            if self._path != MEMORY:
                Path(self._path).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            connection = sqlite3.connect(self._path, check_same_thread=False, isolation_level=None)
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("CREATE TABLE IF NOT EXISTS migrations (part TEXT PRIMARY KEY, done INTEGER)")
        except (OSError, sqlite3.Error) as error:
            raise ConfigError(file=self._path, key="daemon.state_dir", reason=str(error)) from None
        self._connection = connection

    def close(self) -> None:
        """Close the file. Closing twice is harmless."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def migrate(self, part: str, steps: Sequence[str]) -> None:
        """Bring the tables of one part up to date: run those of its steps that this file has not seen."""
        with self.transaction() as run:
            row = run("SELECT done FROM migrations WHERE part = ?", part).fetchone()
            done = row[0] if row else 0
            for step in steps[done:]:
                run(step)
            run("INSERT OR REPLACE INTO migrations VALUES (?, ?)", part, len(steps))

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """All rows of one query."""
        with self._lock:
            return self._open().execute(sql, values).fetchall()

    def write(self, sql: str, *values: Any) -> int:
        """Run one changing statement, durably; the number of rows it changed."""
        with self._lock:
            return self._open().execute(sql, values).rowcount

    def write_soon(self, sql: str, *values: Any) -> None:
        """Run one changing statement that nobody waits for, and whose failure nobody is to pay for.

        It is kept if the daemon is killed; if the power fails, only once something durable follows.
        """
        with self._lock:
            connection = self._open()
            try:
                # In WAL mode NORMAL leaves it to the next durable write, or checkpoint, to force the disk.
                connection.execute("PRAGMA synchronous=NORMAL")
                connection.execute(sql, values)
            except sqlite3.Error as error:
                log.warning("The state store lacks a change: %s", error)
            finally:
                connection.execute("PRAGMA synchronous=FULL")

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        """Several statements, all or none: yields a function `run(sql, *values) -> cursor`."""
        with self._lock:
            connection = self._open()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield lambda sql, *values: connection.execute(sql, values)
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            raise RuntimeError("the state store is not open")
        return self._connection
