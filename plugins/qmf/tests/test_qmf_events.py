"""Events over the bus: what a console may not know is a gap, and who waits is in nobody's way."""

from __future__ import annotations

import time
from concurrent.futures import as_completed

from vdsm_qmf.testing import USER, RabbitMQ

from .conftest import Console, MakeHost

LAMP = "00000000-0000-4000-8000-00000000000e"


def test_a_host_that_refuses_to_tell(on_bus: MakeHost, console: Console, broker: RabbitMQ) -> None:
    """A console without a role hears what happens; what it has missed is one gap that says why."""
    host = on_bus("h")
    host.call("Lamp.create", lamp={"lampID": LAMP, "name": "hall"})
    before = host.server.runtime.events.flush()
    with console().events() as known:
        host.call("Lamp.switch", lampID=LAMP, lit=True)
        told = known.next(20)
        while told is None or told.params != {"lit": True}:
            told = known.next(20)
    missed = told.seq
    cluster = console(broker.url.replace(USER, "guard"), password="guard")
    cluster.wait_for("h")
    with cluster.events("sample", resume={"h": before}) as stream:
        gap = stream.next(20)
        assert gap is not None
        assert (gap.is_gap, gap.params["from"], gap.params["to"]) == (True, before + 1, missed)
        assert "guard" in gap.params["reason"]
        host.call("Lamp.switch", lampID=LAMP, lit=False)
        event = stream.next(20)
        assert event is not None
        assert (event.seq, event.params) == (missed + 1, {"lit": False})
        assert stream.positions == {"h": missed + 1}


def test_waiting_calls_leave_threads_to_others(on_bus: MakeHost, console: Console) -> None:
    """Half of the threads may wait for events; who comes then is told so, and others are served."""
    host = on_bus("h", threads=4)
    host.call("Lamp.create", lamp={"lampID": LAMP, "name": "hall"})
    cluster = console()
    cluster.wait_for("h")
    asked = [
        {"subscriptionID": cluster.call("h", "Events.subscribe", {"filter": "sample"})["subscriptionID"]}
        for _ in range(6)
    ]
    calls = [cluster.submit("h", "Events.next", {**one, "timeout": 30}) for one in asked]
    # Four of them are: the others wait.
    refused = [call.exception() for _, call in zip(range(4), as_completed(calls, 20), strict=False)]
    assert {getattr(error, "slug", error) for error in refused} == {"resource-exhausted"}
    began = time.monotonic()
    assert cluster.call("h", "Room.add", {"left": 1}) == 2
    assert time.monotonic() - began < 10.0
    host.call("Lamp.switch", lampID=LAMP, lit=True)
    results = [call for call in calls if call.exception(20) is None]
    assert len(results) == 2
    assert [len(call.result()) for call in results] == [1, 1]


def test_stopping_ends_waiting_calls(on_bus: MakeHost, console: Console) -> None:
    """They are answered, with nothing, instead of taking the time that calls get to finish."""
    host = on_bus("h")
    cluster = console()
    cluster.wait_for("h")
    made = cluster.call("h", "Events.subscribe", {"filter": "sample"})
    call = cluster.submit("h", "Events.next", {"subscriptionID": made["subscriptionID"], "timeout": 60})
    while [held.idle for held in host.call("Events.list")] != [0.0]:
        time.sleep(0.05)
    began = time.monotonic()
    host.server.stop()
    assert time.monotonic() - began < 3.0
    assert call.result(20) == []
