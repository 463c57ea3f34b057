"""Events as the bus tells them, and the events after a number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from vdsm_bridge import Bridge
from vdsm_bridge.errors import InvalidArgument
from vdsm_bridge.events import Event
from vdsm_qmf import forms, qmftypes
from vdsm_qmf.schema import SchemaClass, event_class_name

#: Events of one replay: if it names no number, and at the most.
_USUAL: Final = 200
_MOST: Final = 1_000


def class_of(event: Event) -> str:
    """The name of the class of an event."""
    parts = event.id.split("|")
    return event_class_name(parts[1], parts[2])


def event_values(event: Event, previous: int) -> dict[str, Any]:
    """The values of an event: its parameters, and ours.

    :param previous: number of the event that was told before it
    """
    ours = {
        forms.SEQ: event.seq,
        forms.PREVIOUS: previous,
        forms.EVENT_ID: event.id,
        forms.EVENT_TIME: event.time,
    }
    return {**event.params, **ours}


def complete(values: Mapping[str, Any], kind: SchemaClass) -> dict[str, Any]:
    """The values of an event with every argument of its class: an empty value for each that is absent.

    Consoles of the AMQP 0-10 age cannot print an event that lacks one, or has a null. Ours leave out again
    what `eventAbsent` names.
    """
    missing = {
        one.name: qmftypes.EMPTY[one.type.type]
        for one in kind.properties
        if one.name != forms.ABSENT and values.get(one.name) is None
    }
    return {**values, **missing, forms.ABSENT: list(missing)}


class Replay:
    """Answers for events that somebody has missed."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge

    def events(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The out arguments of `replayEvents`.

        :raises InvalidArgument: one is unknown or of a wrong kind
        """
        unknown = arguments.keys() - {"after", "most", "pattern"}
        if unknown:
            raise InvalidArgument(argument=min(unknown), reason="there is no such argument")
        after = _whole(arguments, "after", 0)
        most = min(_whole(arguments, "most", _USUAL), _MOST)
        pattern = arguments.get("pattern", "")
        if not isinstance(pattern, str):
            raise InvalidArgument(argument="pattern", reason="expected text")
        subscription = self._bridge.subscribe(pattern, after=after)
        try:
            told, previous = [], after
            for event in subscription.next(0.0, most):
                told.append(event_values(event, previous))
                previous = event.seq
            return {"events": told, "last": subscription.place}
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
