"""Connecting, losing the connection, and finding it again."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.core.hypervisor.support import OPTIONS, TEST_DOMAIN, Listener, xml
from vdsm_bridge.testing.blocking import BlockingDriver
from vdsm_bridge.testing.polling import until
from vdsm_core.errors import HypervisorLost, HypervisorUnavailable
from vdsm_core.hypervisor import (
    ConnectionBack,
    ConnectionLost,
    DomainLifecycle,
    EventsLost,
    Hypervisor,
    HypervisorEvent,
)
from vdsm_core.hypervisor.connection.dispatcher import Dispatcher

NOWHERE = msgspec.structs.replace(OPTIONS, uri="qemu+unix:///system?socket=/nonexistent/libvirt-sock")


def test_up(hypervisor: Hypervisor) -> None:
    """After `start`, calls work."""
    assert hypervisor.connected
    assert (hypervisor.uri, hypervisor.status().state) == ("test:///default", "up")
    assert abs(hypervisor.status().since - time.time()) < 5


def test_down() -> None:
    """An absent hypervisor prevents neither start nor stop; calls fail with the reason."""
    hypervisor = Hypervisor(NOWHERE)
    hypervisor.start()
    try:
        assert not hypervisor.connected
        assert "/nonexistent/libvirt-sock" in hypervisor.status().reason
        for call in (hypervisor.domains.list_all, hypervisor.stats.sample, hypervisor.stats.refresh):
            with pytest.raises(HypervisorUnavailable) as caught:
                call()
            assert caught.value.facts["uri"] == NOWHERE.uri
    finally:
        assert hypervisor.stop(2.0) == 0


def test_comes_up_later(driver: BlockingDriver) -> None:
    """A hypervisor that is absent at the start is connected later, and listeners receive an event."""
    driver.break_connections(refuse=True)
    hypervisor, listener = Hypervisor(OPTIONS, connect=driver.connect), Listener()
    hypervisor.events.listen(listener)
    hypervisor.start()
    assert (hypervisor.connected, listener.events) == (False, [])
    driver.accept()
    until(lambda: listener.events)
    assert ([ConnectionBack()], True) == (listener.events, hypervisor.connected)
    assert hypervisor.stop(2.0) == 0


def test_reconnect(driver: BlockingDriver, blocking: Hypervisor) -> None:
    """A broken connection is reported, reopened and reported again; then events and statistics work."""
    listener = Listener()
    blocking.events.listen(listener)
    blocking.stats.refresh()
    driver.break_connections()
    until(lambda: len(listener.events) == 2)
    assert [ConnectionLost("libvirt closed the connection"), ConnectionBack()] == listener.events
    blocking.domains.suspend(TEST_DOMAIN)
    until(lambda: listener.of(DomainLifecycle))
    assert len(listener.of(DomainLifecycle)) == 1
    assert blocking.stats.refresh().domains[TEST_DOMAIN].state == "paused"


def test_while_down(driver: BlockingDriver, blocking: Hypervisor) -> None:
    """While libvirt is away calls fail at once; the last statistics stay."""
    before = blocking.stats.refresh()
    driver.break_connections(refuse=True)
    until(lambda: not blocking.connected)
    with pytest.raises(HypervisorUnavailable):
        blocking.domains.suspend(TEST_DOMAIN)
    assert before.domains.keys() == blocking.stats.sample().domains.keys()
    driver.accept()
    until(lambda: blocking.connected)
    blocking.domains.suspend(TEST_DOMAIN)


def test_libvirt_that_is_not_there(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged once that it cannot be reached; no call may have been carried out."""
    uri = f"qemu+unix:///system?socket={tmp_path}/none"
    hypervisor = Hypervisor(msgspec.structs.replace(OPTIONS, uri=uri))
    hypervisor.start()
    try:
        until(lambda: uri in caplog.text)
        with pytest.raises(HypervisorUnavailable):
            hypervisor.domains.suspend(TEST_DOMAIN)
    finally:
        hypervisor.stop(2.0)
    messages = [r.getMessage() for r in caplog.records if r.name.endswith("connection.reconnect")]
    reason = f"Failed to connect socket to '{tmp_path}/none': No such file or directory"
    assert messages == [f"The hypervisor {uri} cannot be reached: {reason}"]


