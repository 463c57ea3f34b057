"""A machine leaves this host, by verbs, on a hypervisor that acts migrations out."""

from __future__ import annotations

import threading
import time
import uuid

import libvirt
import pytest

from vdsm_bridge.testing import TestHost
from vdsm_bridge.testing.polling import until
from vdsm_core.errors import Conflict
from vdsm_core.hypervisor import (
    DomainLifecycle,
    DomainMigrationIteration,
    DomainState,
    EventsLost,
)
from vdsm_virt import Virt
from vdsm_virt.errors import (
    AlreadyMigrating,
    MigrationCancelFailed,
    MigrationFailed,
    MigrationInProgress,
    MigrationNotInProgress,
    NoSuchVM,
    NotMigratable,
    VMIsDown,
)
from vdsm_virt.machine import transitions
from vdsm_virt.machine.machine import MIGRATED, Machine

from .migrating import REFUSED, feed, migrate, outcome, progress


def statuses(vms, subscription):
    return [event["status"] for event in vms.received(subscription)]


def test_the_test_driver_cannot_migrate(vms):
    """Said at once, and the machine is left as it is."""
    vm_id = vms.create()
    subscription = vms.listen(f"|virt|*|{vm_id}")
    with pytest.raises(MigrationFailed, match=r"qemu\+tls://there/system failed: .*not supported") as refusal:
        migrate(vms, vm_id)
    assert refusal.value.code == 12
    assert (vms.status(vm_id), vms.received(subscription)) == ("Up", [])
    subscription.close()


def test_a_machine_moves(movers, moving):
    """Status, statistics, progress and events show it; then it is down, and gone from libvirt."""
    vm_id = movers.create()
    published = movers.listen(f"|virt|VM_status|{vm_id}")
    how_far = movers.listen(f"|virt|VM_migration_status|{vm_id}")
    migrate(movers, vm_id, downtime="250", maxBandwidth=8)
    assert moving.settings == [("downtime", 250)]
    assert movers.status(vm_id) == "Migration Source"
    assert movers.call("Host.getStats").vm_migrating == 1
    journey = moving.journey(vm_id)
    journey.remaining = 60
    until(lambda: movers.stats(vm_id).migration_progress == 40)
    now = progress(movers, vm_id)
    assert (now.status, now.progress, now.data_remaining) == ("in_progress", 40, 60)
    # The guest has written meanwhile.
    journey.remaining = 80
    until(lambda: progress(movers, vm_id).data_remaining == 80)
    assert progress(movers, vm_id).progress == 40
    journey.settle()
    movers.wait(vm_id, lambda stats: stats.status == "Down")
    until(lambda: outcome(movers, vm_id) == "done")
    done = progress(movers, vm_id)
    assert (done.progress, done.downtime, done.destination) == (100, 77, "qemu+tls://there/system")
    stats = movers.stats(vm_id)
    assert (stats.exit_code, stats.exit_reason) == (0, 4)
    assert statuses(movers, published) == ["Migration Source", "Down"]
    assert {event["progress"] for event in movers.received(how_far)} >= {40, 100}
    assert vm_id not in [domain.uuid for domain in movers.hypervisor.domains.list_all()]
    assert movers.ids() == [vm_id]
    movers.call("VM.destroy", vmID=vm_id)
    assert movers.ids() == []
    with pytest.raises(NoSuchVM):
        progress(movers, vm_id)
    published.close()
    how_far.close()


@pytest.mark.parametrize("before", ["Up", "Paused"])
def test_a_machine_that_cannot_be_moved_is_what_it_was(movers, moving, before):
    """And may be moved again; the error is shown until then."""
    vm_id = movers.create(launchPaused=before == "Paused")
    movers.wait(vm_id, lambda stats: stats.status == before)
    subscription = movers.listen(f"|virt|*|{vm_id}")
    migrate(movers, vm_id)
    moving.journey(vm_id).settle(REFUSED, "there is no room")
    movers.wait(vm_id, lambda stats: stats.status == before)
    assert movers.stats(vm_id).migration_error == "there is no room"
    with pytest.raises(MigrationFailed, match=r"to qemu\+tls://there/system failed: there is no room"):
        progress(movers, vm_id)
    movers.host.host.runtime.events.flush()
    received = {event.id: event.params for event in subscription.next(timeout=0, max_events=100)}
    failed = received[f"|virt|VM_migration_failed|{vm_id}"]
    assert (failed["reason"], failed["cancelled"]) == ("there is no room", False)
    assert received[f"|virt|VM_status|{vm_id}"]["status"] == before
    migrate(movers, vm_id)
    assert not movers.stats(vm_id).migration_error
    moving.journey(vm_id).settle()
    movers.wait(vm_id, lambda stats: stats.status == "Down")
    subscription.close()


