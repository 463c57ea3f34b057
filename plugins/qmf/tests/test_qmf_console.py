"""The console: living hosts, calls to one host and to many, the events of all."""

from __future__ import annotations

import threading
import time

import pytest
from proton import Message

from vdsm_bridge.testing import TestHost
from vdsm_bridge.testing.harness import queue
from vdsm_bridge.testing.polling import until
from vdsm_qmf.console import CallRefused, Cluster, HostChange, Unreachable
from vdsm_qmf.protocol.message import Address
from vdsm_qmf.testing import RabbitMQ

from .conftest import HEARTBEAT, Console, MakeHost
from .probe import Probe

LAMP = "00000000-0000-4000-8000-00000000000e"
#: Heartbeats say their interval in whole seconds.
INTERVAL = max(1.0, HEARTBEAT)


def lamp(host: TestHost) -> TestHost:
    """A host with a lamp."""
    host.call("Lamp.create", lamp={"lampID": LAMP, "name": "hall"})
    return host


# -- who lives


def test_liveness(on_bus: MakeHost, console: Console) -> None:
    """A host is found, lost within three intervals of its end, and back when it is started again."""
    changes: list[tuple[str, str, float]] = []

    def changed(change: HostChange) -> None:
        changes.append((change.what, change.host.id, time.monotonic()))

    cluster = console(on_change=changed)
    host = on_bus("a")
    on_bus("b")
    assert cluster.wait_for("a", "b") == ["a", "b"]
    host.__exit__(None, None, None)
    ended = time.monotonic()
    until(lambda: cluster.living() == ["b"])
    assert [host.id for host in cluster.hosts()] == ["a", "b"]
    lost = next(at for what, name, at in changes if (what, name) == ("lost", "a"))
    assert lost - ended < 3 * INTERVAL
    with pytest.raises(Unreachable, match="a is lost: its heartbeats have stopped"):
        cluster.call("a", "Host.ping")
    time.sleep(1.0)  # the epoch is the time in seconds
    on_bus("a")
    cluster.wait_for("a")
    until(lambda: ("restarted", "a") in [change[:2] for change in changes])
    received = [what for what, name, _ in changes if name == "a"]
    assert received == ["found", "lost", "back", "restarted"]
    assert [what for what, name, _ in changes if name == "b"] == ["found"]


def test_waiting_in_vain(on_bus: MakeHost, console: Console) -> None:
    """The error names the hosts that did not arrive."""
    on_bus("a")
    cluster = console()
    cluster.wait_for("a")
    with pytest.raises(Unreachable, match=r"not on the bus after 0.2 s: z; on the bus: 1"):
        cluster.wait_for("z", timeout=0.2)
    with pytest.raises(Unreachable, match=r"not on the bus after 0.2 s: 2 hosts; on the bus: 1"):
        cluster.wait_for(hosts=2, timeout=0.2)
    with pytest.raises(Unreachable, match="the host z is not on the bus"):
        cluster.call("z", "Host.ping")


