"""One machine that hangs does not affect others."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.core.hypervisor.support import OPTIONS, TEST_DOMAIN, xml
from vdsm_bridge.testing.blocking import BlockingDriver
from vdsm_bridge.testing.polling import until
from vdsm_core.errors import HypervisorDeadline, HypervisorError, NotResponding
from vdsm_core.hypervisor import Hypervisor

QUICK = 0.05


def test_deadline(driver: BlockingDriver, blocking: Hypervisor) -> None:
    """A call that does not return in time is given up, and shown until it returns."""
    driver.block(TEST_DOMAIN)
    began = time.monotonic()
    with pytest.raises(HypervisorDeadline) as caught:
        blocking.domains.suspend(TEST_DOMAIN, timeout=QUICK)
    assert QUICK <= time.monotonic() - began < OPTIONS.call_deadline
    assert caught.value.facts == {"operation": "suspend", "object": TEST_DOMAIN, "seconds": QUICK}
    (call,) = blocking.overdue_calls()
    assert (call.object, call.operation) == (TEST_DOMAIN, "suspend")
    assert call.seconds >= QUICK
    driver.release(TEST_DOMAIN)
    until(lambda: not blocking.overdue_calls())
    assert blocking.domains.get(TEST_DOMAIN).state == "paused"


def test_further_calls_are_refused(driver: BlockingDriver, blocking: Hypervisor) -> None:
    """While a call is stuck, further ones on its domain are refused at once and do not reach libvirt."""
    driver.block(TEST_DOMAIN)
    with pytest.raises(HypervisorDeadline):
        blocking.domains.suspend(TEST_DOMAIN, timeout=QUICK)
    began = time.monotonic()
    with pytest.raises(NotResponding) as caught:
        blocking.definitions.xml(TEST_DOMAIN.upper())
    assert time.monotonic() - began < OPTIONS.call_deadline
    assert caught.value.facts["operation"] == "suspend"
    assert driver.waiting() == [(TEST_DOMAIN, "suspend")]
    driver.release(TEST_DOMAIN)
    until(lambda: not blocking.overdue_calls())
    assert blocking.definitions.xml(TEST_DOMAIN)


def test_destroy_preempts(driver: BlockingDriver, blocking: Hypervisor) -> None:
    """A domain with a stuck call can be destroyed, which makes the stuck call return."""
    driver.block(TEST_DOMAIN)
    with pytest.raises(HypervisorDeadline):
        blocking.domains.reset(TEST_DOMAIN, timeout=QUICK)
    blocking.domains.destroy(TEST_DOMAIN)
    until(lambda: not blocking.overdue_calls())
    assert not blocking.domains.get(TEST_DOMAIN).active


def test_others_go_on(driver: BlockingDriver, blocking: Hypervisor) -> None:
    """With twelve machines stuck, more than one connection of libvirtd's would carry, others' calls go on."""
    stuck = [blocking.definitions.define(xml(f"stuck{number}")) for number in range(12)]
    with ThreadPoolExecutor(12) as pool:
        for uuid in stuck:
            blocking.domains.start(uuid)
            driver.block(uuid)
        results = [pool.submit(blocking.domains.suspend, uuid, timeout=QUICK) for uuid in stuck]
        errors = [result.exception() for result in results]
    assert {HypervisorDeadline} == {type(error) for error in errors}
    assert sorted(stuck) == sorted(call.object for call in blocking.overdue_calls())
    began = time.monotonic()
    for _ in range(50):
        blocking.domains.suspend(TEST_DOMAIN)
        blocking.domains.resume(TEST_DOMAIN)
    assert len(blocking.domains.list_all()) == 13
    assert time.monotonic() - began < OPTIONS.call_deadline


def test_a_connection_for_each_call(driver: BlockingDriver, blocking: Hypervisor) -> None:
    """No stuck call shares its connection: libvirtd leaves the sixth request of one connection unread."""
    for number in range(6):
        uuid = blocking.definitions.define(xml(f"busy{number}"))
        blocking.domains.start(uuid)
        driver.block(uuid)
        with pytest.raises(HypervisorDeadline):
            blocking.domains.suspend(uuid, timeout=0.01)
    until(lambda: len(driver.waiting()) == 6)
    assert driver.waiting_by_connection() == [1] * 6


def test_stop_leaves_stuck_calls_behind(driver: BlockingDriver) -> None:
    """Stopping does not wait for a stuck call; it reports the number of remaining threads."""
    hypervisor = Hypervisor(OPTIONS, connect=driver.connect)
    hypervisor.start()
    driver.block(TEST_DOMAIN)
    with pytest.raises(HypervisorDeadline):
        hypervisor.domains.suspend(TEST_DOMAIN, timeout=QUICK)
    began = time.monotonic()
    assert hypervisor.stop(0.3) == 1
    assert time.monotonic() - began < OPTIONS.call_deadline
    assert [thread.daemon for thread in threading.enumerate() if "libvirt-call" in thread.name] == [True]
    driver.release(TEST_DOMAIN)


def test_threads_are_reused(hypervisor: Hypervisor) -> None:
    """Calls one after another do not make threads."""
    hypervisor.domains.get(TEST_DOMAIN)
    before = set(threading.enumerate())
    for _ in range(200):
        hypervisor.domains.get(TEST_DOMAIN)
    assert len(set(threading.enumerate()) - before) <= 1


def test_many_at_once(hypervisor: Hypervisor) -> None:
    """Fifty threads that create and destroy at once all get their answers."""

    def life(number: int) -> str:
        uuid = hypervisor.definitions.define(xml(f"many{number}"))
        hypervisor.domains.start(uuid)
        hypervisor.domains.destroy(uuid)
        hypervisor.definitions.undefine(uuid)
        return uuid

    with ThreadPoolExecutor(50) as pool:
        assert len(set(pool.map(life, range(50)))) == 50
    assert [state.uuid for state in hypervisor.domains.list_all()] == [TEST_DOMAIN]


def test_error_after_the_deadline(driver: BlockingDriver, blocking: Hypervisor) -> None:
    """The outcome of an abandoned call raises no error."""
    driver.block(TEST_DOMAIN)
    with pytest.raises(HypervisorDeadline):
        blocking.domains.resume(TEST_DOMAIN, timeout=QUICK)
    driver.release(TEST_DOMAIN)
    until(lambda: not blocking.overdue_calls())
    with pytest.raises(HypervisorError, match="not paused"):
        blocking.domains.resume(TEST_DOMAIN)
