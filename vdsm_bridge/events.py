"""Events, for bindings; it is `vdsm_core.events`, under the name that a binding may import."""

from vdsm_core.events import Event, EventParams, Gap, Subscription, compile_pattern, event_types

__all__ = ["Event", "EventParams", "Gap", "Subscription", "compile_pattern", "event_types"]