@pytest.mark.parametrize(
    ("code", "domain"),
    [
        (libvirt.VIR_ERR_SYSTEM_ERROR, libvirt.VIR_FROM_RPC),
        (libvirt.VIR_ERR_AUTH_FAILED, libvirt.VIR_FROM_REMOTE),
        (libvirt.VIR_ERR_INTERNAL_ERROR, libvirt.VIR_FROM_RPC),
    ],
)
def test_the_other_connection_is_not_ours(movers, moving, code, domain):
    """An unreachable other host is no sign of a lost connection to this one."""
    vm_id = movers.create()
    migrate(movers, vm_id)
    moving.journey(vm_id).settle(code, "unable to connect", domain)
    until(lambda: outcome(movers, vm_id) == "unable to connect")
    assert movers.status(vm_id) == "Up"


def test_a_machine_of_somebody_else_moves(movers, moving):
    """Its definition goes, too: nothing of it is left to be listed."""
    migrate(movers, movers.born_with)
    moving.journey(movers.born_with).settle()
    until(lambda: movers.call("Host.getVMList") == [])


def test_what_a_comparison_finds():
    """The state of a domain has another meaning while it arrives or leaves."""

    def comparison(state, reason, **members):
        machine = Machine(id="i", name="n", status="Up", since=0.0, active=True, **members)
        domain = DomainState(
            uuid="i",
            name="n",
            state=state,
            reason=reason,
            active=state != "shutoff",
            persistent=not members.get("incoming"),
            id=1,
        )
        after = transitions.found(machine, domain)
        return after.status, after.outgoing, after.incoming, after.exit

    assert comparison("paused", "migration", incoming=1.0) == ("Migration Destination", False, 1.0, None)
    assert comparison("paused", "user", incoming=1.0) == ("Paused", False, 0.0, None)
    assert comparison("paused", "migration", outgoing=True) == ("Migration Source", True, 0.0, None)
    assert comparison("running", "booted", outgoing=True) == ("Migration Source", True, 0.0, None)
    assert comparison("shutoff", "migrated", outgoing=True) == ("Down", False, 0.0, MIGRATED)


@pytest.mark.parametrize("error", [(), (REFUSED, "no room")])
def test_nothing_is_told_of_an_earlier_machine(movers, moving, error):
    """One that has returned, or was created again under the same id, has not been moved yet."""
    vm_id = movers.create()
    migrate(movers, vm_id)
    moving.journey(vm_id).settle(*error)
    until(lambda: outcome(movers, vm_id))
    movers.call("VM.destroy", vmID=vm_id)
    assert movers.create(vmId=vm_id) == vm_id
    with pytest.raises(MigrationNotInProgress):
        progress(movers, vm_id)


@pytest.mark.parametrize("moved", [True, False])
def test_libvirt_is_lost_while_it_moves(movers, moving, caplog, moved):
    """Nothing is claimed until libvirt is back and shows what became of it."""
    caplog.set_level("INFO", "vdsm_virt")
    vm_id = movers.create()
    migrate(movers, vm_id)
    journey = moving.journey(vm_id)
    moving.dead = True
    if moved:
        moving.take_away(vm_id)
    journey.settle(libvirt.VIR_ERR_SYSTEM_ERROR, "broken pipe", libvirt.VIR_FROM_RPC)
    until(lambda: "Libvirt was lost" in caplog.text)
    moving.dead = False
    expected = "done" if moved else "the connection to libvirt broke, and libvirt ended it"
    until(lambda: outcome(movers, vm_id) == expected, 20)
    assert movers.status(vm_id) == ("Down" if moved else "Up")


def test_what_is_refused_while_it_moves(movers, moving):
    """Actions that libvirt would keep waiting, each with VDSM's code; queries go on."""
    vm_id = movers.create()
    migrate(movers, vm_id)
    for verb, arguments in (
        ("VM.pause", {}),
        ("VM.cont", {}),
        ("VM.reset", {}),
        ("VM.shutdown", {}),
        ("VM.setNumberOfCpus", {"numberOfCpus": 1}),
        ("VM.setBalloonTarget", {"target": 1024}),
    ):
        with pytest.raises(MigrationInProgress) as refusal:
            movers.call(verb, vmID=vm_id, **arguments)
        assert isinstance(refusal.value, Conflict)
        assert refusal.value.code == 51
    with pytest.raises(AlreadyMigrating, match=r"being migrated to qemu\+tls://there/system") as already:
        migrate(movers, vm_id)
    assert already.value.code == 4
    assert movers.call("VM.getInfo", vmID=vm_id).status == "Migration Source"
    moving.journey(vm_id).settle()