def test_loss_during_a_call(driver: BlockingDriver) -> None:
    """A call on a connection that breaks fails, and its error says that it may have been carried out."""
    # Nothing else calls meanwhile, and so notices it first.
    quiet = msgspec.structs.replace(OPTIONS, sample_interval=60.0, keepalive=60)
    hypervisor = Hypervisor(quiet, connect=driver.connect)
    hypervisor.start()
    try:
        hypervisor.stats.refresh()
        driver.break_connections(notify=False, refuse=True)
        with pytest.raises(HypervisorLost, match="broke during 'suspend' on") as caught:
            hypervisor.domains.suspend(TEST_DOMAIN)
        assert caught.value.in_doubt
        until(lambda: not hypervisor.connected)
        with pytest.raises(HypervisorUnavailable) as caught_later:
            hypervisor.domains.suspend(TEST_DOMAIN)
        assert not caught_later.value.in_doubt
    finally:
        assert hypervisor.stop(2.0) == 0


def test_unnoticed_loss(driver: BlockingDriver, blocking: Hypervisor) -> None:
    """A loss without a callback is detected all the same."""
    listener = Listener()
    blocking.events.listen(listener)
    driver.break_connections(notify=False)
    until(lambda: listener.of(ConnectionBack))
    assert len(listener.of(ConnectionLost)) == 1


def test_connecting_hangs(driver: BlockingDriver) -> None:
    """A connection that takes for ever to open is given up; neither start nor stop waits for it."""
    gate = threading.Event()

    def connect(uri: str) -> Any:
        gate.wait()
        return driver.connect(uri)

    hypervisor = Hypervisor(msgspec.structs.replace(OPTIONS, call_deadline=0.05), connect=connect)
    hypervisor.start()
    assert not hypervisor.connected
    assert hypervisor.stop(1.0) >= 1
    gate.set()


def test_two_at_once(hypervisor: Hypervisor) -> None:
    """Two of them in one process both see everything; ending one leaves the other its events."""
    other, listener = Hypervisor(OPTIONS), Listener()
    other.start()
    uuid = hypervisor.definitions.define(xml("shared"))
    assert other.domains.get(uuid).name == "shared"
    hypervisor.events.listen(listener)
    assert other.stop(2.0) == 0
    hypervisor.domains.start(uuid)
    until(lambda: listener.of(DomainLifecycle))


def test_one_after_another() -> None:
    """Each is closed to the last reference: the test driver's state begins anew each time."""
    for _ in range(5):
        hypervisor = Hypervisor(OPTIONS)
        hypervisor.start()
        assert [state.uuid for state in hypervisor.domains.list_all()] == [TEST_DOMAIN]
        hypervisor.definitions.define(xml("gone with the last connection"))
        assert hypervisor.stop(2.0) == 0


def test_listeners(hypervisor: Hypervisor) -> None:
    """A listener that raises does not harm the next one; one that has left is not called."""

    def broken(_event: object) -> None:
        raise ValueError("on purpose")

    left, stays = Listener(), Listener()
    hypervisor.events.listen(broken)
    leave = hypervisor.events.listen(left)
    hypervisor.events.listen(stays)
    leave()
    hypervisor.domains.suspend(TEST_DOMAIN)
    until(lambda: stays.events)
    assert left.events == []


def test_slow_listener(hypervisor: Hypervisor) -> None:
    """A listener that hangs delays events, never calls."""
    gate, listener = threading.Event(), Listener()

    def slow(_event: object) -> None:
        gate.wait()

    hypervisor.events.listen(slow)
    hypervisor.events.listen(listener)
    for _ in range(10):
        hypervisor.domains.suspend(TEST_DOMAIN)
        hypervisor.domains.resume(TEST_DOMAIN)
    assert listener.events == []
    gate.set()
    until(lambda: len(listener.events) == 20)


def test_quiet(hypervisor: Hypervisor, capfd: pytest.CaptureFixture[str]) -> None:
    """libvirt prints no error of its own."""
    with pytest.raises(Exception, match="no domain"):
        hypervisor.domains.get("11111111-1111-4111-8111-111111111111")
    assert capfd.readouterr() == ("", "")


def test_too_slow_listener() -> None:
    """Beyond the limit of the queue, events are dropped, and listeners receive their number."""
    gate, listener, dispatcher = threading.Event(), Listener(), Dispatcher(max_waiting=2)

    def slow(event: HypervisorEvent) -> None:
        gate.wait()
        listener(event)

    dispatcher.listen(slow)
    dispatcher.start()
    dispatcher.announce(ConnectionBack())
    until(lambda: dispatcher.waiting() == 0)
    for _ in range(5):
        dispatcher.announce(ConnectionBack())
    gate.set()
    until(lambda: listener.of(EventsLost))
    assert dispatcher.stop(2.0)
    assert [*[ConnectionBack()] * 3, EventsLost(3)] == listener.events
