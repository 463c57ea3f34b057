"""Publishes objects whose properties have changed, at most once in an interval.

Consoles such as qpid-tool have no objects but those that were published. A console that locates agents was
just started: all objects are published again. That costs every console a copy, so it is done at most once in
half a minute, with a bounded number of objects and bytes in each scan; the rest follows in the next scans.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Mapping
from typing import Any, Final

from vdsm_bridge import Context
from vdsm_bridge.errors import VdsmError
from vdsm_qmf.agent.inventory import Inventory, Managed
from vdsm_qmf.agent.queries import Queries
from vdsm_qmf.agent.schema_cache import SchemaCache
from vdsm_qmf.agent.sender import Sender
from vdsm_qmf.protocol import bodies
from vdsm_qmf.schema.classes import PACKAGE, Schema

log = logging.getLogger(__name__)

#: Seconds between two publications of all objects at the least, unless the interval of scans is shorter.
_SPACING: Final = 30.0
#: Unchanged objects, and their bytes, that one scan publishes again at the most.
REPEATED = 500
REPEATED_BYTES = 1024 * 1024


class ObjectPublisher:
    """A thread that scans the objects for changes.

    :param interval: seconds between two scans; 0 means never
    """

    def __init__(
        self,
        inventory: Inventory,
        queries: Queries,
        schemas: SchemaCache,
        sender: Sender,
        *,
        interval: float,
    ) -> None:
        self._inventory = inventory
        self._queries = queries
        self._schemas = schemas
        self._sender = sender
        self._name = sender.agent
        self._interval = interval
        self._spacing = min(interval, _SPACING)
        self._changed = threading.Condition()
        self._up = False
        self._ending = False
        self._known: dict[str, tuple[Mapping[str, Any], Managed]] = {}
        #: Whether a console asked for all objects since they were last published, and when that was.
        self._wanted = False
        self._repeated_at = -math.inf
        #: Names of unchanged objects to publish again.
        self._stale: set[str] = set()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread, unless the interval is 0."""
        if self._interval:
            name = f"qmf objects {self._name.instance}"
            self._thread = threading.Thread(target=self._run, name=name, daemon=True)
            self._thread.start()

    def set_up(self, *, up: bool) -> None:
        """Note whether there is a connection. With a new connection, all objects are published again."""
        with self._changed:
            self._up = up
            self._wanted |= up
            self._changed.notify_all()

    def repeat(self) -> None:
        """Publish all objects again soon, for a new console."""
        with self._changed:
            self._wanted = True
            self._changed.notify_all()

    def stop(self) -> None:
        """End the thread."""
        with self._changed:
            self._ending = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(5.0)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._up or self._ending)
                if self._ending:
                    return
                if self._is_due():
                    self._wanted = False
                    self._stale = set(self._known)
                    if self._known:
                        # The first scan publishes all objects anyway: all are new.
                        self._repeated_at = time.monotonic()
            try:
                self._scan()
            except Exception:
                # The next scan starts afresh.
                log.exception("Publishing the objects of the host failed")
            self._pause()

    def _is_due(self) -> bool:
        """Return whether all objects are to be published again, and enough time has passed."""
        return self._wanted and time.monotonic() >= self._repeated_at + self._spacing

    def _pause(self) -> None:
        """Wait for the next scan: for an interval, or until objects are to be published again."""
        end = time.monotonic() + (self._spacing if self._stale else self._interval)
        with self._changed:
            while not self._ending and not self._is_due() and (left := end - time.monotonic()) > 0:
                if self._wanted:
                    left = min(left, self._repeated_at + self._spacing - time.monotonic())
                self._changed.wait(max(0.0, left))

    def _scan(self) -> None:
        schema = self._schemas.current()
        scan = _Scan()
        for kind in schema.kinds.values():
            try:
                for one in self._inventory.objects(kind, Context(binding="qmf"), statistics=False):
                    scan.seen.add(one.name)
                    self._compare(one, scan, schema)
            except VdsmError as error:
                # Objects that cannot be read now are not deleted.
                log.debug("Cannot read the objects of %s: %s", kind.name, error)
                scan.unreadable.add(kind.name)
        for name, (_, gone) in list(self._known.items()):
            if name not in scan.seen and gone.kind.name not in scan.unreadable:
                self._publish(gone, schema, deleted=time.time_ns())
                del self._known[name]
                self._stale.discard(name)

    def _compare(self, one: Managed, scan: _Scan, schema: Schema) -> None:
        before = self._known.get(one.name)
        repeated = before is not None and before[0] == one.properties
        if repeated and (one.name not in self._stale or scan.is_full):
            return
        full = self._inventory.with_statistics(one, Context(binding="qmf"))
        size = self._publish(full, schema)
        if size is None:
            return
        self._known[one.name] = (one.properties, full)
        self._stale.discard(one.name)
        if repeated:
            scan.repeated += 1
            scan.repeated_bytes += size

    def _publish(self, one: Managed, schema: Schema, *, deleted: int = 0) -> int | None:
        """Publish one object.

        :returns: size in bytes; 0 if the bus cannot carry the object; None if there was no room
        """
        try:
            body = self._queries.describe(one, schema, deleted=deleted)
            key = self._name.data_key(PACKAGE, one.kind.name)
            size = self._sender.indicate(
                key, bodies.INDICATION, [body], bodies.DATA, lifetime=2 * self._interval, timeout=1.0
            )
        except VdsmError as error:
            log.warning("Cannot publish '%s' on the bus: %s", one.name, error)
            return 0
        return size or None


class _Scan:
    """What one scan has found, and how much it has published again."""

    def __init__(self) -> None:
        self.seen: set[str] = set()
        #: Kinds whose objects cannot be read.
        self.unreadable: set[str] = set()
        self.repeated = 0
        self.repeated_bytes = 0

    @property
    def is_full(self) -> bool:
        """Whether further unchanged objects have to wait for the next scan."""
        return self.repeated >= REPEATED or self.repeated_bytes >= REPEATED_BYTES