def test_its_destruction_does_not_wait(movers, moving):
    """QEMU is killed; what becomes of the migration is no news of a machine any more."""
    vm_id = movers.create()
    migrate(movers, vm_id)
    journey = moving.journey(vm_id)
    movers.call("VM.destroy", vmID=vm_id)
    assert movers.ids() == []
    journey.settle(libvirt.VIR_ERR_OPERATION_FAILED, "domain is not running")
    until(lambda: not [t for t in threading.enumerate() if t.name.startswith("migration-")])
    assert movers.ids() == []


def test_it_is_cancelled(movers, moving):
    """The caller is answered when the machine is what it was."""
    vm_id = movers.create()
    migrate(movers, vm_id)
    moving.journey(vm_id)
    movers.call("VM.migrateCancel", vmID=vm_id)
    assert movers.status(vm_id) == "Up"
    assert outcome(movers, vm_id) == "it was cancelled on request"
    with pytest.raises(MigrationCancelFailed, match="not being migrated") as refusal:
        movers.call("VM.migrateCancel", vmID=vm_id)
    assert refusal.value.code == 47


def test_it_is_cancelled_before_libvirt_has_begun(movers, moving):
    """It is tried again until there is something to stop."""
    vm_id = movers.create()
    migrate(movers, vm_id)
    journey = moving.journey(vm_id)
    journey.abortable = False
    threading.Timer(0.3, lambda: setattr(journey, "abortable", True)).start()
    movers.call("VM.migrateCancel", vmID=vm_id)
    assert outcome(movers, vm_id) == "it was cancelled on request"


def test_it_is_cancelled_too_late(movers, moving):
    """The caller gets the error that it has moved."""
    vm_id = movers.create()
    migrate(movers, vm_id)
    journey = moving.journey(vm_id)
    journey.abortable = False
    threading.Timer(0.3, journey.settle).start()
    with pytest.raises(MigrationCancelFailed, match="had moved before"):
        movers.call("VM.migrateCancel", vmID=vm_id)
    assert movers.status(vm_id) == "Down"


def test_the_others_wait(make_machines, moving):
    """The limit holds; a migration that waits can be cancelled, and begins as soon as there is a slot."""
    vms = make_machines(connect=moving.connect, config={"plugin": {"virt": {"max_outgoing_migrations": 1}}})
    first, second, third, fourth = (vms.create(vmName=name) for name in "abcd")
    for vm_id in (first, second, third):
        migrate(vms, vm_id)
    moving.journey(first)
    assert [vms.status(vm_id) for vm_id in (second, third)] == ["Migration Source"] * 2
    assert progress(vms, second).progress == 0
    migrate(vms, fourth, outgoingLimit=2)
    moving.journey(fourth).settle()
    vms.wait(fourth, lambda stats: stats.status == "Down")
    vms.call("VM.migrateCancel", vmID=second)
    assert vms.status(second) == "Up"
    assert third not in moving.journeys
    moving.journey(first).settle()
    moving.journey(third).settle()
    vms.wait(third, lambda stats: stats.status == "Down")
    assert second not in moving.journeys


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"migration_progress_timeout": 0.2}, "it did not get on for"),
        ({"migration_timeout": 0.2}, "it was not done within 0 s"),
    ],
)
def test_one_that_takes_too_long_is_called_off(make_machines, moving, options, reason):
    """Without progress, or in all."""
    vms = make_machines(connect=moving.connect, config={"plugin": {"virt": options}})
    vm_id = vms.create()
    migrate(vms, vm_id)
    until(lambda: reason in (outcome(vms, vm_id) or ""), 10)
    assert vms.status(vm_id) == "Up"


def test_the_schedule_is_kept(movers, moving):
    """What the caller wants to be done at the beginning, and when the guest is too quick."""
    vm_id = movers.create()
    schedule = {
        "init": [{"name": "setDowntime", "params": ["100"]}],
        "stalling": [
            {"limit": 0, "action": {"name": "setDowntime", "params": ["200"]}},
            {"limit": -1, "action": {"name": "abort", "params": []}},
        ],
    }
    migrate(movers, vm_id, downtime=50, convergenceSchedule=schedule)
    journey = moving.journey(vm_id)
    for iteration in (2, 3, 4):
        journey.iteration = iteration
        until(
            lambda iteration=iteration: (
                outcome(movers, vm_id) or progress(movers, vm_id).iteration == iteration
            )
        )
    until(lambda: outcome(movers, vm_id) == "the guest writes faster than its memory is sent")
    assert moving.settings == [("downtime", 50), ("downtime", 100), ("downtime", 200)]


def test_its_speed_is_changed(movers, moving):
    """While it moves, and only then."""
    vm_id = movers.create()
    with pytest.raises(MigrationNotInProgress) as refusal:
        movers.call("VM.migrateChangeParams", vmID=vm_id, params={"maxBandwidth": 5})
    assert refusal.value.code == 81
    migrate(movers, vm_id)
    moving.journey(vm_id)
    movers.call("VM.migrateChangeParams", vmID=vm_id, params={"maxBandwidth": "5"})
    assert moving.settings[-1] == ("bandwidth", 5)
    moving.journey(vm_id).settle()


