"""Objects for consoles that come later: all of them after a locate request, bounded in rate and size."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from vdsm_bridge.testing.polling import until
from vdsm_qmf.agent import object_publisher as watch
from vdsm_qmf.console import Cluster, Security

from .amqp_bytes import plain
from .conftest import BusHost, MakeHost
from .old_console import OldConsole
from .qpidd_peer import QpiddPeer

LAMPS = ("qmf.default.topic", "agent.ind.data.vdsm.Lamp.#")
OWN = ("qmf.default.direct", "late")
LOCATE = {"qmf.opcode": "_agent_locate_request"}


@pytest.fixture
def peer() -> Iterator[QpiddPeer]:
    with QpiddPeer() as peer:
        yield peer


def start(peer: QpiddPeer, on_bus: MakeHost, interval: float, lamps: int = 1) -> BusHost:
    """A host with lamps that it has published once each."""
    host = on_bus(
        "o.host", url=peer.url, anonymous=True, access={"loopback": "admin"}, data_interval=interval
    )
    with OldConsole(peer.url, LAMPS) as early:
        for number in range(lamps):
            lamp = {"lampID": f"00000000-0000-4000-8000-{number:012d}", "name": f"lamp {number}"}
            host.call("Lamp.create", lamp=lamp)
        early.wait(lamps)
    return host


def locate(console: OldConsole, body: Any = None, **properties: Any) -> None:
    console.ask(
        [] if body is None else body,
        {**LOCATE, **properties},
        address="qmf.default.topic",
        subject="console.request.agent_locate",
        reply_to="qmf.default.direct/late",
        correlation_id="1",
    )


def names(console: OldConsole) -> Counter[str]:
    """Return how often each lamp was published to a console."""
    bodies = [plain(one["amqp-value"]) for one in list(console.got)]
    return Counter(body[0]["_values"]["name"] for body in bodies if isinstance(body, list))


def test_a_console_that_comes_later(peer: QpiddPeer, on_bus: MakeHost) -> None:
    """After its locate request it gets each object once, unchanged ones too."""
    start(peer, on_bus, 0.2, lamps=3)
    with OldConsole(peer.url, LAMPS, OWN) as late:
        # Several scans: unchanged objects are not published again.
        time.sleep(1.0)
        assert not late.got
        locate(late)
        until(lambda: len(names(late)) >= 3, detail=lambda: names(late))
        time.sleep(1.0)
        assert names(late) == {"lamp 0": 1, "lamp 1": 1, "lamp 2": 1}


def test_who_looks_for_others(peer: QpiddPeer, on_bus: MakeHost) -> None:
    """A locate request for other agents, and one of vdsm's console, cause no copies."""
    start(peer, on_bus, 0.2)
    with OldConsole(peer.url, LAMPS, OWN) as late:
        locate(late, ["eq", "_vendor", ["quote", "other"]])
        with Cluster(peer.url, security=Security(anonymous=True)) as ours:
            ours.wait_for("o.host")
        time.sleep(1.0)
        assert not names(late)
        locate(late)
        until(lambda: len(names(late)) >= 1, detail=lambda: names(late))


def test_at_most_once_in_an_interval(peer: QpiddPeer, on_bus: MakeHost) -> None:
    """However many consoles come, and however often they ask."""
    start(peer, on_bus, 1.0)
    with OldConsole(peer.url, LAMPS, OWN) as late:
        began = time.monotonic()
        while time.monotonic() < began + 3.0:
            locate(late)
            time.sleep(0.01)
        received = names(late)["lamp 0"]
        passed = time.monotonic() - began
        assert 1 <= received <= passed + 1
        # One that comes too soon is not forgotten: it is served when its time has come.
        for _ in range(2):
            received = names(late)["lamp 0"]
            locate(late)
            until(lambda received=received: names(late)["lamp 0"] != received)


@pytest.mark.parametrize(("bound", "value", "portion"), [("REPEATED", 2, 2), ("REPEATED_BYTES", 1, 1)])
def test_some_at_a_time(
    peer: QpiddPeer, on_bus: MakeHost, monkeypatch: pytest.MonkeyPatch, bound: str, value: int, portion: int
) -> None:
    """What exceeds the bounds of a scan, in objects and bytes, follows in the next ones, each once."""
    interval, lamps = 0.5, 5
    start(peer, on_bus, interval, lamps)
    monkeypatch.setattr(watch, bound, value)
    with OldConsole(peer.url, LAMPS, OWN) as late:
        began = time.monotonic()
        locate(late)
        while (received := len(names(late))) < lamps:
            # One look may be under way when it is asked for.
            assert received <= portion * (2 + (time.monotonic() - began) / interval)
            assert time.monotonic() < began + 20.0
            time.sleep(0.01)
        passed = time.monotonic() - began
        time.sleep(2 * interval)
        assert set(names(late).values()) == {1}
    assert passed >= (lamps / portion - 2) * interval
