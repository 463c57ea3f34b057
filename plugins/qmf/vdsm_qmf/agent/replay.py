"""The values of events on the bus, and the replay of events after a number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from vdsm_bridge import Bridge, Identity
from vdsm_bridge.errors import InvalidArgument
from vdsm_bridge.events import Event
from vdsm_qmf.protocol import bodies
from vdsm_qmf.schema import types as qmftypes
from vdsm_qmf.schema.classes import SchemaClass, event_class_name

#: Events of one replay: by default, and at the most.
_DEFAULT: Final = 200
_MAX: Final = 1_000


def class_of(event: Event) -> str:
    """Return the name of an event's class."""
    parts = event.id.split("|")
    return event_class_name(parts[1], parts[2])


def event_values(event: Event, previous: int) -> dict[str, Any]:
    """Return the values of an event: its parameters, and those that vdsm adds.

    :param previous: number of the event that was sent before it
    """
    added = {
        bodies.SEQ: event.seq,
        bodies.PREVIOUS: previous,
        bodies.EVENT_ID: event.id,
        bodies.EVENT_TIME: event.time,
    }
    return {**event.params, **added}


def complete(values: Mapping[str, Any], kind: SchemaClass) -> dict[str, Any]:
    """Return the values with every argument of the event's class: an empty value for each absent argument.

    Consoles of the AMQP 0-10 age cannot print an event that lacks one, or has a null. vdsm's console removes
    again what `eventAbsent` names.
    """
    missing = {
        one.name: qmftypes.EMPTY[one.type.type]
        for one in kind.properties
        if one.name != bodies.ABSENT and values.get(one.name) is None
    }
    return {**values, **missing, bodies.ABSENT: list(missing)}


class Replay:
    """Executes `replayEvents`: events that a console has missed, from the journal."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge

    def events(self, arguments: Mapping[str, Any], identity: Identity) -> dict[str, Any]:
        """Return the out arguments of `replayEvents`: the events that the caller may see.

        :raises InvalidArgument: an argument is unknown or has a wrong type
        :raises OutOfScope: the caller may not see events
        """
        unknown = arguments.keys() - {"after", "most", "pattern"}
        if unknown:
            raise InvalidArgument(argument=min(unknown), reason="there is no such argument")
        after = _whole(arguments, "after", 0)
        limit = min(_whole(arguments, "most", _DEFAULT), _MAX)
        pattern = arguments.get("pattern", "")
        if not isinstance(pattern, str):
            raise InvalidArgument(argument="pattern", reason="expected text")
        subscription = self._bridge.subscribe(pattern, after=after, identity=identity)
        try:
            events, previous = [], after
            for event in subscription.next(0.0, limit):
                events.append(event_values(event, previous))
                previous = event.seq
            return {"events": events, "last": subscription.position}
        finally:
            subscription.close()


def _whole(arguments: Mapping[str, Any], name: str, otherwise: int) -> int:
    value = arguments.get(name, otherwise)
    try:
        number = int(value)
    except (TypeError, ValueError):
        number = -1
    if number < 0 or isinstance(value, bool):
        raise InvalidArgument(argument=name, reason="expected a whole number of at least 0")
    return number
