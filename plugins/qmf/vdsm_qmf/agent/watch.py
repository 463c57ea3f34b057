"""Tells the bus of objects whose properties have changed, unasked, at most once in an interval."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from typing import Any

from vdsm_bridge import Context
from vdsm_bridge.errors import VdsmError
from vdsm_qmf import forms
from vdsm_qmf.agent.inventory import Inventory, Managed
from vdsm_qmf.agent.queries import Queries
from vdsm_qmf.agent.schemas import Schemas
from vdsm_qmf.agent.sender import Sender
from vdsm_qmf.schema import PACKAGE, Schema

log = logging.getLogger(__name__)


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
        self._changed = threading.Condition()
        self._up = False
        self._ending = False
        self._known: dict[str, tuple[Mapping[str, Any], Managed]] = {}
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
            if up:
                self._known = {}
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
            try:
                self._look()
            except Exception:
                # The next look begins anew.
                log.exception("The objects of the host cannot be told on the bus")
            with self._changed:
                self._changed.wait_for(lambda: self._ending, self._interval)

    def _look(self) -> None:
        schema, known = self._schemas.current(), self._known
        seen: set[str] = set()
        blind: set[str] = set()
        for kind in schema.kinds.values():
            try:
                for one in self._inventory.objects(kind, Context(binding="qmf"), statistics=False):
                    seen.add(one.name)
                    self._compare(one, known, schema)
            except VdsmError as error:
                # What cannot be read now is not gone.
                log.debug("The objects of %s cannot be read: %s", kind.name, error)
                blind.add(kind.name)
        for name, (_, gone) in list(known.items()):
            if name not in seen and gone.kind.name not in blind:
                self._tell(gone, schema, deleted=time.time_ns())
                del known[name]

    def _compare(self, one: Managed, known: dict[str, Any], schema: Schema) -> None:
        before = known.get(one.name)
        if before is not None and before[0] == one.properties:
            return
        full = self._inventory.with_statistics(one, Context(binding="qmf"))
        if self._tell(full, schema):
            known[one.name] = (one.properties, full)

    def _tell(self, one: Managed, schema: Schema, *, deleted: int = 0) -> bool:
        try:
            body = self._queries.described(one, schema, deleted=deleted)
            key = self._name.data_key(PACKAGE, one.kind.name)
            return self._sender.indicate(
                key, forms.INDICATION, [body], forms.DATA, lifetime=2 * self._interval, timeout=1.0
            )
        except VdsmError as error:
            log.warning("'%s' cannot be told on the bus: %s", one.name, error)
            return True
