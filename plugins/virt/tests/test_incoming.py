"""A machine arrives from another host: announced or not, in time or not, and whole or not."""

from __future__ import annotations

import time
import uuid

import pytest

from vdsm_bridge.testing.polling import until
from vdsm_core.errors import Conflict, InvalidArgument, InvalidRequest, Unavailable
from vdsm_core.hooks import hookimpl
from vdsm_core.hypervisor import DomainLifecycle, EventsLost
from vdsm_core.types import builtins
from vdsm_core.volumes import DiskId, PreparedDisk
from vdsm_virt.errors import (
    AlreadyExpected,
    CannotCreateVM,
    MigrationInProgress,
    MigrationLimitExceeded,
    NoSuchVM,
    VMExists,
)

EXPECTED = "Migration Destination"


def announce(vms, vm_id="", name="comes", devices=(), **arguments):
    """Have a place kept; the machine's id."""
    vm_id = vm_id or str(uuid.uuid4())
    params = {"vmId": vm_id, "vmName": name, "memSize": 64, "devices": list(devices)}
    reply = vms.call("VM.migrationCreate", vmID=vm_id, params=params, **arguments)
    assert reply.migration_port == 0
    assert (reply.params.vm_id, reply.params.vm_name, reply.params.status) == (vm_id, name, EXPECTED)
    return vm_id


def happens(vms, vm_id, *events, name="comes"):
    """Inject lifecycle events, each a pair of event and detail."""
    for event, detail in events:
        vms.hypervisor._dispatcher.announce(DomainLifecycle(vm_id, name, event, detail))


def statuses(vms, subscription):
    return [event["status"] for event in vms.received(subscription)]


def test_a_place_is_kept(vms):
    """Shown as a machine that is expected; libvirt has nothing of it."""
    subscription = vms.listen()
    vm_id = announce(vms)
    assert (vms.status(vm_id), vms.call("VM.getInfo", vmID=vm_id).status) == (EXPECTED, EXPECTED)
    assert statuses(vms, subscription) == ["WaitForLaunch", EXPECTED]
    assert vms.call("Host.getStats").vm_migrating == 1
    assert vm_id not in [domain.uuid for domain in vms.hypervisor.domains.list_all()]
    # Also when all machines are compared.
    vms.hypervisor._dispatcher.announce(EventsLost(1))
    vms.hypervisor.stats.refresh()
    assert vms.status(vm_id) == EXPECTED
    subscription.close()


@pytest.mark.parametrize("verb", ["VM.pause", "VM.cont", "VM.shutdown"])
def test_nothing_can_be_done_with_it_yet(vms, verb):
    """Except to give the place up."""
    vm_id = announce(vms)
    with pytest.raises(MigrationInProgress):
        vms.call(verb, vmID=vm_id)
    with pytest.raises(MigrationInProgress):
        vms.call("VM.migrate", vmID=vm_id, params={"dst": "there"})
    subscription = vms.listen("|virt|VM_gone|*")
    vms.call("VM.destroy", vmID=vm_id)
    assert [event["vmId"] for event in vms.received(subscription)] == [vm_id]
    with pytest.raises(NoSuchVM):
        vms.status(vm_id)
    announce(vms, vm_id)
    subscription.close()


def test_an_id_or_a_name_that_is_taken(vms):
    """By a machine, by a place, or by a domain that is not known yet."""
    taken = vms.create(vmName="taken")
    with pytest.raises(VMExists, match="vmId"):
        announce(vms, taken)
    with pytest.raises(VMExists, match="vmName"):
        announce(vms, name="taken")
    with pytest.raises(AlreadyExpected) as expected:
        announce(vms, announce(vms))
    assert expected.value.code == 4
    with pytest.raises(VMExists, match="vmName") as refusal:
        announce(vms)
    assert isinstance(refusal.value, Conflict)
    with pytest.raises(VMExists, match="vmName"):
        vms.create(vmName="comes")


def test_two_ids_that_differ(vms):
    """The caller means one machine."""
    params = {"vmId": str(uuid.uuid4()), "vmName": "a"}
    with pytest.raises(InvalidArgument, match=r"params\.vmId"):
        vms.call("VM.migrationCreate", vmID=str(uuid.uuid4()), params=params)


