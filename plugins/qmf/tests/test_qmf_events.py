"""Events of a cluster: what a console may not know is a gap."""

from __future__ import annotations

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
