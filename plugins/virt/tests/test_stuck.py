"""One machine of fifty hangs for ever: the others do not notice, and it is shown as what it is."""

from __future__ import annotations

import random
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from vdsm_bridge.call.context import Context
from vdsm_bridge.testing.blocking import BlockingDriver
from vdsm_bridge.testing.polling import until
from vdsm_core.errors import QueueDeadline, VdsmError

MANY = 50
#: Seconds that a call of libvirt's may take: so long a call lasts that waits for the stuck machine.
DEADLINE = 3.0


@pytest.fixture
def driver():
    with BlockingDriver() as driver:
        yield driver


@pytest.fixture
def vms(make_machines, driver):
    options = {"hypervisor": {"call_deadline": DEADLINE, "sample_interval": 0.1}}
    vms = make_machines(connect=driver.connect, config=options)
    yield vms
    # Before the host is stopped: it would wait for the calls that hang.
    driver.release_all()


def _quickest_round(call, rounds=3):
    """Seconds that ten calls take, the best of some rounds: the machine that tests has other work, too."""
    times = []
    for _ in range(rounds):
        started = time.monotonic()
        for _ in range(10):
            call()
        times.append(time.monotonic() - started)
    return min(times)


def test_one_machine_that_hangs_costs_nobody_else(vms, driver):
    """List, statistics and verbs of the others do not wait for it; the stuck one shows age and reason."""
    ids = [vms.create(vmName=f"m{number}") for number in range(MANY)]
    stuck, others = ids[0], ids[1:]

    def verbs():
        other = random.choice(others)
        vms.call("VM.pause", vmID=other)
        vms.call("VM.cont", vmID=other)

    def queries():
        vms.call("Host.getVMList")
        vms.call("Host.getAllVmStats")
        vms.call("VM.getStats", vmID=stuck)

    driver.block(stuck, statistics=True)
    caller = threading.Thread(target=_quietly, args=(vms, "VM.pause", stuck))
    caller.start()
    until(lambda: driver.waiting())
    for call in (verbs, queries):
        assert _quickest_round(call) < DEADLINE
    stats = vms.wait(stuck, lambda stats: stats.monitor_response == -1, within=10)
    assert stats.not_responding
    assert stats.stats_age > 0
    later = vms.wait(stuck, lambda later: later.stats_age > stats.stats_age + 0.5)
    assert later.monitor_response == -1
    assert all(vms.stats(other).monitor_response == 0 for other in others)
    caller.join(10)
    driver.release(stuck)
    vms.wait(stuck, lambda stats: stats.monitor_response == 0, within=10)


def _quietly(vms, verb, vm_id):
    try:
        vms.call(verb, vmID=vm_id)
    except VdsmError:
        return


def test_a_call_behind_one_that_hangs_tells_its_place(vms, driver):
    """When the caller's own time is over, it learns where it stood and behind what."""
    vm_id = vms.create()
    driver.block(vm_id)
    holder = threading.Thread(target=_quietly, args=(vms, "VM.pause", vm_id))
    holder.start()
    until(lambda: driver.waiting())
    with pytest.raises(QueueDeadline) as refusal:
        vms.host.bridge.call("VM.reset", {"vmID": vm_id}, Context(deadline=time.monotonic() + 1.0))
    assert (refusal.value.facts["place"], refusal.value.facts["holder"]) == (1, "VM.pause")
    driver.release(vm_id)
    holder.join(10)


def test_destroy_frees_a_machine_that_hangs(vms, driver):
    """It overtakes what hangs, and ends that, too."""
    vm_id = vms.create()
    driver.block(vm_id)
    holder = threading.Thread(target=_quietly, args=(vms, "VM.pause", vm_id))
    holder.start()
    until(lambda: driver.waiting())
    vms.call("VM.destroy", vmID=vm_id)
    assert vms.ids() == []
    holder.join(10)
    assert not holder.is_alive()


def test_fifty_at_once_are_all_answered(vms):
    """Creates and destroys from many callers: nothing is lost, and the order of each machine is kept."""
    names = {f"m{number}": str(uuid.uuid4()) for number in range(MANY)}
    subscription = vms.listen()

    def live(item):
        name, vm_id = item
        vms.begin(vmName=name, vmId=vm_id)
        vms.call("VM.pause", vmID=vm_id)
        vms.call("VM.cont", vmID=vm_id)
        vms.call("VM.destroy", vmID=vm_id)
        return vm_id

    with ThreadPoolExecutor(MANY) as pool:
        assert list(names.values()) == list(pool.map(live, names.items()))
    assert vms.ids() == []
    seen: dict[str, list[str]] = {vm_id: [] for vm_id in names.values()}
    for reported in vms.received(subscription):
        seen[reported["vmId"]].append(reported["status"])
    assert {("WaitForLaunch", "Up", "Paused", "Up", "Down")} == {tuple(order) for order in seen.values()}
    subscription.close()