def test_what_a_running_host_tells_is_taken(vms):
    """The whole of `VM.getInfo`, as JSON carries it; without a name there is VDSM's."""
    info = builtins(vms.call("VM.getInfo", vmID=vms.create(custom={"a": "b"})))
    assert {"custom", "devices", "memSize", "status"} <= info.keys()
    vm_id = str(uuid.uuid4())
    params = {**info, "vmId": vm_id.upper()}
    del params["vmName"]
    reply = vms.call("VM.migrationCreate", vmID=vm_id, params=params)
    assert reply.params.vm_name == f"n{vm_id}"


def test_so_many_may_be_on_their_way(make_machines):
    """As configured, or as the caller limits it."""
    vms = make_machines(config={"plugin": {"virt": {"max_incoming_migrations": 1}}})
    first = announce(vms, name="1")
    with pytest.raises(MigrationLimitExceeded, match=r"Too many incoming migrations \(limit 1\)") as refusal:
        announce(vms, name="2")
    assert isinstance(refusal.value, Unavailable)
    assert refusal.value.code == 82
    announce(vms, name="2", incomingLimit=2)
    vms.call("VM.destroy", vmID=first)
    with pytest.raises(MigrationLimitExceeded):
        announce(vms, name="3")


def disk(path, **members):
    return {"deviceType": "disk", "device": "disk", "type": "file", "path": path, **members}


def test_its_disks_must_be_here(vms, tmp_path):
    """Otherwise nothing is kept."""
    here = tmp_path / "here.img"
    here.touch()
    announce(vms, devices=[disk(str(here)), {"deviceType": "interface", "type": "bridge", "device": "x"}])
    with pytest.raises(CannotCreateVM, match=r"no disk /nowhere/there\.img on this host") as refusal:
        announce(vms, name="other", devices=[disk("/nowhere/there.img")])
    assert isinstance(refusal.value, InvalidRequest)
    assert [vm.vm_name for vm in vms.call("Host.getVMList")] == ["test", "comes"]


def test_disks_of_a_storage_plugin_are_prepared(vms, tmp_path):
    """And must then be where the machine will look for them."""
    here = tmp_path / "volume"
    here.touch()
    requested = []

    class Storage:
        @hookimpl
        def vdsm_prepare_disk(self, vm_id, disk):
            requested.append(disk)
            return PreparedDisk(path=str(here)) if disk.volume_id == "v" else None

    vms.host.host.runtime.hooks.register("storage", Storage())
    announce(vms, devices=[disk(str(here), domainID="d", volumeID="v")])
    assert requested == [DiskId(domain_id="d", volume_id="v")]
    with pytest.raises(CannotCreateVM, match="disk /elsewhere would be at"):
        announce(vms, name="other", devices=[disk("/elsewhere", volumeID="v")])


@pytest.mark.parametrize("how", ["late", "given up", "failed", "refused", "arrived"])
def test_prepared_disks_of_one_that_does_not_come(make_machines, tmp_path, how):
    """Are released: the place is overdue, given up by its caller, or refused, or the migration fails."""
    timeout = 0.2 if how == "late" else 60.0
    vms = make_machines(config={"plugin": {"virt": {"incoming_timeout": timeout}}})
    here = tmp_path / "volume"
    here.touch()
    released = []

    class Storage:
        @hookimpl
        def vdsm_prepare_disk(self, vm_id, disk):
            return PreparedDisk(path=str(here))

        @hookimpl
        def vdsm_release_disk(self, vm_id, disk):
            released.append((vm_id, disk.volume_id))

    vms.host.host.runtime.hooks.register("storage", Storage())
    vm_id, devices = str(uuid.uuid4()), [disk(str(here), volumeID="v")]
    if how == "refused":
        with pytest.raises(CannotCreateVM):
            announce(vms, vm_id, devices=[*devices, disk("/elsewhere", volumeID="w")])
        assert released == [(vm_id, "v"), (vm_id, "w")]
        return
    announce(vms, vm_id, devices=devices)
    assert released == []
    if how == "given up":
        vms.call("VM.destroy", vmID=vm_id)
    elif how == "failed":
        happens(vms, vm_id, ("started", "migrated"), ("stopped", "failed"))
    elif how == "arrived":
        happens(vms, vm_id, ("started", "migrated"), ("resumed", "migrated"))
        vms.wait(vm_id, lambda stats: stats.status == "Up")
        assert released == []
        return
    until(lambda: released, detail=lambda: vms.call("Host.getVMList"))
    assert set(released) == {(vm_id, "v")}