def test_a_machine_that_does_not_run_or_ends_does_not_move(movers):
    """Each state with its own error."""
    vm_id = movers.create()
    with pytest.raises(MigrationNotInProgress):
        progress(movers, vm_id)
    with pytest.raises(NoSuchVM):
        migrate(movers, str(uuid.uuid4()))
    movers.call("VM.shutdown", vmID=vm_id, reboot=True)
    with pytest.raises(NotMigratable, match="RebootInProgress"):
        migrate(movers, vm_id)
    movers.call("VM.shutdown", vmID=vm_id)
    movers.wait(vm_id, lambda stats: stats.status == "Down")
    with pytest.raises(VMIsDown):
        migrate(movers, vm_id)


def begin_elsewhere(moving, vms, vm_id):
    """Another client of libvirt's moves a machine."""
    connection = moving.connect("test:///default")
    domain = connection.lookupByUUIDString(vm_id)

    def move():
        try:
            domain.migrateToURI3("qemu+tcp://there/system", {}, 0)
        except libvirt.libvirtError:
            pass
        finally:
            connection.close()

    thread = threading.Thread(target=move)
    thread.start()
    moving.journey(vm_id)
    feed(vms, DomainMigrationIteration(vm_id, "a", 1))
    vms.wait(vm_id, lambda stats: stats.status == "Migration Source")
    return thread


def test_a_migration_of_another_client_is_seen(movers, moving):
    """It can be followed and cancelled as our own."""
    vm_id = movers.create()
    thread = begin_elsewhere(moving, movers, vm_id)
    moving.journey(vm_id).remaining = 30
    until(lambda: progress(movers, vm_id).progress == 70)
    with pytest.raises(AlreadyMigrating, match="to another host"):
        migrate(movers, vm_id)
    movers.call("VM.migrateCancel", vmID=vm_id)
    assert movers.status(vm_id) == "Up"
    thread.join()


def test_a_migration_of_another_client_ends(movers, moving):
    """With success, or without a reason from libvirt."""
    first, second = (movers.create(vmName=name) for name in "ab")
    for vm_id in (first, second):
        thread = begin_elsewhere(moving, movers, vm_id)
        moving.journey(vm_id).settle(*(() if vm_id == first else (REFUSED, "no room")))
        thread.join()
    until(lambda: outcome(movers, first) == "done")
    until(lambda: outcome(movers, second) == "libvirt ended it and does not say why")
    assert [movers.status(vm_id) for vm_id in (first, second)] == ["Down", "Up"]
    movers.call("VM.destroy", vmID=first)
    assert movers.ids() == [second]


def test_what_libvirt_does_with_a_machine_that_leaves(movers, moving):
    """Paused for the switchover, resumed after a failure: neither changes the status meanwhile."""
    vm_id = movers.create()
    subscription = movers.listen(f"|virt|VM_status|{vm_id}")
    migrate(movers, vm_id)
    moving.journey(vm_id)
    feed(
        movers,
        DomainLifecycle(vm_id, "a", "suspended", "migrated"),
        DomainLifecycle(vm_id, "a", "resumed", "migrated"),
        DomainLifecycle(vm_id, "a", "suspended", "ioerror"),
    )
    compared = movers.listen("|virt|reconciled|*")
    feed(movers, DomainMigrationIteration(vm_id, "a", 2), EventsLost(1))
    until(lambda: movers.received(compared))
    assert movers.status(vm_id) == "Migration Source"
    compared.close()
    moving.journey(vm_id).settle(REFUSED, "no room")
    movers.wait(vm_id, lambda stats: stats.status == "Up")
    assert statuses(movers, subscription) == ["Migration Source", "Up"]
    subscription.close()


def test_the_daemon_stops_while_a_machine_moves(machines_of, moving):
    """At once, and without a word to libvirt; the next daemon sees the machine on its way."""
    with TestHost(verbs={"virt": Virt}, connect=moving.connect) as host:
        vms = machines_of(host)
        vm_id = vms.create()
        migrate(vms, vm_id)
        journey = moving.journey(vm_id)
        started = time.monotonic()
    assert time.monotonic() - started < 15
    assert not journey.over.is_set()
    with TestHost(verbs={"virt": Virt}, connect=moving.connect) as host:
        vms = machines_of(host)
        vms.wait(vm_id, lambda stats: stats.status == "Migration Source")
        journey.settle()
        vms.wait(vm_id, lambda stats: stats.status == "Down")
        until(lambda: outcome(vms, vm_id) == "done")
