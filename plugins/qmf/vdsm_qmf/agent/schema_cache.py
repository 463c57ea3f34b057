"""The present schema, kept until the API changes."""

from __future__ import annotations

import threading
import time

from vdsm_bridge import Bridge
from vdsm_bridge.events import event_types
from vdsm_qmf.schema.classes import Schema, build


class SchemaCache:
    """Builds the schema again when verbs or events were added or removed."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge
        self._lock = threading.Lock()
        self._schema: Schema | None = None
        self._built_from: tuple[str, int] = ("", 0)
        self._updated = 0

    def current(self) -> Schema:
        """Return the present schema."""
        events = event_types()
        built_from = (self._bridge.revision, len(events))
        with self._lock:
            if self._schema is None or self._built_from != built_from:
                schema = build(self._bridge.verbs, events)
                if self._schema is None or schema.hashes != self._schema.hashes:
                    self._updated = time.time_ns()
                self._schema, self._built_from = schema, built_from
            return self._schema

    @property
    def updated(self) -> int:
        """The time of the last change, in nanoseconds since 1970."""
        self.current()
        return self._updated
