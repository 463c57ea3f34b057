"""A call through the bridge against the plain Python function behind it."""

from __future__ import annotations

from bench.measure import Row, pair
from vdsm_bridge import Context
from vdsm_bridge.testing import TestHost
from vdsm_bridge.testing.sample import Room


def run() -> list[Row]:
    """A query with one argument, an action on an object."""
    rows = []
    with TestHost() as host:
        context, bridge = Context(), host.bridge
        room = Room()
        ours, theirs = pair(
            lambda: bridge.call("Room.add", {"left": 2}, context), lambda: room.add(left=2), seconds=2.0
        )
        rows.append(_row("query, one argument", ours, theirs))
        lamp = "11111111-1111-1111-1111-111111111111"
        host.call("Lamp.create", lamp={"lampID": lamp, "name": "a"})
        switch = bridge.verbs["Lamp.switch"].function
        ours, theirs = pair(
            lambda: bridge.call("Lamp.switch", {"lampID": lamp, "lit": True}, context),
            lambda: switch(lamp, lit=True),
            seconds=2.0,
        )
        rows.append(_row("action in its lane, with an event", ours, theirs))
    return rows


def _row(case: str, ours: float, theirs: float) -> Row:
    return Row(
        bench="bridge call",
        case=case,
        unit="us",
        value=ours * 1e6,
        yardstick=theirs * 1e6,
        yardstick_name="the function alone",
    )
