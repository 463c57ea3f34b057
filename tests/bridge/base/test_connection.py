"""Whether the hypervisor is reached, as an event and as a state."""

from __future__ import annotations

from collections.abc import Callable

from vdsm_bridge.base.connection import Connection
from vdsm_bridge.testing import TestHost
from vdsm_bridge.testing.blocking import BlockingDriver
from vdsm_core.events import EventBus, Journal
from vdsm_core.hypervisor import ConnectionBack
from vdsm_core.state import MEMORY

PATTERN = "|host|hypervisor"


def test_a_connection_that_is_lost_and_comes_back(make_vdsm_host: Callable[..., TestHost]) -> None:
    """Each change is published; a later snapshot has the present state."""
    with BlockingDriver() as driver:
        host = make_vdsm_host(connect=driver.connect, config={"hypervisor": {"reconnect_first": 0.05}})
        states, subscription = host.bridge.snapshot(PATTERN)
        assert [state.params["state"] for state in states] == ["back"]
        driver.break_connections(refuse=True)
        (lost,) = subscription.next(10)
        assert (lost.params["state"], bool(lost.params["reason"])) == ("lost", True)
        again, other = host.bridge.snapshot(PATTERN)
        other.close()
        assert [state.params for state in again] == [lost.params]
        driver.accept()
        (back,) = subscription.next(10)
        subscription.close()
    assert back.params == {"state": "back", "reason": ""}


def test_an_event_overrides_the_initial_state() -> None:
    """The state at the start may be older than the first event."""
    bus = EventBus(Journal(MEMORY, max_bytes=10**6, keep=1000.0))
    bus.start()
    connection = Connection(bus)
    assert connection.states(lambda: None) == []
    connection.handle(ConnectionBack())
    connection.found(up=False, reason="not connected yet")
    (state,) = connection.states(lambda: None)
    assert state[1].state == "back"  # type: ignore[attr-defined] - it is a HypervisorConnection
    bus.stop()


def test_plugins_have_a_snapshot(make_vdsm_host: Callable[..., TestHost]) -> None:
    """A snapshot has every plugin with its state."""
    host = make_vdsm_host()
    states, subscription = host.bridge.snapshot("|host|plugin")
    subscription.close()
    assert {(state.id, state.params["state"]) for state in states} == {
        (f"|host|plugin|{plugin.name}", plugin.state) for plugin in host.host.plugins()
    }
