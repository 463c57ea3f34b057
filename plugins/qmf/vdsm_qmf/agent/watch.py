"""Tells the bus of objects whose properties have changed, unasked, at most once in an interval.

Consoles such as qpid-tool know no objects but those that they are told of. Who looks for agents has just come
and is told of all, which costs every console a copy: at most once in half a minute, and a bounded number of
objects and bytes at a time. What goes beyond that comes with the next looks.
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
from vdsm_qmf import forms
from vdsm_qmf.agent.inventory import Inventory, Managed
from vdsm_qmf.agent.queries import Queries
from vdsm_qmf.agent.schemas import Schemas
from vdsm_qmf.agent.sender import Sender
from vdsm_qmf.schema import PACKAGE, Schema

log = logging.getLogger(__name__)

#: Seconds between two times that all objects are told, at the least; a shorter interval of looks counts.
_SPACING: Final = 30.0
#: Objects, and bytes of them, that one look repeats for consoles that have come.
REPEATED = 500
REPEATED_BYTES = 1024 * 1024


class Watch:
    """A thread that looks at the objects.

    :param interval: seconds between two looks; 0 means never
    """

    def __init__(
        self,
        inventory: Inventory,
        queries: Queries,
        schemas: Schemas,
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
        #: Somebody has come since the last time that all were told, and when that was.
        self._wanted = False
        self._repeated_at = -math.inf
        #: Names of objects that are to be told again.
        self._stale: set[str] = set()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, unless it is never to look."""
        if self._interval:
            name = f"qmf objects {self._name.instance}"
            self._thread = threading.Thread(target=self._run, name=name, daemon=True)
            self._thread.start()

    def set_up(self, *, up: bool) -> None:
        """The broker has come or gone. Whoever listens after it came is told of everything again."""
        with self._changed:
            self._up = up
            self._wanted |= up
            self._changed.notify_all()

    def repeat(self) -> None:
        """Tell of all objects again, soon: a console has come."""
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
                        # The first look tells of all objects since all are new.
                        self._repeated_at = time.monotonic()
            try:
                self._look()
            except Exception:
                # The next look begins anew.
                log.exception("The objects of the host cannot be told on the bus")
            self._pause()

    def _is_due(self) -> bool:
        """Whether somebody waits to be told of all objects, and may be by now."""
        return self._wanted and time.monotonic() >= self._repeated_at + self._spacing

    def _pause(self) -> None:
        """Wait for the next look: for an interval, or until objects are to be told again."""
        end = time.monotonic() + (self._spacing if self._stale else self._interval)
        with self._changed:
            while not self._ending and not self._is_due() and (left := end - time.monotonic()) > 0:
                if self._wanted:
                    left = min(left, self._repeated_at + self._spacing - time.monotonic())
                self._changed.wait(max(0.0, left))

    def _look(self) -> None:
        schema = self._schemas.current()
        look = _Look()
        for kind in schema.kinds.values():
            try:
                for one in self._inventory.objects(kind, Context(binding="qmf"), statistics=False):
                    look.seen.add(one.name)
                    self._compare(one, look, schema)
            except VdsmError as error:
                # What cannot be read now is not gone.
                log.debug("The objects of %s cannot be read: %s", kind.name, error)
                look.blind.add(kind.name)
        for name, (_, gone) in list(self._known.items()):
            if name not in look.seen and gone.kind.name not in look.blind:
                self._tell(gone, schema, deleted=time.time_ns())
                del self._known[name]
                self._stale.discard(name)

    def _compare(self, one: Managed, look: _Look, schema: Schema) -> None:
        before = self._known.get(one.name)
        repeated = before is not None and before[0] == one.properties
        if repeated and (one.name not in self._stale or look.is_full):
            return
        full = self._inventory.with_statistics(one, Context(binding="qmf"))
        size = self._tell(full, schema)
        if size is None:
            return
        self._known[one.name] = (one.properties, full)
        self._stale.discard(one.name)
        if repeated:
            look.repeated += 1
            look.repeated_bytes += size

    def _tell(self, one: Managed, schema: Schema, *, deleted: int = 0) -> int | None:
        """Tell of one object.

        :returns: bytes, 0 if it cannot be told at all; None if there was no room now
        """
        try:
            body = self._queries.described(one, schema, deleted=deleted)
            key = self._name.data_key(PACKAGE, one.kind.name)
            size = self._sender.indicate(
                key, forms.INDICATION, [body], forms.DATA, lifetime=2 * self._interval, timeout=1.0
            )
        except VdsmError as error:
            log.warning("'%s' cannot be told on the bus: %s", one.name, error)
            return 0
        return size or None


class _Look:
    """What one look has found, and how much it has repeated."""

    def __init__(self) -> None:
        self.seen: set[str] = set()
        #: Kinds whose objects cannot be read.
        self.blind: set[str] = set()
        self.repeated = 0
        self.repeated_bytes = 0

    @property
    def is_full(self) -> bool:
        """Whether what is unchanged has to wait for the next look."""
        return self.repeated >= REPEATED or self.repeated_bytes >= REPEATED_BYTES
