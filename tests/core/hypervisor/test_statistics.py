"""Bulk statistics: how new each machine's values are, and why."""

from __future__ import annotations

import time

import pytest

from tests.core.hypervisor.support import TEST_DOMAIN, xml
from vdsm_bridge.testing.blocking import BlockingDriver
from vdsm_bridge.testing.polling import until
from vdsm_core.errors import HypervisorDeadline
from vdsm_core.hypervisor import Hypervisor


def test_sample(hypervisor: Hypervisor) -> None:
    """A sample has every machine under libvirt's names, new, and the sample before it."""
    off = hypervisor.definitions.define(xml("off"))
    sample = hypervisor.stats.refresh()
    running = sample.domains[TEST_DOMAIN]
    assert sample.domains.keys() == {TEST_DOMAIN, off}
    assert (running.name, running.state, running.active) == ("test", "running", True)
    assert (sample.domains[off].state, sample.domains[off].active) == ("shutoff", False)
    assert running.stats["state.state"] == 1
    assert (running.taken_at, running.monotonic) == (sample.taken_at, sample.monotonic)
    assert (running.responding, running.blocked_since, running.why) == (True, None, "")
    assert sample.previous is not None
    assert sample.previous.previous is None
    assert sample.previous.taken_at < sample.taken_at


def test_background(hypervisor: Hypervisor) -> None:
    """Samples become new by themselves."""
    first = hypervisor.stats.sample()
    until(lambda: hypervisor.stats.sample().taken_at > first.taken_at)
    assert time.time() - hypervisor.stats.sample().taken_at < 10


def test_refresh_is_after_the_call(hypervisor: Hypervisor) -> None:
    """What was done before `refresh` is seen in it."""
    for _ in range(20):
        hypervisor.domains.suspend(TEST_DOMAIN)
        assert hypervisor.stats.refresh().domains[TEST_DOMAIN].state == "paused"
        hypervisor.domains.resume(TEST_DOMAIN)
        assert hypervisor.stats.refresh().domains[TEST_DOMAIN].state == "running"


def test_stuck_machine(driver: BlockingDriver, blocking: Hypervisor) -> None:
    """A machine that hangs keeps its last values, with their age and why; the others' stay new."""
    other = blocking.definitions.define(xml("other"))
    blocking.domains.start(other)
    before = blocking.stats.refresh()
    driver.block(TEST_DOMAIN)
    until(lambda: not blocking.stats.sample().domains[TEST_DOMAIN].responding)
    sample = blocking.stats.sample()
    stuck = sample.domains[TEST_DOMAIN]
    assert before.taken_at <= stuck.taken_at < sample.taken_at
    assert stuck.stats["balloon.rss"] == before.domains[TEST_DOMAIN].stats["balloon.rss"]
    assert "monitor is busy" in stuck.why
    assert stuck.blocked_since is not None
    assert before.taken_at - 0.1 <= stuck.blocked_since <= sample.taken_at
    assert sample.domains[other].responding
    assert sample.domains[other].taken_at == sample.taken_at

    driver.release(TEST_DOMAIN)
    again = blocking.stats.refresh()
    assert again.domains[TEST_DOMAIN].responding
    assert again.domains[TEST_DOMAIN].taken_at == again.taken_at


def test_short_job(driver: BlockingDriver, blocking: Hypervisor) -> None:
    """A machine that something holds for a moment keeps its values, and responds."""
    before = blocking.stats.refresh()
    driver.block(TEST_DOMAIN)
    held = blocking.stats.refresh().domains[TEST_DOMAIN]
    assert held.responding
    assert held.why
    assert held.taken_at >= before.taken_at
    assert held.stats["cpu.time"]


def test_state_stays_new(driver: BlockingDriver, blocking: Hypervisor) -> None:
    """The state of a machine that hangs is libvirt's, not the last one that was read with its values."""
    driver.block(TEST_DOMAIN)
    blocking.domains.destroy(TEST_DOMAIN)
    domain = blocking.stats.refresh().domains[TEST_DOMAIN]
    assert (domain.state, domain.active, domain.responding) == ("shutoff", False, True)


def test_stuck_call_is_the_reason(driver: BlockingDriver, blocking: Hypervisor) -> None:
    """A machine that does not return from a call is reported as not responding, with the call's name."""
    driver.block(TEST_DOMAIN)
    with pytest.raises(HypervisorDeadline):
        blocking.domains.suspend(TEST_DOMAIN, timeout=0.01)
    stuck = blocking.stats.refresh().domains[TEST_DOMAIN]
    assert not stuck.responding
    assert stuck.why.startswith("'suspend' has not returned")


def test_hanging_statistics(driver: BlockingDriver, blocking: Hypervisor) -> None:
    """A bulk call that hangs with a machine is left behind; the next ones go on without its values."""
    blocking.stats.refresh()
    driver.block(TEST_DOMAIN, statistics=True)
    until(lambda: (TEST_DOMAIN, "getAllDomainStats") in driver.waiting())
    sample = blocking.stats.refresh(timeout=4.0)
    assert [call.operation for call in blocking.overdue_calls()] == ["statistics"]
    until(lambda: not blocking.stats.sample().domains[TEST_DOMAIN].responding)
    assert blocking.stats.sample().taken_at >= sample.taken_at
    driver.release(TEST_DOMAIN)
    until(lambda: not blocking.overdue_calls())
    assert blocking.stats.refresh().domains[TEST_DOMAIN].responding


def test_vanished_machine(hypervisor: Hypervisor) -> None:
    """A machine that is gone is gone from the next sample."""
    uuid = hypervisor.definitions.define(xml("short-lived"))
    assert uuid in hypervisor.stats.refresh().domains
    hypervisor.definitions.undefine(uuid)
    assert uuid not in hypervisor.stats.refresh().domains


def test_many_hang_at_once(driver: BlockingDriver, blocking: Hypervisor) -> None:
    """When each bulk call meets another machine that hangs, states stay new and the list stays complete."""
    uuids = [blocking.definitions.define(xml(f"storage-gone{number}")) for number in range(3)]
    for uuid in uuids:
        blocking.domains.start(uuid)
    blocking.stats.refresh()
    for uuid in uuids:
        driver.block(uuid, statistics=True)
    blocking.domains.suspend(TEST_DOMAIN)
    sample = blocking.stats.refresh(timeout=4.0)
    assert sample.domains.keys() == {TEST_DOMAIN, *uuids}
    assert sample.domains[TEST_DOMAIN].state == "paused"
    assert {False} == {sample.domains[uuid].responding for uuid in uuids}
    other = sample.domains[TEST_DOMAIN]
    assert other.responding
    # The last known values; or new ones, if by now each of the three has held up a round.
    assert other.why or other.taken_at == sample.taken_at