def test_nobody_comes(make_machines):
    """The place is given up, with VDSM's reason, and can be had again."""
    vms = make_machines(config={"plugin": {"virt": {"incoming_timeout": 0.2}}})
    vm_id = announce(vms)
    stats = vms.wait(vm_id, lambda stats: stats.status == "Down")
    assert (stats.exit_code, stats.exit_reason, stats.exit_message) == (
        1,
        8,
        "It did not arrive within 0.2 s",
    )
    announce(vms, vm_id)
    vms.wait(vm_id, lambda stats: stats.status == "Down")
    vms.call("VM.destroy", vmID=vm_id)
    assert vms.ids() == []


def test_a_new_place_has_its_own_time(make_machines):
    """What was left of the time of one that was given up does not count."""
    vms = make_machines(config={"plugin": {"virt": {"incoming_timeout": 1.0}}})
    vm_id = announce(vms)
    time.sleep(0.8)
    vms.call("VM.destroy", vmID=vm_id)
    before = time.monotonic()
    announce(vms, vm_id)
    vms.wait(vm_id, lambda stats: stats.status == "Down")
    assert time.monotonic() - before > 0.9


def test_one_that_is_on_its_way_has_all_the_time(make_machines):
    """The time is for its coming, not for how long that takes."""
    vms = make_machines(config={"plugin": {"virt": {"incoming_timeout": 0.2}}})
    vm_id = announce(vms, name="other")
    happens(vms, vm_id, ("started", "migrated"), name="other")
    vms.wait(announce(vms), lambda stats: stats.status == "Down")
    assert vms.status(vm_id) == EXPECTED


def test_it_comes(vms):
    """With the events that libvirt's QEMU driver sends."""
    vm_id = announce(vms)
    subscription = vms.listen(f"|virt|VM_status|{vm_id}")
    happens(vms, vm_id, ("started", "migrated"))
    vms.wait(vm_id, lambda _: vms.host.call("Host.getStats").vm_active == 2)
    assert (vms.status(vm_id), statuses(vms, subscription)) == (EXPECTED, [])
    happens(vms, vm_id, ("defined", "added"), ("resumed", "migrated"))
    vms.wait(vm_id, lambda stats: stats.status == "Up")
    assert statuses(vms, subscription) == ["Up"]
    subscription.close()


def test_it_comes_paused(vms):
    """One that was paused there is paused here."""
    vm_id = announce(vms)
    happens(vms, vm_id, ("started", "migrated"), ("suspended", "paused"))
    vms.wait(vm_id, lambda stats: stats.status == "Paused")
    # It is ours to deal with now.
    vms.call("VM.pause", vmID=vm_id)


def test_it_does_not_arrive(vms):
    """It runs on at its old host; here its exit is shown until destroy."""
    vm_id = announce(vms)
    happens(vms, vm_id, ("started", "migrated"), ("stopped", "failed"))
    stats = vms.wait(vm_id, lambda stats: stats.status == "Down")
    assert (stats.exit_code, stats.exit_reason) == (1, 8)
    announce(vms, vm_id)


def test_it_vanishes_while_nobody_listens(vms):
    """The comparison finds that it is not here."""
    vm_id = announce(vms)
    happens(vms, vm_id, ("started", "migrated"))
    vms.hypervisor._dispatcher.announce(EventsLost(1))
    stats = vms.wait(vm_id, lambda stats: stats.status == "Down")
    assert stats.exit_reason == 8


def test_it_comes_although_the_place_was_given_up(make_machines):
    """Libvirt takes it all the same, and here it is."""
    vms = make_machines(config={"plugin": {"virt": {"incoming_timeout": 0.1}}})
    vm_id = announce(vms)
    vms.wait(vm_id, lambda stats: stats.status == "Down")
    happens(vms, vm_id, ("started", "migrated"))
    vms.wait(vm_id, lambda stats: stats.status == EXPECTED)
    happens(vms, vm_id, ("resumed", "migrated"))
    vms.wait(vm_id, lambda stats: stats.status == "Up")
