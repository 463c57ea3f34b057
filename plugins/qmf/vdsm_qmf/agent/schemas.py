"""The schema as it is now, kept until the API changes."""

from __future__ import annotations

import threading
import time

from vdsm_bridge import Bridge
from vdsm_bridge.events import event_types
from vdsm_qmf.schema import Schema, build


class Schemas:
    """Builds the schema anew when verbs or events have come or gone."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge
        self._lock = threading.Lock()
        self._schema: Schema | None = None
        self._made_of: tuple[str, int] = ("", 0)
        self._updated = 0

    def current(self) -> Schema:
        """The schema."""
        events = event_types()
        made_of = (self._bridge.revision, len(events))
        with self._lock:
            if self._schema is None or self._made_of != made_of:
                schema = build(self._bridge.verbs, events)
                if self._schema is None or schema.hashes != self._schema.hashes:
                    self._updated = time.time_ns()
                self._schema, self._made_of = schema, made_of
            return self._schema

    @property
    def updated(self) -> int:
        """When it last changed, in nanoseconds since 1970."""
        self.current()
        return self._updated
