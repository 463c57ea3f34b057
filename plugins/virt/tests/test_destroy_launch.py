"""A machine that is destroyed just while its launch starts it."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait

from vdsm_bridge.testing.polling import until


def test_a_machine_that_is_started_behind_its_kill(vms, monkeypatch):
    """It ends all the same, and does not appear again as an unknown machine.

    The worst order: the start follows the kill, the domain is undefined while it runs, and the
    event of its start arrives before the launch has ended it.
    """
    hypervisor = vms.host.host.runtime.hypervisor
    start, destroy, undefine = (
        hypervisor.domains.start,
        hypervisor.domains.destroy,
        hypervisor.definitions.undefine,
    )
    starting, killed, started, deaf, looked = (threading.Event() for _ in range(5))
    kills = []

    def slow_start(*args, **options):
        starting.set()
        assert killed.wait(10)
        start(*args, **options)
        started.set()

    def slow_kill(*args, **options):
        kills.append(args)
        if len(kills) > 1:
            looked.wait(10)
        try:
            destroy(*args, **options)
        finally:
            killed.set()

    def late_undefine(*args, **options):
        assert started.wait(10)
        undefine(*args, **options)

    subscription = vms.listen("|virt|*")
    monkeypatch.setattr(hypervisor.domains, "start", slow_start)
    monkeypatch.setattr(hypervisor.domains, "destroy", slow_kill)
    monkeypatch.setattr(hypervisor.definitions, "undefine", late_undefine)
    vm_id = vms.begin()
    assert starting.wait(10)
    take_back = hypervisor.events.listen(lambda _event: deaf.wait(10))
    hypervisor._dispatcher.announce(object())  # holds up all events behind it
    with ThreadPoolExecutor(1) as pool:
        ending = pool.submit(vms.call, "VM.destroy", vmID=vm_id)
        wait([ending], 1.0)
        deaf.set()
        time.sleep(0.3)  # long enough for events to be handled
        looked.set()
        ending.result(20)
    take_back()
    until(lambda: vm_id not in [domain.uuid for domain in hypervisor.domains.list_all()])
    assert vms.ids() == []
    vms.host.host.runtime.events.flush()
    published = [event.id for event in subscription.next(1.0)]
    gone = [place for place, name in enumerate(published) if name.startswith("|virt|VM_gone|")]
    assert len(gone) == 1, published
    assert not [name for name in published[gone[0] + 1 :] if "VM_status" in name], published
