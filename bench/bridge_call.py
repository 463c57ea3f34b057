"""A call through the bridge against the plain Python function behind it."""

from __future__ import annotations

import statistics

import msgspec

from bench.measure import Row, pair, per_call
from vdsm_bridge import Context
from vdsm_bridge.testing import TestHost
from vdsm_bridge.testing.sample import Room
from vdsm_bridge.work import Reference, exclusive


class _Box(Reference):
    """The objects that the other works hold."""


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
        rows.append(_row("action with its lock, with an event", ours, theirs))
        rows += _beside_many_locks(host, lamp)
    return rows


def _beside_many_locks(host: TestHost, lamp: str) -> list[Row]:
    """An action while 100 works hold 1,000 other objects, beside the same action while none is held."""
    locks = host.host.runtime.work.locks

    def call() -> None:
        host.bridge.call("Lamp.switch", {"lampID": lamp, "lit": True}, Context())

    rounds = []
    for _ in range(5):
        alone = per_call(call, seconds=0.3, rounds=3)
        holds = [
            locks.request([exclusive(_Box(f"{work} {box}")) for box in range(10)], "work")
            for work in range(100)
        ]
        rounds.append((per_call(call, seconds=0.3, rounds=3), alone))
        for hold in holds:
            locks.release(hold)
    beside, alone = (statistics.median(times) for times in zip(*rounds, strict=True))
    row = _row("action beside 1,000 locks of 100 works", beside, alone)
    return [msgspec.structs.replace(row, yardstick_name="the same without them")]


def _row(case: str, ours: float, theirs: float) -> Row:
    return Row(
        bench="bridge call",
        case=case,
        unit="us",
        value=ours * 1e6,
        yardstick=theirs * 1e6,
        yardstick_name="the function alone",
    )
