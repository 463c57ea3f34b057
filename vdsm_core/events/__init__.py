"""Events: what happens on the host, numbered, kept on disk, delivered to subscribers."""

from vdsm_core.events.bus import EventBus
from vdsm_core.events.journal import Journal
from vdsm_core.events.subscription import Subscription
from vdsm_core.events.vocabulary import (
    Event,
    EventParams,
    Gap,
    compile_pattern,
    event_id,
    event_types,
)

__all__ = [
    "Event",
    "EventBus",
    "EventParams",
    "Gap",
    "Journal",
    "Subscription",
    "compile_pattern",
    "event_id",
    "event_types",
]