def test_a_listener_that_fails_ends_nothing(on_bus: MakeHost, console: Console) -> None:
    """What the engine does with the news is the engine's trouble."""
    cluster = console(on_change=lambda change: 1 // 0)
    on_bus("a")
    cluster.wait_for("a")
    assert cluster.call("a", "Room.add", {"left": 1}) == 2


# -- calls


def test_results_by_host(on_bus: MakeHost, console: Console) -> None:
    """Each host has its own result or error; one that does not answer delays no other."""
    lamp(on_bus("a"))
    lamp(on_bus("b"))
    on_bus("c")
    cluster = console()
    cluster.wait_for("a", "b", "c")
    came = {}
    begun = time.monotonic()
    for result in cluster.call_many(["a", "b", "c", "z"], "Lamp.getInfo", {"lampID": LAMP}, timeout=10.0):
        came[result.host] = result
    assert time.monotonic() - begun < 9.0
    assert came["a"].get()["name"] == came["b"].get()["name"] == "hall"
    assert isinstance(came["c"].error, CallRefused)
    assert (came["c"].error.slug, came["c"].error.facts) == ("no-such-lamp", {"lamp_id": LAMP})
    assert isinstance(came["z"].error, Unreachable)
    everywhere = cluster.call_all("Room.add", {"left": 2})
    assert {host: result.get() for host, result in everywhere.items()} == {"a": 3, "b": 3, "c": 3}


def test_deadline(on_bus: MakeHost, console: Console) -> None:
    """The host has the console's timeout as its deadline, and reports itself that the call took too long."""
    host = on_bus("a")
    lamp(host)
    cluster = console()
    cluster.wait_for("a")
    slow = cluster.submit("a", "Lamp.engrave", {"lampID": LAMP, "text": "x", "pause": 2.0})
    # Each request has a worker of its own: the second one could reach the lamp first.
    until(lambda: queue(host, LAMP), 20.0)
    with pytest.raises(CallRefused) as caught:
        cluster.call("a", "Lamp.engrave", {"lampID": LAMP, "text": "y"}, timeout=0.3)
    assert caught.value.slug == "queue-deadline"
    assert slow.result(20.0)["marks"] == ["x"]


def test_from_many_threads(on_bus: MakeHost, console: Console) -> None:
    """Each thread gets the answers to its own requests."""
    on_bus("a")
    on_bus("b")
    cluster = console()
    cluster.wait_for("a", "b")
    wrong: list[object] = []

    def ask(number: int) -> None:
        for turn in range(50):
            total = cluster.call("ab"[turn % 2], "Room.add", {"left": number, "right": turn})
            if total != number + turn:
                wrong.append((number, turn, total))

    threads = [threading.Thread(target=ask, args=(1000 * number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60.0)
    assert wrong == []


def test_a_call_survives_a_restart_of_the_daemon(on_bus: MakeHost, console: Console) -> None:
    """A request to a daemon that is shutting down is sent again to the next one."""
    host = on_bus("a")
    cluster = console()
    cluster.wait_for("a")
    host.__exit__(None, None, None)
    requested = cluster.submit("a", "Room.add", {"left": 20, "right": 22}, timeout=30.0)
    time.sleep(1.0)  # the epoch is the time in seconds
    on_bus("a")
    assert requested.result(30.0) == 42


def test_an_answer_that_never_comes(on_bus: MakeHost, console: Console) -> None:
    """A host that hangs but sends heartbeats is reported as such at the end of the timeout."""
    host = on_bus("a")
    cluster = console()
    cluster.wait_for("a")
    host.__exit__(None, None, None)
    begun = time.monotonic()
    with pytest.raises(Unreachable, match=r"a did not answer within 0.2 s"):
        cluster.call("a", "Host.ping", timeout=0.2)
    assert time.monotonic() - begun < 15.0


def test_close_ends_what_waits(on_bus: MakeHost, broker: RabbitMQ) -> None:
    """Calls and streams of a console that is closed end at once, with words that say so."""
    lamp(on_bus("a"))
    cluster = Cluster(broker.url, password="guest")
    cluster.start()
    cluster.wait_for("a")
    stream = cluster.events()
    requested = cluster.submit("a", "Lamp.engrave", {"lampID": LAMP, "text": "x", "pause": 1.0})
    cluster.close()
    with pytest.raises(Unreachable, match="the console was closed"):
        requested.result(5.0)
    assert list(stream) == []
    with pytest.raises(Unreachable, match="the console is closed"):
        cluster.call("a", "Host.ping")


def test_objects(on_bus: MakeHost, console: Console) -> None:
    """Of one host or many, of one class or all, by a predicate."""
    for name in ("a", "b"):
        host = lamp(on_bus(name))
        host.call("Lamp.create", lamp={"lampID": LAMP.replace("e", "f"), "name": name})
    cluster = console()
    cluster.wait_for("a", "b")
    (found,) = cluster.objects("a", "Lamp", where=["eq", "name", ["quote", "hall"]])
    assert found["_values"]["lampID"] == LAMP
    names = {
        result.host: sorted(one["_values"]["name"] for one in result.get())
        for result in cluster.objects_many(cluster.living(), "Lamp")
    }
    assert names == {"a": ["a", "hall"], "b": ["b", "hall"]}
    classes = {one["_schema_id"]["_class_name"] for one in cluster.objects("a")}
    assert {"Agent", "Host", "Lamp"} <= classes


# -- events


def switch(host: TestHost, times: int) -> None:
    for turn in range(times):
        host.call("Lamp.switch", lampID=LAMP, lit=bool(turn % 2))


def test_events_of_all_hosts(on_bus: MakeHost, console: Console) -> None:
    """Each once, in its host's order; a pattern selects."""
    hosts = {name: lamp(on_bus(name)) for name in ("a", "b", "c")}
    cluster = console()
    cluster.wait_for(*hosts)
    with cluster.events("|sample|switched") as stream:
        threads = [threading.Thread(target=switch, args=(host, 50)) for host in hosts.values()]
        for thread in threads:
            thread.start()
        events = [stream.next(20.0) for _ in range(150)]
        for thread in threads:
            thread.join()
    for name in hosts:
        mine = [event for event in events if event is not None and event.host == name]
        assert [event.params["lit"] for event in mine] == [bool(turn % 2) for turn in range(50)]
        assert [event.seq for event in mine] == sorted({event.seq for event in mine})


def test_resuming_in_another_console(on_bus: MakeHost, console: Console) -> None:
    """Events without a console are delivered to the next one that resumes after the last position."""
    host = lamp(on_bus("a"))
    first = console()
    first.wait_for("a")
    with first.events("|sample|switched") as stream:
        switch(host, 4)
        seen = [stream.next(20.0) for _ in range(2)]
        place = stream.positions
    first.close()
    switch(host, 3)
    with console().events("|sample|switched", resume=place) as stream:
        rest = [stream.next(20.0) for _ in range(5)]
    numbers = [event.seq for event in [*seen, *rest] if event is not None]
    assert len(numbers) == len(set(numbers)) == 7
    assert numbers == sorted(numbers)


def test_a_slow_reader_costs_nothing_and_misses_nothing(on_bus: MakeHost, console: Console) -> None:
    """Beyond its limit nothing is kept for it: it reads on from the host's journal; others read live."""
    host = lamp(on_bus("a"))
    cluster = console()
    cluster.wait_for("a")
    slow, quick = cluster.events("|sample|switched", limit=10), cluster.events("|sample|switched")
    switch(host, 300)
    live = [quick.next(20.0) for _ in range(300)]
    assert len(slow._queue) == 10
    late = [slow.next(20.0) for _ in range(300)]
    assert late == live


def test_a_journal_that_holds_too_little(on_bus: MakeHost, console: Console) -> None:
    """Events that the host has lost are announced as a gap with their numbers; then the stream goes on."""
    host = lamp(on_bus("a"))
    switch(host, 3)
    cluster = console()
    cluster.wait_for("a")
    with cluster.events("|sample|switched", resume={"a": 10_000}) as stream:
        gap = stream.next(20.0)
        assert gap is not None
        assert gap.is_gap
        assert gap.params["to"] == 10_000
        switch(host, 1)
        event = stream.next(20.0)
        assert event is not None
        assert (event.is_gap, event.params) == (False, {"lit": False})


def test_from_now_on(on_bus: MakeHost, console: Console) -> None:
    """A stream that begins late does not have events that the console received before."""
    host = lamp(on_bus("a"))
    cluster = console()
    cluster.wait_for("a")
    with cluster.events("|sample|switched") as early:
        switch(host, 5)
        assert [early.next(20.0) for _ in range(5)][-1] is not None
        with cluster.events("|sample|switched") as late:
            host.call("Lamp.switch", lampID=LAMP, lit=True)
            event = late.next(20.0)
            assert event == early.next(20.0)


@pytest.mark.parametrize(
    ("opcode", "body", "agent"),
    [
        ("_agent_heartbeat_indication", {"_values": {}}, "vdsm:vdsmd:a"),
        ("_agent_heartbeat_indication", {"_values": {"_name": "a", "_heartbeat_interval": 1}}, "a"),
        ("_agent_heartbeat_indication", {"_values": {"_name": "v:p:i", "_heartbeat_interval": "x"}}, "v:p:i"),
        ("_data_indication", [{"_values": {"eventSeq": 1}}], "no name"),
        ("_data_indication", [{"_values": {"eventSeq": "x", "eventPrevious": 0}}], "vdsm:vdsmd:a"),
        ("_data_indication", [{"_values": {"eventSeq": 10**6}}], "vdsm:vdsmd:a"),
        ("_method_response", {"_arguments": []}, "vdsm:vdsmd:a"),
        ("_exception", {}, "vdsm:vdsmd:a"),
        ("nothing", None, "vdsm:vdsmd:a"),
    ],
)
def test_nonsense_on_the_bus(
    on_bus: MakeHost, console: Console, broker: RabbitMQ, opcode: str, body: object, agent: str
) -> None:
    """Whatever the bus delivers, the console and its streams go on."""
    host = lamp(on_bus("a"))
    cluster = console()
    cluster.wait_for("a")
    with cluster.events("|sample|switched") as stream, Probe(broker.url) as probe:
        properties = {"qmf.opcode": opcode, "qmf.agent": agent, "qmf.content": "_event"}
        message = Message(body=body, properties=properties, correlation_id="1")
        message.inferred = False
        for topic in ("agent.ind.heartbeat.vdsm.vdsmd.a", "agent.ind.event.vdsm.a.info.vdsm.vdsmd.a"):
            probe.raw(bytes(message.encode()), Address("qmf.default.topic", topic))
        switch(host, 3)
        events = [stream.next(20.0) for _ in range(3)]
        assert [event.params["lit"] for event in events if event is not None] == [False, True, False]
        assert cluster.call("a", "Room.add", {"left": 1}) == 2
